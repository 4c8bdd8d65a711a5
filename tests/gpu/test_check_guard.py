"""The check goes on where a kernel takes the GPU or the process with it."""

import os
import signal
import subprocess
import sys
import time

import pytest
from hostcupy.module import cupy as stand_in
from ssmref.gpu.check import __main__ as command
from ssmref.gpu.check import child, contenders, guard, parts, racing
from ssmref.gpu.check.book import Book
from ssmref.gpu.check.grid import Point
from ssmref.gpu.check.guard import LOST, LostError, Progress, guarded
from ssmref.gpu.check.parts import Run, run_part
from toy_gpu import SCAN, STEP, Clock

from ssmref.bench.contender import Contender
from ssmref.golden import layers

NORM = "layers.rms_norm"

# Verifies ops a, b and c; what happens at b is said by the first word.
CHILD = """
import os, signal, sys, time
fate, *words = sys.argv[1:]
path = words[words.index("--progress") + 1]
skipped = [b for a, b in zip(words, words[1:]) if a == "--skip"]
for op in "abc":
    if op in skipped:
        continue
    open(path, "w").write(op)
    print(op, *(word for word in words if word == "--again"), flush=True)
    if op == "b" and fate == "killed":
        os.kill(os.getpid(), signal.SIGSEGV)
    if op == "b" and fate == "hangs":
        time.sleep(60)
    if op == "b" and fate == "lost":
        sys.exit(3)
    if fate == "always":
        sys.exit(3)
sys.exit(1 if fate == "wrong" else 2 if fate == "none" else 0)
"""

# Hangs with a child that hangs; tells the number of the latter.
HANGING = """
import sys
from ssmref.gpu.check.guard import guarded
inner = '''
import os, sys, time
from ssmref.gpu.check.guard import end_with
end_with(0)
print(os.getpid(), flush=True)
time.sleep(60)
'''
sys.exit(guarded([], (sys.executable, "-P", "-c", inner)))
"""


@pytest.fixture
def run_guarded(capfd):
    def run(fate, *words, **options):
        status = guarded(words, (sys.executable, "-c", CHILD, fate), **options)
        return status, capfd.readouterr()

    return run


@pytest.mark.parametrize(("fate", "status"), [("fine", 0), ("wrong", 1), ("none", 2)])
def test_status_of_the_child_is_that_of_the_check(run_guarded, fate, status):
    found, said = run_guarded(fate, minutes=7)
    assert found == status
    assert said.out.split()[:3] == ["a", "b", "c"]
    assert ("s, of at most 420 (--minutes)" in said.out) == (fate != "none")


@pytest.mark.parametrize(
    ("fate", "why"),
    [("killed", "died of signal 11"), ("hangs", "no end"), ("lost", "GPU was lost")],
)
def test_what_takes_the_process_is_left_out(run_guarded, fate, why):
    seconds = {"silence": 0.5} if fate == "hangs" else {}
    status, said = run_guarded(fate, "--again", **seconds)
    assert status == 1
    *before, line, first, second, _ = said.out.splitlines()
    assert before == ["a --again", "b --again"]
    assert (first, second) == ("a", "c"), "what has passed meanwhile is not run again"
    assert line.startswith("b: FAILED, ")
    assert why in line


def test_a_gpu_that_is_always_lost_ends_the_check(run_guarded):
    status, said = run_guarded("always")
    assert status == 1
    assert said.out.count("FAILED") == 3


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, guard.INTERRUPTED),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_nobody_stays_behind(number, status):
    words = [sys.executable, "-P", "-c", HANGING]  # -P: not what lies around here
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        inner = int(process.stdout.readline())
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == status
    assert "Traceback" not in said
    while _runs(inner):
        time.sleep(0.01)


def _runs(number):
    """Whether there is a process; one that nobody has waited for does not run."""
    try:
        os.kill(number, 0)
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_signals_are_as_before(run_guarded):
    before = signal.getsignal(signal.SIGTERM)
    _ = run_guarded("fine")
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_command_begins_a_child(monkeypatch):
    monkeypatch.setattr(command, "guarded", lambda words, **more: (words, more))
    words = ["--only", "rates", "--minutes", "3", "--silence", "20"]
    assert command.main(words) == (words, {"minutes": 3, "silence": 20})
    with pytest.raises(SystemExit):
        _ = command.main(["--agai"])


