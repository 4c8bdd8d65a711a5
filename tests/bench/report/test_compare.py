import re
from typing import Any

import pytest
from click.testing import CliRunner
from support import scaling_records as made

from ssmref.bench.pages.compare import (
    compare as compare_runs,
)
from ssmref.bench.pages.compare import judge
from ssmref.bench.pages.points import timing
from ssmref.commands.compare import compare

STEADY = (0.998, 0.999, 1.0, 1.0, 1.001, 1.002, 1.003)


def point(factor: Any = 1.0, *, length=64, noise=STEADY, op="mamba2.ssd", **more):
    sizes = {"batch": 1, "length": length}
    record = made.timing("op", op, sizes, "ssmref.cpu", factor, **more)
    return record | ({"samples": [factor * n for n in noise]} if factor else {})


def verdict(first, second, **options):
    found = judge(timing(first), timing(second), **options)
    assert found is not None
    return found.verdict


@pytest.mark.parametrize(
    ("factor", "word"),
    [
        *((0.5, "faster"), (0.94, "faster"), (0.97, "same"), (1.0, "same")),
        *((1.04, "same"), (1.06, "slower"), (3.0, "slower")),
    ],
)
def test_steady_times_are_told_apart(factor, word):
    assert verdict(point(), point(factor)) == word


@pytest.mark.parametrize(
    ("factor", "word"), [(1.03, "slower"), (0.985, "faster"), (1.004, "same")]
)
def test_the_margin_is_the_users(factor, word):
    assert verdict(point(), point(factor), margin=0.01) == word


def test_times_that_scatter_are_ambiguous():
    wild = (0.5, 0.7, 0.8, 1.0, 1.3, 1.6, 2.0)
    assert verdict(point(noise=wild), point(1.1, noise=wild)) == "ambiguous"
    assert verdict(point(noise=wild), point(noise=wild)) == "ambiguous"
    assert verdict(point(noise=wild), point(9.0, noise=wild)) == "slower"


def test_few_samples_are_ambiguous():
    found = judge(timing(point(noise=(1.0,) * 4)), timing(point(2.0)))
    assert found is not None
    assert (found.verdict, found.reason) == (
        "ambiguous",
        "only 4 samples, needed are 5",
    )


def test_turned_around_faster_is_slower():
    assert verdict(point(1.2), point()) == "faster"
    assert verdict(point(), point(1.2)) == "slower"


def test_what_has_lost_its_time_is_said_with_the_reason():
    gone = point(None, status="wrong", reason="y is off")
    found = judge(timing(point()), timing(gone))
    assert found is not None
    assert (found.verdict, found.reason) == ("no longer measured", "wrong: y is off")
    assert verdict(gone, point()) == "measured only now"
    assert judge(timing(gone), timing(gone)) is None


def test_other_definitions_are_never_compared(run_of):
    old, new = point(definition="0" * 12), point(9.0, definition="1" * 12)
    both = point(length=128)
    found = compare_runs(run_of(old, both), run_of(new, both))
    assert [p.subject.length for p in found.points] == [128]
    assert [s.length for s in found.redefined] == [64]


def test_points_of_one_run_only_are_counted(run_of):
    before = run_of(point(), point(length=128), point(length=256))
    found = compare_runs(before, run_of(point(), point(length=512)))
    assert (found.only_before, found.only_after) == (2, 1)


class Runs:
    """Two files of records, and the command on them."""

    def __init__(self, folder):
        self.first, self.second = folder / "a.jsonl", folder / "b.jsonl"

    def invoke(self, before, after, *options, environment=None):
        head = [made.environment()]
        made.write(self.first, head + before)
        made.write(self.second, [environment or head[0], *after])
        paths = [str(self.first), str(self.second)]
        result = CliRunner().invoke(compare, [*paths, *options], env={"COLUMNS": "200"})
        assert "Traceback" not in result.output
        return result


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


