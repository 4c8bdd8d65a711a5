"""The example programs are right, wrong where they are made wrong, and hard to fool."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ssmref.conformance.catalogue import CASES, cases_of
from ssmref.conformance.programs import program
from ssmref.conformance.run import verify
from ssmref.conformance.truth import truth
from ssmref.conformance.vectors.folder import write_inputs
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED

ROOT = Path(__file__).parents[2]
README = (ROOT / "examples" / "README.md").read_text()
OPS = ("mamba2.ssd", "mamba2.ssd_step")
CORE = [c for op in OPS for c in cases_of(op) if c.level == "core"]
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)

STRICT = {
    "cc": ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"),
    "rustc": ("-D", "warnings"),
}
# The commands of the README, by the name of the program that they build or verify.
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
BUILDS = {x[x.index("-o") + 1]: x for x in COMMANDS if "-o" in x}
VERIFIED = {x[3].split()[0].removeprefix("./"): x for x in COMMANDS if "--exec" in x}


def test_readme_verifies_what_it_builds():
    assert set(BUILDS) == set(VERIFIED) == {"ssd", "ssd64", "ssd_tiled", "ssd_rs"}
    for name, words in VERIFIED.items():
        assert words[3] == f"./{name} {{in}} {{out}}"
        assert [words[i + 1] for i, w in enumerate(words) if w == "--op"] == [*OPS]
        assert ("--dtype" in words) == (name == "ssd64")
    assert VERIFIED["ssd64"][-1] == "float64"


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Compile a program once and return its path."""
    built = {}

    def path(name):
        if shutil.which(BUILDS[name][0]) is None:
            pytest.skip(f"{BUILDS[name][0]} is not installed")
        if name not in built:
            built[name] = tmp_path_factory.mktemp("build") / "ssd"
            command = [*BUILDS[name], *STRICT[BUILDS[name][0]]]
            command[command.index("-o") + 1] = str(built[name])
            subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        return built[name]

    return path


def verdicts(path, dtype: np.dtype = F32):
    candidate = program(f"'{path}' {{in}} {{out}}", OPS)
    return list(verify(candidate, CORE, dtype))


@pytest.mark.parametrize(
    ("name", "dtype"), [("ssd", F32), ("ssd64", F64), ("ssd_rs", F32)]
)
def test_example_is_right(build, name, dtype):
    found = verdicts(build(name), dtype)
    assert len(found) >= 44
    assert {v.case.id: v.message for v in found if v.status != PASSED} == {}


def test_tiled_groups_fail_where_they_show_and_only_there(build):
    failed = {v.case.id for v in verdicts(build("ssd_tiled")) if v.status == FAILED}
    assert failed == {case.id for case in CORE if between_one_and_all(case)}
    assert len(failed) >= 5


def between_one_and_all(case):
    arguments = case.arguments(F32)
    groups, heads = arguments["B"].shape[-2], arguments["x"].shape[-2]
    return 1 < groups < heads


@pytest.mark.parametrize("name", ["ssd", "ssd_rs"])
def test_another_dtype_is_not_provided(build, name):
    found = verdicts(build(name), F64)
    assert {v.status for v in found} == {NOT_PROVIDED}
    assert all("float64" in v.message for v in found)


PACKED = CASES["mamba2.ssd/packed/l140"]
SLOTS = CASES["mamba2.ssd_step/slots/b3"]


def text(old, new):
    """Change case.txt."""

    def damage(folder):
        path = folder / "case.txt"
        content = path.read_text()
        assert content.count(old) == 1, content
        path.write_text(content.replace(old, new))

    return damage


def data(name, change):
    """Change the bytes of an array's file."""

    def damage(folder):
        path = folder / "in" / f"{name}.npy"
        path.write_bytes(change(path.read_bytes()))

    return damage


def index(name, position, value):
    """Change an integer of an array of indices."""
    at = 128 + 8 * position
    new = value.to_bytes(8, "little", signed=True)
    return data(name, lambda b: b[:at] + new + b[at + 8 :])


