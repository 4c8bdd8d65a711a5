"""Programs in any language as candidates: a folder of arrays in, another one out.

The protocol is in docs/protocol.md. Whatever a program does ends as the verdict on its
case: an exit status, a signal, silence, files that are missing or mean nothing.
"""

import contextlib
import math
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..ops import OPS
from .candidates import Candidate, NotProvidedError, TargetError
from .cases.case import Case
from .outputs import MalformedResultError
from .truth import Truth
from .vectors.files import VectorError
from .vectors.folder import read_outputs, write_inputs

NOT_PROVIDED_STATUS = 77
TIMEOUT_SECONDS = 60.0

# Of what a program says on its error stream, only the end is kept and less is shown.
_TAIL_BYTES = 8192
_TAIL_LINES = 5
_LINE_LENGTH = 200
_PIPE_BYTES = 2**20
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Program:
    """A command that computes a case; ``{in}`` and ``{out}`` stand for two folders."""

    command: tuple[str, ...]
    timeout: float

    def outputs(self, case: Case, truth: Truth) -> dict[str, np.ndarray]:
        """Run the command on a case and return what it wrote.

        Raises NotProvidedError where the program says so by its exit status and
        MalformedResultError where it leaves nothing that can be judged.
        """
        with _scratch() as folder:
            inputs, outputs = folder / "case", folder / "out"
            inputs.mkdir()
            outputs.mkdir()
            write_inputs(inputs, case, truth)
            words = self._run(inputs, outputs)
            return _read(folder, case, truth, words)

    def _run(self, inputs: Path, outputs: Path) -> list[str]:
        """Return the last words of a run that ended well."""
        places = {"{in}": str(inputs), "{out}": str(outputs)}
        status, words = _execute(_filled(self.command, places), self.timeout)
        if status == NOT_PROVIDED_STATUS:
            reason = words[-1] if words else f"exit status {NOT_PROVIDED_STATUS}"
            raise NotProvidedError(reason)
        if status is None:
            problem = f"ran longer than {self.timeout:g} s and was ended"
            raise MalformedResultError(_with(problem, words))
        if status != 0:
            raise MalformedResultError(_with(_ended(status), words))
        return words


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """Give a folder that is removed afterwards, whatever a program has put into it."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    except BaseException:
        _ = _removed(folder)
        raise
    if not _removed(folder):
        problem = "left folders that are nested thousands deep, or cannot be entered"
        raise MalformedResultError(problem)


def _removed(folder: Path) -> bool:
    """Remove a folder; return whether Python could do it without help."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return True
    command = ("rm", "-rf", "--", str(folder))
    _ = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    return False


def _read(
    folder: Path, case: Case, truth: Truth, words: list[str]
) -> dict[str, np.ndarray]:
    """Return the arrays in ``out``, which the program may have made a link."""
    try:
        found = read_outputs(folder, case, truth, below="out")
    except VectorError as error:
        problem = str(error).replace(f"{folder}{os.sep}", "")
        raise MalformedResultError(_with(problem, words)) from error
    if missing := [f"{name}.npy" for name in truth.outputs if name not in found]:
        problem = f"did not write {', '.join(missing)}"
        raise MalformedResultError(_with(problem, words))
    return found


def program(
    command: str, ops: Sequence[str], timeout: float = TIMEOUT_SECONDS
) -> Candidate:
    """Return the program behind a command line as a candidate for these ops.

    The line is split as a shell does, but no shell runs it; it runs in the current
    folder. Raises TargetError where it cannot be run.
    """
    if not 0 < timeout < math.inf:
        raise TargetError(f"--timeout is {timeout}; it needs to be a number above 0")
    if not ops:
        raise TargetError("--exec needs --op: which op does the program compute?")
    if unknown := [op for op in ops if op not in OPS]:
        raise TargetError(f"--op {unknown[0]!r} is unknown")
    runner = Program(_split(command), timeout)
    name = f"--exec {shlex.quote(command)}"
    if timeout != TIMEOUT_SECONDS:
        name += f" --timeout {timeout:g}"
    return Candidate(name, dict.fromkeys(ops, runner))


def _split(command: str) -> tuple[str, ...]:
    """Return the words of a command, the first as a path that can be executed."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise TargetError(f"--exec {command!r} cannot be split: {error}") from error
    for place in ("{in}", "{out}"):
        if not any(place in word for word in words[1:]):
            raise TargetError(
                f"--exec {command!r} has no {place}; it needs to be like "
                "'./prog {in} {out}'"
            )
    found = shutil.which(words[0])
    if found is None:
        what = "is not executable" if Path(words[0]).exists() else "is not there"
        raise TargetError(f"--exec: the program {words[0]!r} {what}")
    return (os.path.abspath(found), *words[1:])


def _filled(command: tuple[str, ...], places: dict[str, str]) -> list[str]:
    first, *rest = command
    for place, path in places.items():
        rest = [word.replace(place, path) for word in rest]
    return [first, *rest]


def _execute(command: list[str], timeout: float) -> tuple[int | None, list[str]]:
    """Run a command; return its status, None if it ran too long, and its last words.

    Its processes form a group of their own, and none of the group is left behind.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        problem = f"{command[0]} cannot be started: {error.strerror}"
        raise MalformedResultError(problem) from error
    with process:
        try:
            tail = _listen(process, time.monotonic() + timeout)
            status = process.poll()
        finally:
            _end_group(process)
        tail += _rest(process)
    return status, _lines(tail)


def _listen(process: subprocess.Popen, deadline: float) -> bytes:
    """Return the end of what a program says until it ends or time is up.

    The stream does not tell alone: a process may close it early, or leave it open to
    another process that lives on.
    """
    tail, wait = b"", _POLL_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(_stream(process), selectors.EVENT_READ)
        while process.poll() is None and time.monotonic() < deadline:
            if not selector.get_map():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(wait)
            elif selector.select(min(wait, max(deadline - time.monotonic(), 0))):
                chunk = os.read(_stream(process).fileno(), _TAIL_BYTES)
                tail = (tail + chunk)[-_TAIL_BYTES:]
                if not chunk:
                    selector.unregister(_stream(process))
    return tail


def _rest(process: subprocess.Popen) -> bytes:
    """Return what is left in the pipe, without waiting for its other end."""
    descriptor = _stream(process).fileno()
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        return os.read(descriptor, _PIPE_BYTES)
    return b""


def _stream(process: subprocess.Popen) -> IO[bytes]:
    assert process.stderr is not None
    return process.stderr


def _end_group(process: subprocess.Popen) -> None:
    """End the process and all that it started, unless they are gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _lines(tail: bytes) -> list[str]:
    """Return the last lines as plain text: a terminal must not obey them."""
    lines = tail.decode(errors="replace").splitlines()
    shown = ("".join(c if c.isprintable() else " " for c in x) for x in lines)
    return [x[:_LINE_LENGTH].rstrip() for x in shown if x.strip()][-_TAIL_LINES:]


def _ended(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    name = next((s.name for s in signal.Signals if s == -status), str(-status))
    return f"ended by the signal {name} ({signal.strsignal(-status)})"


def _with(problem: str, words: list[str]) -> str:
    """Add a program's last words to what went wrong."""
    return "\n    ".join([problem + (", after:" if words else ""), *words])
