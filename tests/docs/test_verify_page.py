"""What the page "verify my kernel" shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ssmref import cli

PAGE = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
SNIPPETS = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^ssmref .*$", PAGE, re.MULTILINE)


@pytest.fixture
def ssmref(monkeypatch, tmp_path):
    """Run a command in a folder that holds the snippets of the page."""
    for name, text in SNIPPETS:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name, _ in SNIPPETS:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)

    def run(command):
        words = command.split()[1:]
        return CliRunner().invoke(cli.main, words, prog_name="ssmref")

    return run


def test_the_page_has_what_is_run_here():
    assert [name for name, _ in SNIPPETS] == [
        "mykernel.py",
        "myadapter.py",
        "test_mykernel.py",
    ]
    assert [c for c in COMMANDS if "--exec" not in c] == [
        "ssmref cases --op mamba2.ssd",
        "ssmref verify mykernel",
        "ssmref verify myadapter --case mamba1.selective_scan/large-steps/l50",
        "ssmref vectors export vectors --op mamba2.ssd_step",
        "ssmref vectors check vectors --outputs outputs",
    ]


def test_the_bug_is_named(ssmref):
    result = ssmref("ssmref verify mykernel")
    assert result.exit_code == 1
    assert "groups-tile-hf" in " ".join(result.output.split())


def test_the_cure_of_the_page_cures(ssmref, tmp_path):
    sick, cure = re.findall(r"`(np\.(?:tile|repeat)\(X[^`]*)`", PAGE)
    path = tmp_path / "mykernel.py"
    assert sick in path.read_text()
    path.write_text(path.read_text().replace(sick, cure))
    result = ssmref("ssmref verify mykernel")
    assert result.exit_code == 3, result.output
    assert "INCOMPLETE" in result.output


def test_the_adapter_passes(ssmref):
    result = ssmref(next(c for c in COMMANDS if "myadapter" in c))
    assert result.exit_code == 0, result.output


def test_cases_are_listed(ssmref):
    result = ssmref("ssmref cases --op mamba2.ssd")
    assert result.exit_code == 0
    assert "mamba2.ssd/groups-inner/b2l37h6g2" in result.output


def test_vectors_are_exported_and_missing_outputs_are_not_green(ssmref, tmp_path):
    export, check = (c for c in COMMANDS if " vectors " in c)
    assert ssmref(export).exit_code == 0
    (tmp_path / "outputs").mkdir()
    result = ssmref(check)
    assert result.exit_code == 3, result.output


def test_the_pytest_snippet_finds_the_bug(tmp_path):
    for name, text in SNIPPETS:
        (tmp_path / name).write_text(text)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_mykernel.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    failed = re.findall(r"FAILED test_mykernel.py::test_ssd\[(\S+)\]", result.stdout)
    assert failed
    assert all("/groups-" in case for case in failed)
