"""The command: tables, exit status, files, and mistakes without tracebacks."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from ssmref import cli
from ssmref.commands import choice
from ssmref.commands.guard import watched
from ssmref.commands.progress import with_progress
from ssmref.conformance import catalogue, precision
from ssmref.conformance.catalogue import CASES, cases_of

ROOT = Path(__file__).parents[2]
SSD = len(cases_of("mamba2.ssd"))
# Where heads taken in turn differ from heads taken in blocks.
TILED = sum(
    1 < case.arguments(np.dtype("f4"))["B"].shape[2] < heads
    for case in cases_of("mamba2.ssd")
    if (heads := case.arguments(np.dtype("f4"))["x"].shape[2])
)
# What the installed `ssmref` script does, wherever it was installed.
SCRIPT = """
from importlib.metadata import entry_points
entry_points(group="console_scripts")["ssmref"].load()()
"""


@pytest.fixture
def ssmref(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments):
        return CliRunner().invoke(cli.main, arguments, prog_name="ssmref")

    return run


def test_correct_port_is_green(ssmref):
    result = ssmref("verify", "examples.port")
    assert result.exit_code == 0, result.output
    assert f"PASSED: all {SSD} cases" in result.output


def test_tiled_port_is_red_and_says_where(ssmref):
    result = ssmref("verify", "examples.port_tiled")
    assert result.exit_code == 1
    assert f"FAILED: {TILED} of {SSD} cases run are wrong" in result.output
    assert "mamba2.ssd/groups-inner/b2l37h6g2" in result.output
    assert "tiling is not repeating" in result.output
    assert "head 1, group 0" in result.output


def test_repeat_command_repeats_the_case(ssmref):
    result = ssmref("verify", "examples.port_tiled")
    lines = [x for x in result.output.splitlines() if x.startswith("  repeat: ssmref ")]
    assert len(lines) == TILED
    again = ssmref(*lines[0].split()[2:])
    assert again.exit_code == 1
    assert "FAILED: 1 of 1 cases run are wrong" in again.output


def test_single_function_and_op(ssmref):
    target = "ssmref.golden.mamba1:selective_scan_blelloch"
    result = ssmref("verify", target, "--op", "mamba1.selective_scan")
    assert result.exit_code == 0, result.output


def test_float64(ssmref):
    result = ssmref("verify", "ssmref.golden", "--dtype", "float64")
    assert result.exit_code == 0, result.output
    core = [c for c in CASES.values() if c.level == "core"]
    judged = [case for case in core if not case.op.startswith("stages.")]
    assert f"PASSED: all {len(judged)} cases" in result.output
    assert "not judged" not in result.output


# TF32 lacks 13 bits of float32: half of what goes is added, and the rest is cleared.
ROUNDED = """
import numpy as np
from ssmref.golden import mamba1, mamba2

def in_tf32(x):
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).view(np.float32)

def ssd(x, dt, A, B, C, **options):
    x, B, C = map(in_tf32, (x, B, C))
    return mamba2.ssd(x, dt, A, B, C, **options)

