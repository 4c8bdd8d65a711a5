"""The command: what it writes, what it says of outputs, and mistakes."""

import json
import shlex
from io import StringIO

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from ssmref.commands.progress import with_progress
from ssmref.commands.vectors import vectors as command
from ssmref.conformance.vectors import npy
from ssmref.conformance.vectors.stored import open_set

SSD = "mamba2.ssd/packed/l140"
SISO = "mamba3.siso/initial-state/b2l40"
LARGE = "mamba2.ssd/large-values/l15"
PLAIN = "mamba2.ssd/plain/b2l37h3p5n4"


def run(*arguments):
    words = [str(a) for a in arguments]
    return CliRunner().invoke(command, words, prog_name="ssmref vectors")


def check(vectors, outputs, *more):
    return run("check", vectors, "--outputs", outputs, *more)


def change(path, function):
    """Change one element of an array file."""
    array = np.load(path)
    array.flat[array.size // 2] = function(array.flat[array.size // 2])
    path.write_bytes(npy.to_bytes(array))


def test_export_then_check_is_green(exported, answered):
    result = check(exported, answered)
    assert result.exit_code == 0, result.output
    assert "PASSED: all 5 cases" in result.output


def test_one_wrong_element_is_red_and_located(vectors, outputs):
    change(outputs / SSD / "float32" / "y.npy", lambda x: x + 1)
    result = check(vectors, outputs)
    assert result.exit_code == 1
    assert "FAILED: 1 of 5 cases run are wrong" in result.output
    assert "y: 1 of 840 elements are wrong; worst at batch 0, token 70" in result.output


def test_the_repeat_command_repeats_the_case(vectors, outputs):
    change(outputs / SSD / "float32" / "y.npy", lambda x: x + 1)
    lines = check(vectors, outputs).output.splitlines()
    (line,) = [x for x in lines if "repeat: ssmref vectors " in x]
    again = run(*shlex.split(line)[3:])
    assert again.exit_code == 1
    assert "FAILED: 1 of 1 cases run are wrong" in again.output


@pytest.mark.parametrize("number", [np.nan, np.inf, 0])
def test_numbers_that_are_none_are_red(vectors, outputs, number):
    change(outputs / SSD / "float32" / "final_state.npy", lambda _: number)
    assert check(vectors, outputs).exit_code == 1


def test_another_dtype_is_red(vectors, outputs):
    path = outputs / SSD / "float32" / "y.npy"
    path.write_bytes(npy.to_bytes(np.load(path).astype(np.float64)))
    result = check(vectors, outputs)
    assert result.exit_code == 1
    assert "has dtype float64, needed is float32" in result.output


def test_missing_outputs_are_not_green(vectors, outputs):
    outputs.joinpath(SISO, "float32", "final_state.angle.npy").unlink()
    result = check(vectors, outputs)
    assert result.exit_code == 3
    assert "there is no final_state.angle.npy" in result.output
    assert "INCOMPLETE: all 4 cases run passed" in result.output


def test_missing_outputs_do_not_hide_wrong_ones(vectors, outputs):
    outputs.joinpath(SSD, "float32", "final_state.npy").unlink()
    change(outputs / SSD / "float32" / "y.npy", lambda x: 2 * x)
    assert check(vectors, outputs).exit_code == 1


def test_nothing_is_not_green(vectors, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    result = check(vectors, empty)
    assert result.exit_code == 3
    assert "NOTHING RAN" in result.output
    assert "float32/y.npy would; it is empty" in result.output
    (empty / "ssd").mkdir()
    assert "float32/y.npy would; it has 'ssd'" in check(vectors, empty).output


def test_the_verdict_comes_from_the_folder_alone(vectors, outputs, monkeypatch):
    """Where nothing fails, neither golden, nor bugs, nor the catalogue are asked."""
    asked = []

    def forbidden(*_):
        asked.append("the running package was used")

    for name in ("diagnosis.truth", "diagnosis.behaviour", "truth.implementation"):
        monkeypatch.setattr(f"ssmref.conformance.{name}", forbidden)
    monkeypatch.setattr("ssmref.conformance.catalogue.ALL_CASES", {})
    assert check(vectors, outputs).exit_code == 0
    assert not asked
    change(outputs / SSD / "float32" / "y.npy", lambda x: x + 1)
    assert check(vectors, outputs).exit_code == 1
    assert asked


def test_golden_of_the_folder_decides(vectors, answered):
    """Another golden, consistently exported, makes right outputs wrong."""
    folder = vectors / SSD / "float32"
    path = folder / "out" / "y.npy"
    change(path, lambda x: x + 1)
    redo_checksums(vectors, folder, path)
    assert check(vectors, answered).exit_code == 1


def redo_checksums(vectors, folder, path):
    from ssmref.conformance.vectors.manifest import json_bytes, sha256

    document = json.loads(folder.joinpath("manifest.json").read_text())
    document["outputs"]["y"]["golden"]["sha256"] = sha256(path.read_bytes())
    folder.joinpath("manifest.json").write_bytes(json_bytes(document))
    whole = json.loads(vectors.joinpath("manifest.json").read_text())
    entry = next(e for e in whole["cases"] if e["id"] == SSD)
    entry["sha256"] = sha256(folder.joinpath("manifest.json").read_bytes())
    vectors.joinpath("manifest.json").write_bytes(json_bytes(whole))


def test_json_has_every_verdict(exported, answered, tmp_path):
    path = tmp_path / "verdicts.json"
    assert check(exported, answered, "--json", path).exit_code == 0
    document = json.loads(path.read_text())
    assert document["counts"]["passed"] == 5
    assert document["dtype"] == "float32"


@pytest.mark.parametrize(
    ("option", "value", "count"), [("--op", "mamba3.siso", 1), ("--case", SSD, 1)]
)
def test_part_of_a_set_is_checked(exported, answered, option, value, count):
    result = check(exported, answered, option, value)
    assert result.exit_code == 0
    assert f"PASSED: all {count} case" in result.output


def test_export_writes_the_cases_that_were_chosen(tmp_path):
    target = tmp_path / "set"
    options = ["--case", PLAIN, "--dtype", "float64", "--dtype", "bfloat16"]
    result = run("export", target, *options)
    assert result.exit_code == 0, result.output
    assert "ssmref vectors check" in result.output
    found = [(r.id, r.dtype) for r in open_set(target)]
    assert found == [(PLAIN, "float64"), (PLAIN, "bfloat16")]
    result = check(target, tmp_path)
    assert result.exit_code == 2
    assert "DIR has float64, bfloat16: say which by --dtype" in result.output
    assert check(target, tmp_path, "--dtype", "float64").exit_code == 3


def test_export_of_an_op_has_its_core_cases(tmp_path):
    assert run("export", tmp_path / "set", "--op", "mamba2.ssd_step").exit_code == 0
    ids = [r.id for r in open_set(tmp_path / "set")]
    assert len(ids) >= 15
    assert all(i.startswith("mamba2.ssd_step/") for i in ids)


def test_export_says_what_it_leaves_out(tmp_path):
    options = ["--case", LARGE, "--case", PLAIN, "--dtype", "float16"]
    result = run("export", tmp_path / "set", *options)
    assert result.exit_code == 0
    assert f"left out, its numbers exceed float16: {LARGE}" in result.output
    assert [r.id for r in open_set(tmp_path / "set")] == [PLAIN]


def test_freeze_writes_one_file(tmp_path, monkeypatch):
    from ssmref.commands import vectors
    from ssmref.conformance.catalogue import CASES

    monkeypatch.setattr(vectors, "chosen_cases", lambda *_: [CASES[PLAIN]])
    result = run("freeze", tmp_path / "core.zip")
    assert result.exit_code == 0, result.output
    assert "bytes" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["core.zip"]


MISTAKES = {
    "unknown op": (["export", "new", "--op", "mamba2.sdd"], "meant was: mamba2.ssd"),
    "unknown case": (["export", "new", "--case", "mamba2.ssd/plain"], PLAIN),
    "unknown dtype": (["export", "new", "--dtype", "int8"], "bfloat16"),
    "unknown level": (["export", "new", "--level", "all"], "core"),
    "nothing left": (
        ["export", "new", "--case", PLAIN, "--op", "mamba3.siso"],
        "no case of level core, extended, long, precision is left",
    ),
    "none fits": (
        ["export", "new", "--case", LARGE, "--dtype", "float16"],
        "their numbers exceed the dtype",
    ),
    "not empty": (["export", "."], "is not empty"),
    "no parent": (["export", "no/such/folder"], "is not a folder"),
    "frozen part": (["export", "new", "--frozen", "--op", "mamba2.ssd"], "no other"),
    "no outputs": (["check", "."], "Missing option '--outputs'"),
    "no vectors": (["check", ".", "--outputs", "."], "manifest.json is missing"),
    "no folder": (["check", "new", "--outputs", "."], "does not exist"),
    "json": (
        ["check", ".", "--outputs", ".", "--json", "no/such/x.json"],
        "is not a folder",
    ),
    "freeze": (["freeze", "no/such/core.zip"], "no/such"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_explained_and_nothing_written(
    tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("mine").write_text("precious")
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_unknown_part_of_a_set_is_a_mistake(exported, answered):
    for option, value in (("--op", "mamba1.scan"), ("--case", PLAIN)):
        result = check(exported, answered, option, value)
        assert result.exit_code == 2
        assert "is unknown; meant was" in result.output


GARBAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "pickle": lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
    "text": lambda path: path.write_text("0.5\n"),
    "link": lambda path: (path.unlink(), path.symlink_to("/etc/hostname")),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_a_mistake_that_names_the_file(vectors, outputs, tmp_path, damage):
    path = outputs / SSD / "float32" / "y.npy"
    damage(path)
    target = tmp_path / "verdicts.json"
    result = check(vectors, outputs, "--json", target)
    assert result.exit_code == 2
    assert str(path) in result.output
    assert result.output.count("\n") == 1
    assert not target.exists()


def test_damaged_vectors_are_a_mistake_that_names_the_file(vectors, answered):
    path = vectors / SSD / "float32" / "out" / "y.npy"
    change(path, lambda x: x + 1)
    result = check(vectors, answered)
    assert result.exit_code == 2
    assert f"{path} is damaged" in result.output


def shown(times, terminal=True):
    file = StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    ticks = iter(times)
    passed = with_progress("abcd", 4, "writing", console, lambda: next(ticks))
    assert list(passed) == list("abcd")
    return file.getvalue()


def test_progress_appears_only_after_two_seconds():
    assert "writing" in shown([0, 0.5, 1, 3, 4])
    assert shown([0, 0.5, 1, 1.5, 2]).strip() == ""
    assert shown([0, 0.5, 1, 3, 4, 5], terminal=False) == ""