def test_time_runs_out_at_a_beginning(tmp_path):
    soon = Progress(tmp_path / "at", minutes=1)
    soon.begin("a")
    with pytest.raises(guard.NoTimeError, match="no time left for b"):
        Progress(tmp_path / "at", minutes=0).begin("b")
    assert (tmp_path / "at").read_text() == "a"


class Broken(Clock):
    """A device that a kernel has broken."""

    def synchronize(self):
        raise stand_in.cuda.runtime.CUDARuntimeError("cudaErrorIllegalAddress")


@pytest.fixture
def make_run(tmp_path):
    def make(clock, **options):
        clock.free = 10**12
        grid = {"scan": (Point(SCAN),), "steps": (Point(STEP),)}
        book = Book(tmp_path, clock)
        said = []
        return Run(clock, book, said.append, grid=grid, dtypes=("float32",), **options)

    return make


def off(*args, **kwargs):
    return layers.rms_norm(*args, **kwargs) * 2


def test_a_wrong_result_on_a_live_device_is_only_wrong(make_run, monkeypatch):
    monkeypatch.setattr(parts, "ops", lambda: {NORM: off})
    assert not run_part(make_run(Clock()), "verify").passed


def test_a_wrong_result_on_a_dead_device_ends_the_process(
    make_run, monkeypatch, tmp_path
):
    monkeypatch.setattr(parts, "ops", lambda: {NORM: off})
    run = make_run(Broken(), progress=Progress(tmp_path / "at"))
    with pytest.raises(LostError, match="cudaErrorIllegalAddress"):
        run_part(run, "verify")
    assert (tmp_path / "at").read_text() == NORM
    assert run.book.finished("verify") is None


def test_an_error_fails_its_part_and_not_the_others(make_run, monkeypatch):
    def broken(*_):
        raise ValueError("a mistake of the check")

    monkeypatch.setattr(parts, "run_point", broken)
    run = make_run(Clock())
    found = run_part(run, "scan")
    assert not found.passed
    assert "a mistake of the check" in found.summary
    assert run.book.finished("scan") is None
    with pytest.raises(LostError):
        run_part(make_run(Broken()), "scan")


def test_what_is_left_out_keeps_its_parts_from_passing(make_run, monkeypatch):
    monkeypatch.setattr(parts, "ops", lambda: {NORM: layers.rms_norm, "s4.s4": off})
    skipping = frozenset({"s4.s4", SCAN.op, "rates"})
    run = make_run(Clock(), skipped=skipping)
    found = run_part(run, "verify")
    assert not found.passed
    assert found.summary.endswith(f"0 failed, left out: {SCAN.op}, rates, s4.s4")
    assert run_part(run, "scan").summary.startswith("0 figures")
    assert run_part(run, "rates").summary.startswith("left out")


def test_a_stranger_that_takes_the_gpu_is_left_out(make_run, monkeypatch, tmp_path):
    def breaks(_):
        raise ValueError("an illegal address, as it turned out")

    def offered(op, dtype):
        ours = contenders.contenders(op, dtype)[0]
        return [ours, Contender("theirs", op, breaks, dict)]

    monkeypatch.setattr(racing, "contenders", offered)
    assert run_part(make_run(Clock()), "scan").passed, "the GPU goes on"
    with pytest.raises(LostError, match="cudaErrorIllegalAddress"):
        run_part(make_run(Broken(), progress=Progress(tmp_path / "at")), "steps")
    what = (tmp_path / "at").read_text()
    assert what == f"{STEP.op} by theirs"
    run = make_run(Broken(), skipped=frozenset({what}))
    assert run_part(run, "steps").passed, "ours is right"
    left = [r for r in run.book.records() if r.get("reason") == "left out"]
    assert {record["implementation"] for record in left} == {"theirs"}


def test_lost_is_a_status_of_its_own(monkeypatch, capsys):
    def lost(_):
        raise LostError("cudaErrorIllegalAddress")

    monkeypatch.setattr(child, "_run", lost)
    assert child.main([]) == LOST
    assert "cudaErrorIllegalAddress" in capsys.readouterr().err
