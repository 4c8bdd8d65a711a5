"""Whatever a program does becomes the verdict on its case, and nothing stays behind."""

import os
import shlex
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ssmref.conformance import programs
from ssmref.conformance.candidates import TargetError
from ssmref.conformance.catalogue import CASES
from ssmref.conformance.programs import program
from ssmref.conformance.run import verify, verify_case
from ssmref.conformance.truth import truth
from ssmref.conformance.vectors import npy
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED

OP = "mamba2.ssd"
F32 = np.dtype(np.float32)
SMALLEST = CASES["mamba2.ssd/smallest/l1h1p1n1"]
PLAIN = CASES["mamba2.ssd/plain/b2l37h3p5n4"]
SLEEP = "import time; time.sleep(60)"

# What every script below starts with; RIGHT is a folder of right outputs of PLAIN.
HEAD = """
import os, shutil, signal, subprocess, sys
from pathlib import Path
case, out, right, here = (Path(x) for x in sys.argv[1:])
def answer(*names):
    for name in names or ("y", "final_state"):
        shutil.copy(right / f"{name}.npy", out)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with right outputs, and a place for temporary ones."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary files").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary files"))
    (tmp_path / "right").mkdir()
    for name, array in truth(PLAIN, F32).outputs.items():
        data = npy.to_bytes(array.astype(np.float32))
        (tmp_path / "right" / f"{name}.npy").write_bytes(data)
    return tmp_path


@pytest.fixture
def verdict(folder):
    def run(script, case=PLAIN, timeout=30.0):
        candidate = scripted(folder, script, timeout)
        return verify_case(candidate.functions[OP], case, F32)

    return run


def scripted(folder, script, timeout=30.0):
    (folder / "program.py").write_text(HEAD + script)
    python = shlex.quote(sys.executable)
    command = f"{python} -S -E program.py {{in}} {{out}} right ."
    return program(command, [OP], timeout)


def test_right_outputs_pass(verdict):
    found = verdict("answer()")
    assert found.status == PASSED, found
    assert [f.output for f in found.findings] == ["y", "final_state"]


def test_wrong_numbers_fail(verdict, folder):
    path = folder / "right" / "y.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80  # the sign of the last element
    path.write_bytes(data)
    found = verdict("answer()")
    assert found.status == FAILED
    assert found.findings[0].index == (1, 36, 2, 4)
    assert found.findings[1].passed


def test_a_program_gets_the_inputs_and_not_the_answers(verdict, folder):
    script = "print(*sorted(str(p.relative_to(case)) for p in case.rglob('*')), "
    script += "*out.iterdir(), file=open(here / 'seen', 'w'))\nanswer()"
    assert verdict(script).status == PASSED
    inputs = ["A", "B", "C", "dt", "x"]
    expected = ["case.txt", "in", *(f"in/{x}.npy" for x in inputs), "manifest.json"]
    assert (folder / "seen").read_text().split() == expected


MISBEHAVIOUR = {
    "exit status": ("sys.exit(3)", "exit status 3"),
    "last words": (
        "sys.exit('one\\ntwo\\n')",
        "exit status 1, after:\n    one\n    two",
    ),
    "error after an answer": ("answer(); sys.exit(1)", "exit status 1"),
    "signal": (
        "answer(); os.kill(os.getpid(), signal.SIGKILL)",
        "ended by the signal SIGKILL (Killed)",
    ),
    "nothing": ("", "did not write y.npy, final_state.npy"),
    "half": ("answer('y')", "did not write final_state.npy"),
    "elsewhere": (
        "out = here; answer()",
        "did not write y.npy, final_state.npy",
    ),
    "no folder": ("out.rmdir()", "did not write y.npy"),
    "folder is a file": ("out.rmdir(); out.write_text('')", "out"),
    "empty": (
        "answer(); (out / 'y.npy').write_bytes(b'')",
        "out/y.npy is not a .npy file",
    ),
    "garbage": (
        "answer(); (out / 'y.npy').write_bytes(os.urandom(999))",
        "out/y.npy is not a .npy file",
    ),
    "truncated": (
        "answer(); os.truncate(out / 'y.npy', 500)",
        "out/y.npy is truncated",
    ),
    "wrong shape": (
        "answer('final_state'); shutil.copy(out / 'final_state.npy', out / 'y.npy')",
        "out/y.npy has shape (2, 3, 5, 4), needed is (2, 37, 3, 5)",
    ),
    "link": (
        "answer('y'); (out / 'final_state.npy').symlink_to(right / 'final_state.npy')",
        "out/final_state.npy is a symbolic link",
    ),
    "folder is a link": (
        "out.rmdir(); out.symlink_to(right.resolve())",
        "out is a symbolic link",
    ),
    "pipe": (
        "answer('final_state'); os.mkfifo(out / 'y.npy')",
        "out/y.npy is not a regular file",
    ),
    "directory": ("answer('final_state'); (out / 'y.npy').mkdir()", "out/y.npy"),
    "folders in folders": (
        "answer(); os.chdir(out)\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')",
        "left folders that are nested thousands deep",
    ),
    "words about a missing file": (
        "print('no device', file=sys.stderr)",
        "did not write y.npy, final_state.npy, after:\n    no device",
    ),
}


@pytest.mark.parametrize(("script", "message"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
def test_misbehaviour_fails_with_its_reason(verdict, script, message):
    found = verdict(script)
    assert found.status == FAILED
    assert found.message.startswith(message)
    assert tempfile.gettempdir() not in found.message
    assert not os.listdir(tempfile.gettempdir())


def test_wrong_dtype_fails(verdict, folder):
    wide = npy.to_bytes(truth(PLAIN, F32).outputs["y"])
    (folder / "right" / "y.npy").write_bytes(wide)
    found = verdict("answer()")
    assert found.status == FAILED
    assert found.message == "out/y.npy has dtype float64, needed is float32"


def test_status_77_is_not_provided(verdict):
    found = verdict("print('x', file=sys.stderr); print('no groups', file=sys.stderr)\n"
                    "sys.exit(77)")  # fmt: skip
    assert (found.status, found.message) == (NOT_PROVIDED, "no groups")
    assert verdict("sys.exit(77)").message == "exit status 77"


def test_timeout_fails(verdict):
    found = verdict(f"answer()\n{SLEEP}", timeout=0.3)
    assert found.status == FAILED
    assert found.message == "ran longer than 0.3 s and was ended"


@pytest.fixture
def impatient(folder, monkeypatch):
    """Let the time of a program be up as soon as it has written the file ``pids``."""

    def monotonic():
        return 1e9 if (folder / "pids").exists() else 0.0

    monkeypatch.setattr(programs, "time", SimpleNamespace(monotonic=monotonic))


READY = """
(here / "draft").write_text(" ".join(str(p) for p in (os.getpid(), *children)))
(here / "draft").rename(here / "pids")
"""


@pytest.mark.usefixtures("impatient")
def test_timeout_says_what_was_said(verdict):
    script = "children = []\nprint('tuning', file=sys.stderr, flush=True)\n"
    found = verdict(script + READY + SLEEP)
    assert found.message == "ran longer than 30 s and was ended, after:\n    tuning"


@pytest.mark.usefixtures("impatient")
def test_timeout_holds_for_a_silent_program(verdict):
    found = verdict("children = []\nos.close(2)\n" + READY + SLEEP)
    assert found.message == "ran longer than 30 s and was ended"


def is_running(pid):
    """A zombie that its new parent has not collected yet runs no more."""
    try:
        os.kill(pid, 0)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (ProcessLookupError, FileNotFoundError):
        return False
    return fields[0] not in "ZX"


# A child that inherits the error stream, and lives on.
CHILD = f"""
child = subprocess.Popen([sys.executable, "-S", "-E", "-c", {SLEEP!r}])
children = [child.pid]
{READY}
"""
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the state of processes is in /proc"
)


def none_runs(folder):
    """Killing takes a moment; a process that nobody ended would sleep for a minute."""
    pids = [int(x) for x in (folder / "pids").read_text().split()]
    assert len(pids) == 2
    for _ in range(500):
        if not any(is_running(pid) for pid in pids):
            return True
        time.sleep(0.01)
    return False


@needs_proc
@pytest.mark.usefixtures("impatient")
def test_nothing_runs_on_after_a_timeout(verdict, folder):
    assert is_running(os.getpid())
    found = verdict(CHILD + SLEEP)
    assert "ran longer" in found.message
    assert none_runs(folder)


@needs_proc
def test_children_do_not_outlive_a_program_that_ends(verdict, folder):
    assert verdict(CHILD + "answer()").status == PASSED
    assert none_runs(folder)


@needs_proc
@pytest.mark.usefixtures("impatient")
def test_nothing_runs_on_after_an_interrupt(verdict, folder, monkeypatch):
    listen = programs._listen

    def interrupted(process, deadline):
        listen(process, deadline)
        raise KeyboardInterrupt

    monkeypatch.setattr(programs, "_listen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        verdict(CHILD + SLEEP)
    assert none_runs(folder)
    assert not os.listdir(tempfile.gettempdir())


def test_a_daemon_that_holds_the_error_stream_is_not_waited_for(verdict, folder):
    daemon = (
        "import time, pathlib\n"
        "for _ in range(400):\n"
        "    time.sleep(0.05)\n"
        "    if pathlib.Path('stop').exists(): break\n"
        "else: pathlib.Path('gave-up').touch()\n"
    )
    script = f"daemon = {daemon!r}\nsubprocess.Popen([sys.executable, '-S', '-E', '-c',"
    script += " daemon], start_new_session=True)\nanswer()"
    found = verdict(script)
    (folder / "stop").touch()
    assert found.status == PASSED
    assert not (folder / "gave-up").exists()


def test_a_flood_of_words_is_not_kept(verdict):
    flood = "for _ in range(400):\n    sys.{0}.write(('x' * 99 + '\\n') * 1000)\n"
    script = flood.format("stdout") + flood.format("stderr") + "sys.exit('the end')"
    tracemalloc.start()
    found = verdict(script)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.message.endswith("\n    the end")
    assert len(found.message) < 2000
    assert peak < 8e6  # each stream was 40 MB


def test_long_lines_and_control_characters_are_tamed(verdict):
    found = verdict(r"sys.exit('\x1b[31mred\x07 ' + 'y' * 5000)")
    words = found.message.splitlines()[-1]
    assert words.startswith("     [31mred  yyy")
    assert len(words) < 250


def test_bytes_that_are_no_text_are_tamed(verdict):
    found = verdict(r"os.write(2, b'\xff\xfe ok'); sys.exit(1)")
    assert found.message.endswith("�� ok")


def test_one_fault_does_not_stop_the_others(folder):
    script = "if 'smallest' in (case / 'case.txt').read_text(): os.abort()\nanswer()"
    found = list(verify(scripted(folder, script), [SMALLEST, PLAIN], F32))
    assert [v.status for v in found] == [FAILED, PASSED]
    assert found[0].message.startswith("ended by the signal SIGABRT")


def test_temporary_files_are_removed(verdict):
    for script in ("answer()", "answer(); sys.exit(1)", "(out / 'x').mkdir(0)"):
        verdict(script)
        assert not os.listdir(tempfile.gettempdir())


def test_a_program_is_found_relative_to_the_current_folder(folder):
    text = f"#!{sys.executable} -SE\n{HEAD}\nanswer()"
    (folder / "my program").write_text(text)
    (folder / "my program").chmod(0o755)
    candidate = program("'./my program' {in} {out} right .", [OP])
    assert verify_case(candidate.functions[OP], PLAIN, F32).status == PASSED


def test_places_may_be_parts_of_words(folder):
    (folder / "program.py").write_text(
        "import sys\nsys.argv[1:] = [x.partition('=')[2] for x in sys.argv[1:]]\n"
        + HEAD
        + "answer()"
    )
    python = shlex.quote(sys.executable)
    command = f"{python} program.py --case={{in}} --to={{out}} --right=right --here=."
    candidate = program(command, [OP])
    assert verify_case(candidate.functions[OP], PLAIN, F32).status == PASSED


def test_what_cannot_be_started_fails(folder):
    (folder / "text").write_bytes(b"\x00\x01")
    (folder / "text").chmod(0o755)
    candidate = program("./text {in} {out}", [OP])
    found = verify_case(candidate.functions[OP], PLAIN, F32)
    assert found.status == FAILED
    assert "cannot be started: Exec format error" in found.message


MISTAKES = {
    "no in": ("true {out}", [OP], 60, r"has no \{in\}"),
    "no out": ("true {in}", [OP], 60, r"has no \{out\}"),
    "empty": ("", [OP], 60, r"has no \{in\}"),
    "place as program": ("{in} {out}", [OP], 60, r"has no \{in\}"),
    "quotes": ("true '{in} {out}", [OP], 60, "cannot be split: No closing quotation"),
    "not there": ("./nothing {in} {out}", [OP], 60, "'./nothing' is not there"),
    "not on the path": ("no-such-x {in} {out}", [OP], 60, "'no-such-x' is not there"),
    "not executable": ("./right {in} {out}", [OP], 60, "'./right' is not executable"),
    "no op": ("true {in} {out}", [], 60, "--exec needs --op"),
    "unknown op": ("true {in} {out}", ["mamba2.sdd"], 60, "'mamba2.sdd' is unknown"),
    "no time": ("true {in} {out}", [OP], 0, "--timeout is 0"),
    "not a time": ("true {in} {out}", [OP], float("nan"), "--timeout is nan"),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("command", "ops", "timeout", "message"), MISTAKES.values(), ids=MISTAKES
)
def test_mistakes_are_explained_before_anything_runs(command, ops, timeout, message):
    with pytest.raises(TargetError, match=message):
        program(command, ops, timeout)


def test_name_is_what_the_user_typed():
    command = "true {in} {out}"
    assert program(command, [OP]).name == "--exec 'true {in} {out}'"
    named = program(command, [OP], 1.5).name
    assert named == "--exec 'true {in} {out}' --timeout 1.5"
