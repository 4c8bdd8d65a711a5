import json

import jsonschema
import pytest
from click.testing import CliRunner

from ssmref.bench import rates as rates_module
from ssmref.bench.records import load, schema
from ssmref.bench.workloads import WORKLOADS
from ssmref.commands.bench import DEFAULT, GROUPS, bench


@pytest.fixture(autouse=True)
def machine(monkeypatch, rates):
    """Rates take seconds to measure; here they are made up."""
    monkeypatch.setattr(rates_module, "measure", lambda _: iter(rates.values()))


def invoke(*arguments):
    return CliRunner().invoke(bench, ["ops", *arguments], catch_exceptions=False)


TINY = (
    *("--op", "mamba1.selective_scan", "--impl", "ssmref.golden"),
    *("--size", "length=40", "--size", "channels=4"),
    *("--rounds", "2", "--threads", "1"),
)


def test_the_table_and_the_records(tmp_path):
    result = invoke(*TINY, "--out", str(tmp_path / "new"))
    assert result.exit_code == 0
    assert "ssmref.golden" in result.stdout
    assert "pass " in result.stdout
    records = list(load(tmp_path))
    for record in records:
        jsonschema.validate(record, schema())
    assert [r["kind"] for r in records] == ["environment", "rates", "measurement"]
    assert len({r["environment"] for r in records}) == 1
    assert records[2]["sizes"]["length"] == 40
    assert len(records[2]["samples"]) == 2


def test_a_second_run_appends(tmp_path):
    for _ in range(2):
        assert invoke(*TINY, "--out", str(tmp_path)).exit_code == 0
    assert len(list(load(tmp_path))) == 6


def test_markdown_is_written(tmp_path):
    path = tmp_path / "table.md"
    assert invoke(*TINY, "--markdown", str(path)).exit_code == 0
    assert "| ssmref.golden |" in path.read_text()


def test_a_wrong_implementation_shows_no_time_and_fails(tmp_path, package):
    name = package("wrong_scan", "return y * np.float32(1.01), state")
    result = invoke(*TINY, "--impl", name, "--out", str(tmp_path))
    assert result.exit_code == 1
    assert f"{name}: wrong:" in result.stdout
    found = {r["implementation"]: r for r in load(tmp_path) if "implementation" in r}
    assert found[name]["status"] == "wrong"
    assert found[name]["samples"] == []
    assert found["ssmref.golden"]["samples"]


def test_nobody_who_could_be_timed_fails(tmp_path, monkeypatch):
    (tmp_path / "broken_scan.py").write_text("import no_such_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = invoke(*TINY[:2], "--impl", "broken_scan", *TINY[4:])
    assert result.exit_code == 1
    assert "not available: cannot import broken_scan" in result.stdout


def test_the_list_names_every_workload_or_those_of_a_group():
    lines = invoke("--list").stdout.splitlines()
    assert len(lines) == len(WORKLOADS)
    assert lines[1].split()[:2] == ["mamba2.ssd/b1l8192h24p64g1n128", "targets"]
    assert any("l1048576" in line for line in lines)
    steps = invoke("--list", "--group", "steps").stdout.splitlines()
    assert {line.split()[1] for line in steps} == {"steps"}


def test_a_workload_of_any_group_is_chosen_by_its_id():
    chosen = "mamba2.ssd_step/b1h80p64g1n128"
    assert invoke("--list", "--workload", chosen).stdout.startswith(chosen)


def test_sizes_that_make_two_workloads_one_are_run_once():
    result = invoke(
        "--list", "--op", "mamba2.ssd_step", "--group", "steps", "--size", "batch=1"
    )
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--op", "mamba2.sdd"), "'mamba2.sdd' is unknown; meant was: mamba2.ssd"),
        (("--workload", "x"), "'x' is unknown; --list has them all"),
        (("--workload", "mamba2.ssd/l8192"), "meant was: mamba2.ssd/b1l8192h24p64"),
        (("--impl", "no.such.thing"), "neither a module that is found here"),
        (("--group", "growth", "--op", "layers.rms_norm"), "no workload of growth"),
        (("--impl", "peer:tensorflow"), "bundled are"),
        (("--size", "length"), "length=64"),
        (("--size", "length=0"), "length=64"),
        (("--size", "length=-3"), "length=64"),
        (("--op", "mamba2.ssd", "--size", "width=3"), "has no such axis"),
        (("--threads", "100000"), "usable are"),
        (("--rounds", "0"), "range"),
        (("--dtype", "int8"), "int8"),
        (("--markdown", "no/such/folder/x.md"), "is not a folder"),
    ],
)
def test_mistakes_are_named_without_a_traceback(arguments, words):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke(*TINY, "--out", str(tmp_path / "file" / "below"))
    assert result.exit_code == 2
    assert "--out:" in result.stderr


def test_help_answers_without_loading_what_is_heavy():
    assert "interleaved" in CliRunner().invoke(bench, ["ops", "--help"]).stdout


def test_the_defaults_are_known():
    from ssmref.bench.field import check_name
    from ssmref.bench.workloads import GROUPS as KNOWN

    assert GROUPS == KNOWN
    for name in DEFAULT:
        check_name(name)


def test_records_are_lines_of_json(tmp_path):
    invoke(*TINY, "--out", str(tmp_path))
    (path,) = tmp_path.rglob("ops.jsonl")
    lines = path.read_text().splitlines()
    assert [json.loads(line)["format"] for line in lines] == [1, 1, 1]