selective_scan = mamba1.selective_scan
"""


def test_products_in_tf32_are_right_as_that_and_called_that(
    ssmref, tmp_path, monkeypatch
):
    (tmp_path / "coarse.py").write_text(ROUNDED)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "verdict.json"
    result = ssmref("verify", "coarse", "--dtype", "tf32", "--json", str(path))
    assert result.exit_code == 0, result.output
    assert f"PASSED: all {SSD} cases" in result.output
    assert "coarse against golden, tf32" in result.output
    assert "left out, no products of tiles for tf32: 1 ops" in result.output
    document = json.loads(path.read_text())
    assert {document["dtype"], *(v["dtype"] for v in document["verdicts"])} == {"tf32"}
    as_float32 = ssmref("verify", "coarse", "--op", "mamba2.ssd")
    assert as_float32.exit_code == 1


def test_bugs_are_named_in_tf32_too(ssmref):
    result = ssmref("verify", "examples.port_tiled", "--dtype", "tf32")
    assert result.exit_code == 1
    assert f"FAILED: {TILED} of {SSD} cases run are wrong" in result.output
    assert f"(explains {TILED} of {TILED} failed cases)" in result.output
    assert "--dtype tf32" in result.output


def test_json_has_every_verdict(ssmref, tmp_path):
    path = tmp_path / "verdict.json"
    assert ssmref("verify", "examples.port_tiled", "--json", str(path)).exit_code == 1
    document = json.loads(path.read_text())
    assert document["counts"]["passed"] == SSD - TILED
    assert document["counts"]["failed"] == TILED
    assert document["limit"] == 30
    assert document["target"] == "examples.port_tiled"
    failed = [v for v in document["verdicts"] if v["status"] == "failed"]
    assert len(document["verdicts"]) == SSD
    assert [o["output"] for o in failed[0]["outputs"]] == ["y", "final_state"]
    assert failed[0]["outputs"][0]["ratio"] > 30
    assert len(failed[0]["outputs"][0]["index"]) == 4


def test_partial_provider_is_not_green(ssmref, tmp_path, monkeypatch):
    (tmp_path / "partial.py").write_text(
        "from ssmref.golden import mamba2\n"
        "def ssd(x, dt, A, B, C):\n    return mamba2.ssd(x, dt, A, B, C)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    result = ssmref("verify", "partial")
    assert result.exit_code == 3
    assert "INCOMPLETE" in result.output
    assert "it has no argument cu_seqlens" in result.output


def test_a_program_that_hangs_is_named_at_once(ssmref):
    plain = "mamba2.ssd/plain/b2l37h3p5n4"
    command = f"{sys.executable} -c 'import time; time.sleep(60)' {{in}} {{out}}"
    result = ssmref("verify", "--exec", command, "--case", plain, "--timeout", "0.2")
    assert result.exit_code == 1
    assert f"{plain}: ran longer than 0.2 s" in result.output


STEP = "mamba2.ssd_step/smallest/h1p1n1"
ENDS = """
import os
from ssmref.golden import mamba2

def ssd(*inputs, **options):
    if len(inputs[0]) == 2:
        os._exit(0)
    return mamba2.ssd(*inputs, **options)
