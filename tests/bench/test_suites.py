"""Suites are data; their commands name every mistake of a user in a sentence."""

import json
import re
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from support.toys import Toy

from ssmref.bench import field, suites
from ssmref.bench import rates as rates_module
from ssmref.bench.budget import seconds_of
from ssmref.bench.records import load, schema
from ssmref.bench.suites import SUITES, Choice, Suite, op_tasks, parse_lengths
from ssmref.bench.task import describe, restore
from ssmref.commands import bench_suites
from ssmref.commands.bench import bench
from ssmref.commands.bench_shown import Shown

KIBI, MEBI = 2**10, 2**20
FLOAT32 = np.dtype(np.float32)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("1000", (1000,)),
        ("1K", (KIBI,)),
        ("800k", (800 * KIBI,)),
        ("1M", (MEBI,)),
        ("8K,1K, 32K", (KIBI, 8 * KIBI, 32 * KIBI)),
        ("1K..8K", (KIBI, 2 * KIBI, 4 * KIBI, 8 * KIBI)),
        ("1K..1Mx4", tuple(KIBI * 4**i for i in range(6))),
        ("1K..3Kx2", (KIBI, 2 * KIBI)),
        ("4..4", (4,)),
        ("1..4,2,16", (1, 2, 4, 16)),
    ],
)
def test_lengths(text, lengths):
    assert parse_lengths(text) == lengths


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no length"),
        ("K", "is no length"),
        ("0", "is no length"),
        ("-5", "is no length"),
        ("1.5K", "is no length"),
        ("1K,,2K", "is no length"),
        ("2G", "is no length"),
        ("2048M", "is no length"),
        ("²", "is no length"),
        ("1e3", "is no length"),
        ("1K..", "is no length"),
        ("..1K", "is no length"),
        ("1K..2K..4K", "is no length"),
        ("8K..1K", "is empty: 8K is more than 1K"),
        ("1K..8Kx3", "multiplies by '3'; possible are x2 and x4"),
    ],
)
def test_what_is_no_length_is_named(text, words):
    with pytest.raises(ValueError, match=words):
        parse_lengths(text)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_suite_has_tasks_that_are_whole(suite):
    wanted = suite.wanted(Choice(parse_lengths(suite.lengths)))
    assert len({(task.id, what) for task, what in wanted}) == len(wanted) > 0
    assert {what for _, what in wanted} <= {"times", "memory"}
    for task in {task.id: task for task, _ in wanted}.values():
        assert restore(describe(task)) == task
        assert json.loads(json.dumps(describe(task)))
        parts = task.bytes(FLOAT32, 2)
        assert set(parts) == {"inputs", "outputs", "state", "workspace"}
        assert all(isinstance(n, int) and n >= 0 for n in parts.values())
        assert task.growth in (0.0, 1.0, 2.0)
        assert task.tokens > 0


def test_ops_have_the_lengths_and_the_batch_that_were_chosen():
    tasks = list(op_tasks(Choice((64, 4096), batch=3)))
    assert {task.op for task in tasks} == {
        "mamba1.selective_scan",
        "mamba2.ssd",
        "mamba3.siso",
        "mamba3.mimo",
        "attention.attention",
    }
    assert {task.length for task in tasks} == {64, 4096}
    assert {task.sizes["batch"] for task in tasks} == {3}
    assert {t.growth for t in tasks if t.op.startswith("attention")} == {2.0}
    long = [task for task in tasks if task.length == 4096]
    assert all(task.sample["length"] <= 1024 for task in long)


def test_only_what_was_named_takes_part():
    scaling = SUITES["scaling"]
    choice = Choice((64,), ops=("mamba2.ssd",))
    assert {task.op for task, _ in scaling.wanted(choice)} == {"mamba2.ssd"}
    assert scaling.wanted(Choice((64,), blocks=("block.none",))) == []
    both = Choice((64,), ops=("mamba2.ssd",), blocks=("block.mamba2",))
    found = {task.op for task, _ in scaling.wanted(both)}
    assert found == {"mamba2.ssd", "block.mamba2"}
    assert {what for _, what in SUITES["memory"].wanted(both)} == {"memory"}