def grown(folder):
    """B has five groups, three heads do not divide by them."""
    text("in.B=float32 1 140 1 4", "in.B=float32 1 28 5 4")(folder)
    data("B", lambda b: b.replace(b"(1, 140, 1, 4)", b"(1, 28, 5, 4) "))(folder)


DAMAGE = {
    "no case": (PACKED, lambda f: (f / "case.txt").unlink(), "case.txt"),
    "no equals": (PACKED, text("format=1", "format 1"), "case.txt"),
    "format": (PACKED, text("format=1", "format=2"), "format"),
    "no file": (PACKED, lambda f: (f / "in" / "B.npy").unlink(), "B.npy"),
    "no line": (PACKED, text("in.C=", "out.C="), "C"),
    "truncated": (PACKED, data("B", lambda b: b[:-1]), "B.npy"),
    "headless": (PACKED, data("B", lambda b: b[:9]), "B.npy"),
    "cut header": (PACKED, data("B", lambda b: b[:40]), "B.npy"),
    "longer": (PACKED, data("B", lambda b: b + b"x"), "B.npy"),
    "no npy": (PACKED, data("B", lambda b: b"x" + b), "B.npy"),
    "dtype": (PACKED, data("B", lambda b: b.replace(b"<f4", b"<f8")), "B.npy"),
    "order": (PACKED, data("B", lambda b: b.replace(b"False", b"True ")), "B.npy"),
    "shape": (PACKED, text("in.B=float32 1 140 1", "in.B=float32 140 1 1"), "B.npy"),
    "dtype line": (PACKED, text("in.B=float32", "in.B=float64"), "B"),
    "number": (PACKED, text("in.B=float32 1", "in.B=float32 1x"), "B"),
    "negative": (PACKED, text("in.B=float32 1", "in.B=float32 -1"), "B"),
    "vast": (PACKED, text("in.B=float32 1", "in.B=float32 999999999999"), "B"),
    "bounds": (PACKED, index("cu_seqlens", 5, 141), "cu_seqlens"),
    "negative bounds": (PACKED, index("cu_seqlens", 0, -1), "cu_seqlens"),
    "decreasing": (PACKED, index("cu_seqlens", 1, 99), "cu_seqlens"),
    "groups": (PACKED, grown, "groups"),
    "slot": (SLOTS, index("slots", 1, 6), "slot"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["ssd", "ssd_rs"])
def test_a_damaged_case_is_refused(build, name, damage, tmp_path):
    case, change, message = DAMAGE[damage]
    found, outputs = run_on(build(name), case, change, tmp_path)
    assert found.returncode == 1, found.stderr
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1
    assert not list(outputs.iterdir())


@pytest.mark.parametrize("name", ["ssd", "ssd_rs"])
def test_an_undamaged_case_is_done(build, name, tmp_path):
    found, outputs = run_on(build(name), PACKED, lambda _: None, tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert {p.name for p in outputs.iterdir()} == {"y.npy", "final_state.npy"}


@pytest.mark.parametrize("name", ["ssd", "ssd_rs"])
@pytest.mark.parametrize("line", ["op=mamba3.siso", "option.new=1", "in.new=float32 1"])
def test_what_is_unknown_is_not_provided(build, name, line, tmp_path):
    change = text("op=mamba2.ssd\n", f"op=mamba2.ssd\n{line}\n")
    found, outputs = run_on(build(name), PACKED, change, tmp_path)
    assert found.returncode == 77
    assert not list(outputs.iterdir())


@pytest.mark.parametrize("name", ["ssd", "ssd_rs"])
def test_outputs_that_cannot_be_written_are_reported(build, name, tmp_path):
    write_inputs(tmp_path, PACKED, truth(PACKED, F32))
    found = run(build(name), tmp_path, tmp_path / "nowhere")
    assert found.returncode == 1
    assert "y.npy" in found.stderr


def run_on(path, case, change, folder):
    inputs, outputs = folder / "case", folder / "out"
    inputs.mkdir()
    outputs.mkdir()
    write_inputs(inputs, case, truth(case, F32))
    change(inputs)
    return run(path, inputs, outputs), outputs


def run(path, *arguments):
    command = [str(path), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60
    )