"""
INTERRUPTED = ENDS.replace("os._exit(0)", "raise KeyboardInterrupt")


def test_a_candidate_cannot_end_the_run_as_if_it_were_good(
    ssmref, tmp_path, monkeypatch
):
    (tmp_path / "ending.py").write_text(ENDS)
    monkeypatch.syspath_prepend(tmp_path)
    exit_before = os._exit
    result = ssmref("verify", "ending")
    assert result.exit_code == 1
    assert "raised SystemExit: os._exit(0) was called" in result.output
    assert "FAILED" in result.output
    assert os._exit is exit_before


def test_a_child_of_a_candidate_may_end(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with watched():
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(SystemExit):
            os._exit(7)
    assert ended == [7]


def test_what_ran_is_shown_after_an_interruption(ssmref, tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text(INTERRUPTED)
    monkeypatch.syspath_prepend(tmp_path)
    result = ssmref("verify", "slow")
    assert result.exit_code == 130
    assert "PASSED: all 1 cases" in result.output
    left = f"{SSD - 1} cases were not run"
    assert f"interrupted in mamba2.ssd/plain/b2l37h3p5n4; {left}" in result.output


MISTAKES = {
    "no target": (["verify"], "give one of TARGET, --peer"),
    "both": (["verify", "json", "--peer", "transformers"], "give one of TARGET"),
    "no module": (["verify", "no_such_thing"], "cannot import no_such_thing"),
    "no op": (["verify", "json"], "json offers no op"),
    "no function of the op": (
        ["verify", "json", "--op", "mamba2.ssd"],
        "json has no function ssd or mamba2_ssd for mamba2.ssd",
    ),
    "half an op": (
        ["verify", "examples.port", "--op", "ssd"],
        "meant was: mamba2.ssd, mamba2.ssd_step",
    ),
    "path of a file": (
        ["verify", "examples/port.py"],
        "meant was: examples.port",
    ),
    "unknown op": (
        ["verify", "examples.port", "--op", "mamba2.sdd"],
        "meant was: mamba2.ssd",
    ),
    "op not offered": (
        ["verify", "examples.port", "--op", "mamba3.siso"],
        "does not offer mamba3.siso; it offers: mamba2.ssd",
    ),
    "unknown case": (
        ["verify", "examples.port", "--case", "mamba2.ssd/plain"],
        "mamba2.ssd/plain/b2l37h3p5n4",
    ),
    "case of another op": (
        [
            "verify",
            "examples.port",
            "--op",
            "mamba2.ssd",
            "--case",
            "mamba3.siso/empty/l0",
        ],
        "no case is left",
    ),
    "dtype": (["verify", "examples.port", "--dtype", "int8"], "float32"),
    "no products of tiles": (
        ["verify", "ssmref.golden", "--op", "s4.s4", "--dtype", "tf32"],
        "s4.s4 is not: judge it in float32",
    ),
    "case without products": (
        [*("verify", "ssmref.golden", "--dtype", "tf32"), "--case", STEP],
        "mamba2.ssd_step is not: judge it in float32",
    ),
    "nothing for TF32": (
        ["verify", "ssmref.golden.s4:s4", "--dtype", "tf32"],
        "s4.s4 is not: judge it in float32",
    ),
    "json folder": (
        ["verify", "examples.port", "--json", "/no/such/folder/x.json"],
        "is not a folder",
    ),
    "peer": (["verify", "--peer", "tensorflow"], "bundled adapters are: "),
    "cases of unknown op": (["cases", "--op", "mamba9"], "--op 'mamba9' is unknown"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_explained_without_a_traceback(ssmref, arguments, message):
    result = ssmref(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_json_that_cannot_be_written_is_explained(ssmref, tmp_path):
    path = tmp_path / "taken"
    path.write_text("")
    target = str(path / "x.json")
    result = ssmref("verify", "examples.port", "--json", target)
    assert result.exit_code == 2
    assert "is not a folder" in result.output


def test_module_that_fails_on_import_is_a_mistake(ssmref, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = ssmref("verify", "broken")
    assert result.exit_code == 2
    assert "cannot import broken: ZeroDivisionError" in result.output


def test_cases_lists_every_case_with_its_reason(ssmref):
    result = ssmref("cases")
    assert result.exit_code == 0
    for case in CASES.values():
        assert (case.id in result.output) is (case.level == "core")
        assert case.reason in result.output or case.level != "core"


def shown(items, times, terminal=True):
    file = StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    ticks = iter(times)
    passed = with_progress(
        items, len(items), console=console, clock=lambda: next(ticks)
    )
    assert list(passed) == list(items)
    return file.getvalue()


def test_progress_appears_only_after_two_seconds():
    assert "verifying" in shown("abcd", [0, 0.5, 1, 3, 4])
    assert shown("abcd", [0, 0.5, 1, 1.5, 2]).strip() == ""
    assert shown("abcd", [0, 0.5, 1, 3, 4, 5], terminal=False) == ""


@pytest.mark.parametrize("command", [["-m", "ssmref"], ["-c", SCRIPT]])
def test_module_and_console_script_run(command):
    result = subprocess.run(
        [sys.executable, *command, "verify", "examples.port"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert f"PASSED: all {SSD} cases" in result.stdout


def test_json_names_the_bug(ssmref, tmp_path):
    path = tmp_path / "verdict.json"
    _ = ssmref("verify", "examples.port_tiled", "--json", str(path))
    document = json.loads(path.read_text())
    assert document["bugs"] == [
        {
            "op": "mamba2.ssd",
            "bugs": ["groups-tile-hf"],
            "explained": TILED,
            "failed": TILED,
            "alternatives": [],
        }
    ]
    failed = [v for v in document["verdicts"] if v["status"] == "failed"]
    assert [v["resembles"] for v in failed] == [[["groups-tile-hf"]]] * TILED


def test_choices_are_those_of_the_suite():
    assert sorted(choice.DTYPES) == sorted(precision.DTYPES)
    assert choice.TF32 == precision.TF32
    assert choice.LEVELS == catalogue.LEVELS