@pytest.fixture
def toys(monkeypatch, rates):
    """Return what invokes a suite of toys, on a machine of made-up rates."""
    made = monkeypatch.setattr
    made(rates_module, "measure", lambda *_, **__: iter(rates.values()))
    tasks = lambda choice: (Toy(sizes={"length": n}) for n in choice.lengths)  # noqa: E731
    made(suites, "toy_tasks", tasks, raising=False)
    made(field, "is_module", lambda _: True)
    own = ("suites:toy_tasks",)
    suite = Suite("toys", "Toys.", "8", times=own, memory=own, rounds=2)

    def invoke(*arguments, brief=False):
        command = bench_suites._command(replace(suite, brief=brief))
        given = ("--impls", "toy.one", "--threads", "1", *arguments)
        return CliRunner().invoke(command, given, catch_exceptions=False)

    return invoke


def test_a_suite_shows_tables_and_writes_records(toys, tmp_path):
    result = toys("--out", str(tmp_path))
    assert result.exit_code == 0
    assert "toy.one" in result.stdout
    shown = " ".join(result.stdout.split())
    assert "toy.double/l8, float32; memory of a call beyond 32 B of inputs" in shown
    assert "limit 0 ms" not in shown  # nobody has counted the cost of toys
    assert "2 points: 2 measured" in result.stdout
    assert "[1/2] toy.double/l8, toy.one, times: " in result.stderr
    assert "[2/2] toy.double/l8, toy.one, memory: measured" in result.stderr
    (path,) = tmp_path.rglob("toys.jsonl")
    assert str(path) in result.stdout
    records = list(load(tmp_path))
    for record in records:
        jsonschema.validate(record, schema())
    kinds = ["environment", "rates", "measurement", "memory"]
    assert [r["kind"] for r in records] == kinds
    assert len({r["environment"] for r in records}) == 1
    assert {r["suite"] for r in records[2:]} == {"toys"}


@pytest.mark.parametrize("name", ["toy.one", "toy.wrong"])
def test_a_brief_suite_ends_with_one_table_of_each_kind(toys, tmp_path, name):
    result = toys("--out", str(tmp_path), "--impls", name, brief=True)
    lines = [line.split() for line in result.stdout.splitlines()]
    heads = [line for line in lines if line[:1] == ["by"]]
    assert heads == [["by", "8", "verdict"]] * 2
    rows = [line for line in lines if line[:2] == ["toy.double", name]]
    assert [row[-2:] for row in rows] == (
        [["pass", "1"], ["pass", "1"]]
        if name == "toy.one"
        else [["wrong", "wrong"]] * 2
    )
    assert "verdict: the worst ratio of error to rounding, at most 30" in result.stdout
    assert ("y is 3" in result.stdout) == (name == "toy.wrong")
    assert "verifying toy.double; what has to be compiled is kept" in result.stderr


def test_who_is_not_installed_and_was_not_named_is_left_out(toys, tmp_path):
    result = toys("--out", str(tmp_path), "--impls", "toy.one,peer")
    assert "not installed and left out: peer:toys" in result.stdout
    assert "2 points: 2 measured" in result.stdout
    alone = toys("--out", str(tmp_path / "more"), "--impls", "peer")
    assert "0 points" in alone.stdout
    assert alone.exit_code == 1


def test_a_second_run_goes_on_and_a_fresh_one_begins_a_file(toys, tmp_path):
    first = ("--out", str(tmp_path), "--seq-lens", "8", "--budget", "1e-9s")
    toys(*first)
    more = toys("--out", str(tmp_path), "--seq-lens", "8")
    assert "2 points: 2 measured" in more.stdout
    again = toys("--out", str(tmp_path), "--seq-lens", "8")
    assert again.exit_code == 0
    assert "2 recorded before; --fresh measures them again" in again.stdout
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1
    toys(*first, "--fresh")
    assert len(list(tmp_path.rglob("toys-2.jsonl"))) == 1


