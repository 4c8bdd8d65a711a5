"""What a person sees at a terminal: all columns in 80 characters, without colour."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from support.results import ENTRIES, PLAIN, of, results

from ssmref.conformance.candidates import Candidate
from ssmref.conformance.report.results import Results, repeat
from ssmref.conformance.report.terminal import show
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED, Verdict
from ssmref.ops import OPS


def shown(found, width=80):
    file = StringIO()
    show(Console(file=file, width=width, color_system=None), found)
    return file.getvalue()


@pytest.fixture(scope="module")
def page():
    return shown(results())


def test_numbers_stand_in_their_columns(page):
    heading, row = (x for x in page.splitlines() if x.startswith(("op", "mamba2.ssd ")))
    assert heading.split() == [
        *("op", "required", "run", "passed", "failed", "failures", "provided", "ratio")
    ]
    assert row.split()[1:] == ["7", "6", "1", "4", "1", "1", "inf", "F"]


@pytest.mark.parametrize("width", [80, 200])
def test_table_of_all_ops_fits(width):
    verdicts = [
        Verdict(replace(PLAIN, op=op), "float32", FAILED, message="x") for op in OPS
    ]
    text = shown(Results(Candidate("x", {}), "float32", verdicts), width)
    table = text[: text.index("ratio = error")].splitlines()
    assert max(map(len, table)) <= width
    names = "".join(line.split()[0] for line in table if line.strip())
    assert all(op in names for op in OPS)
    assert "…" not in text


def test_failures_are_explained(page):
    assert f"{PLAIN.id}: {PLAIN.reason}" in page
    assert "worst at batch 1, token 20, head 0, dimension 0: got nan" in page
    assert "passed, but a failure was expected (was wrong once): remove" in page
    assert "Behaves like <i>packed</i>." in page
    assert "mamba2.ssd: `packing-ignored`: A pack is run as one sequence" in page
    assert "(explains 1 of 3 failed cases)" in page
    assert "not provided, 1 case: mamba2.ssd: no dt_limit" in page
    assert f"expected to fail, but not run: {ENTRIES[2].case} (nobody ran it)" in page
    assert "FAILED: 3 of 6 cases run are wrong; 1 passed although" in page


def test_strangers_send_no_control_characters(page):
    assert all(c == "\n" or c.isprintable() for c in page)


def test_more_than_eight_failures_are_counted():
    assert "... and 2 more failures" in shown(of(*[FAILED] * 10))
    assert "more failures" not in shown(of(*[FAILED] * 8))


def test_ops_that_are_not_required_count_none():
    text = shown(of(PASSED, NOT_PROVIDED, required=("mamba3.siso",)))
    rows = {x.split()[0]: x.split()[1:] for x in text.splitlines() if x[:5] == "mamba"}
    assert rows["mamba2.ssd"][:2] == ["0", "1"]
    assert rows["mamba3.siso"][:2] == ["0", "0"]


def test_repeat_is_a_command_for_a_shell():
    verdict = Verdict(PLAIN, "float16", FAILED)
    rest = f"--case {PLAIN.id} --dtype float16"
    ssd = f"--op mamba2.ssd {rest}"
    commands = {
        "a.b": f"ssmref verify a.b {rest}",
        "a.b:f": f"ssmref verify a.b:f {ssd}",
        "--peer x": f"ssmref verify --peer x {rest}",
        "--exec './p {in}'": f"ssmref verify --exec './p {{in}}' {ssd}",
        "vectors check a --outputs b": f"ssmref vectors check a --outputs b {rest}",
        "$(rm x)": f"ssmref verify '$(rm x)' {rest}",
    }
    for name, command in commands.items():
        assert repeat(Candidate(name, {}), verdict) == command