BEFORE = [point(), point(length=128), point(op="mamba1.selective_scan")]
AFTER = [point(2.0), point(length=128), point(0.25, op="mamba1.selective_scan")]


def test_means_for_each_op_and_in_all(runs):
    result = runs.invoke(BEFORE, AFTER)
    assert result.exit_code == 0
    text = re.sub(r" +", " ", result.stdout)
    assert "mamba2.ssd 1.41 0 1 1 0 0 0" in text
    assert "mamba1.selective_scan 0.250 1 0 0 0 0 0" in text
    assert "all 0.794 1 1 1 0 0 0" in text
    assert (
        "3 points: 1 faster, 1 slower, 1 same; geometric mean of the ratios 0.794"
        in (result.stdout)
    )


def test_the_exit_status_is_for_those_who_ask(runs):
    assert runs.invoke(BEFORE, AFTER).exit_code == 0
    assert runs.invoke(BEFORE, AFTER, "--fail-on", "slower").exit_code == 1
    assert runs.invoke(BEFORE, AFTER, "--fail-on", "ambiguous").exit_code == 0
    assert runs.invoke(BEFORE, BEFORE, "--fail-on", "slower").exit_code == 0
    faster = [point(0.5), *BEFORE[1:]]
    assert runs.invoke(BEFORE, faster, "--fail-on", "slower").exit_code == 0
    assert runs.invoke(BEFORE, faster, "--fail-on", "faster").exit_code == 1


def test_who_is_wrong_now_does_not_pass_as_not_slower(runs):
    wrong = point(None, status="wrong", reason="y is off")
    result = runs.invoke(BEFORE, [wrong, *BEFORE[1:]], "--fail-on", "slower")
    assert result.exit_code == 1
    assert "no longer measured: wrong: y is off" in result.stdout


def test_the_margin_of_the_command_is_percent(runs):
    after = [point(1.3), *BEFORE[1:]]
    options = ("--fail-on", "slower", "--margin")
    assert runs.invoke(BEFORE, after, *options, "25").exit_code == 1
    assert runs.invoke(BEFORE, after, *options, "35").exit_code == 0


def test_other_machines_are_refused_unless_asked_for(runs):
    other = made.environment(cpu="Other CPU")
    result = runs.invoke(BEFORE, AFTER, environment=other)
    assert result.exit_code == 2
    assert "different machines (Example CPU 3000; Other CPU)" in result.stderr
    result = runs.invoke(BEFORE, AFTER, "--across-machines", environment=other)
    assert result.exit_code == 0
    assert "WARNING: the runs are of different machines" in result.stdout


def test_another_version_is_the_same_machine(runs):
    newer = made.environment(commit="f" * 10, versions={"numpy": "9"})
    assert runs.invoke(BEFORE, AFTER, environment=newer).exit_code == 0


def test_nothing_in_common_is_an_error(runs):
    result = runs.invoke(BEFORE, [point(length=512)])
    assert result.exit_code == 2
    assert "the runs have no point in common" in result.stderr
    result = runs.invoke([point()], [point(definition="1" * 12)])
    assert result.exit_code == 2
    assert "defined anew" in result.stderr


def test_a_missing_file_is_an_error(tmp_path):
    result = CliRunner().invoke(compare, [str(tmp_path / "a"), str(tmp_path / "b")])
    assert result.exit_code == 2
    assert "a does not exist" in result.stderr


def test_markdown_is_written(runs, tmp_path):
    path = tmp_path / "compared.md"
    assert runs.invoke(BEFORE, AFTER, "--markdown", str(path)).exit_code == 0
    text = path.read_text()
    assert "| mamba2.ssd | 1.41 | 0 | 1 | 1 | 0 | 0 | 0 |" in text
    assert text.startswith("3 points: 1 faster")
    result = runs.invoke(BEFORE, AFTER, "--markdown", str(tmp_path / "no" / "x.md"))
    assert result.exit_code == 2