@pytest.mark.parametrize("name", ["toy.wrong", "toy.killed", "toy.absent"])
def test_the_status_says_that_somebody_failed_or_that_there_is_nothing(
    toys, tmp_path, name
):
    result = toys("--out", str(tmp_path), "--impls", name)
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_a_run_that_is_stopped_says_how_to_go_on(toys, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Shown, "show", stop)
    result = toys("--out", str(tmp_path))
    assert result.exit_code == 130
    (path,) = tmp_path.rglob("toys.jsonl")
    assert f"stopped: 1 of 2 points are recorded in {path}" in result.stderr
    assert "the same command goes on there" in result.stderr


def test_lengths_that_do_not_fit_are_said(toys, tmp_path, monkeypatch):
    from ssmref.bench import environment

    monkeypatch.setattr(environment, "available_bytes", lambda: 1000)
    result = toys("--out", str(tmp_path))
    assert result.exit_code == 1
    assert "oom_predicted: needs about 0.30 GB of memory" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seq-lens", "many"), "--seq-lens: 'many' is no length"),
        (("--ops", "mamba2.sdd"), "'mamba2.sdd' is unknown; meant was: mamba2.ssd"),
        (("--blocks", "block.mambo"), "--blocks 'block.mambo' is unknown"),
        (("--impls", ","), "--impls names nobody"),
        (("--impls", "peer:tensorflow"), "bundled are"),
        (("--impls", "ssmref.cpv"), "neither a module that is found here"),
        (("--budget", "soon"), "--budget: 'soon' is no time"),
        (("--limit", "-1s"), "--limit: '-1s' is no time"),
        (("--batch", "0"), "range"),
        (("--rounds", "0"), "range"),
        (("--threads", "100000"), "usable are"),
        (("--dtype", "int8"), "int8"),
    ],
)
def test_mistakes_are_named_without_a_traceback(arguments, words, tmp_path):
    given = ["scaling", *arguments, "--out", str(tmp_path)]
    result = CliRunner().invoke(bench, given, catch_exceptions=False)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert list(tmp_path.rglob("*")) == []


def test_a_folder_that_cannot_be_written_is_named(toys, tmp_path):
    (tmp_path / "file").write_text("")
    result = toys("--out", str(tmp_path / "file" / "below"))
    assert result.exit_code == 2
    assert "--out:" in result.stderr
    assert "Traceback" not in result.output


def test_records_of_another_format_are_named_and_left_alone(toys, tmp_path):
    toys("--out", str(tmp_path), "--budget", "1e-9s")
    (path,) = tmp_path.rglob("toys.jsonl")
    path.write_text('{"format": 99}\n')
    result = toys("--out", str(tmp_path))
    assert result.exit_code == 2
    assert "format is 99, needed is 1; --fresh begins a new file" in " ".join(
        result.stderr.split()
    )
    assert path.read_text() == '{"format": 99}\n'


@pytest.mark.parametrize("name", SUITES)
def test_help_says_what_a_suite_is_for(name):
    result = CliRunner().invoke(bench, [name, "--help"])
    assert result.exit_code == 0
    assert SUITES[name].purpose in result.stdout
    assert SUITES[name].lengths in result.stdout
    (limit,) = re.findall(r"Time of one point.  .default: (\w+).", result.stdout)
    assert seconds_of(limit) == SUITES[name].limit
    assert "Exit status" in result.stdout


def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch, capsys, rates):
    from rich.console import Console

    from ssmref.bench.points import Setting
    from ssmref.bench.sweep import Progress

    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    shown = Shown(Console(), Setting("toys", FLOAT32, 1, rates))
    shown.progress(Progress("toy.double/l8: round 1 of 3", 4, 12, 75.0))
    shown.close()
    assert "4/12" in capsys.readouterr().err
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    plain = Shown(Console(), Setting("toys", FLOAT32, 1, rates))
    plain.progress(Progress("toy.double/l8: round 1 of 3", 4, 12, 75.0))
    assert capsys.readouterr().err == ""
    plain.said -= 60.0
    plain.progress(Progress("toy.double/l8: round 2 of 3", 4, 12, 74.0))
    plain.progress(Progress("toy.double/l8: round 3 of 3", 4, 12, 73.0))
    plain.close()
    assert capsys.readouterr().err == "toy.double/l8: round 2 of 3\n"
