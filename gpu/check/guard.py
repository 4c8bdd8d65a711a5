"""A check that survives its kernels: a child runs it, which may die or never end.

A kernel that reads beyond its memory takes the whole CUDA context with it, and one that
waits for a block that never comes does not return. So this process, which has no
context, looks at the child: when that has died, or has said nothing for too long, it
begins another one that leaves out what it happened at. Parts that have passed by then
are not run again. The child ends with this process, whatever ends that.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

WRONG, NO_GPU, LOST, INTERRUPTED = 1, 2, 3, 130
MINUTES = 10.0
# Golden takes a tenth of it for one op in one precision, Triton's choice among variants
# of a kernel perhaps half.
SILENCE_SECONDS = 200.0
POLL_SECONDS = 0.1
COMMAND = (sys.executable, "-m", "ssmref.gpu.check.child")
AGAIN = "--again"


class LostError(Exception):
    """The GPU takes no more launches from this process."""


class NoTimeError(Exception):
    """The minutes are over."""


class Waiting(Protocol):
    """A device that can be waited for."""

    def synchronize(self) -> None:
        """Wait for all launches; raise what one of them has run into."""
        ...


def assert_alive(device: Waiting) -> None:
    """Raise LostError where the GPU does not even wait any more."""
    try:
        device.synchronize()
    except Exception as error:
        raise LostError(f"{type(error).__name__}: {error}") from error


class Progress:
    """What a child is at, in a file that its parent reads; and when it has to stop."""

    def __init__(self, path: Path | None = None, minutes: float | None = None) -> None:
        """Write to `path`, or nowhere."""
        self._path = path
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def begin(self, what: str) -> None:
        """Note what begins, a sign of life; raise NoTimeError if it is too late."""
        if self._end is not None and time.monotonic() >= self._end:
            raise NoTimeError(f"no time left for {what}")
        if self._path is not None:
            _ = self._path.write_text(what)


def end_with(parent: int) -> None:
    """End this process when its parent has closed a pipe, were it only by dying."""

    def wait() -> None:
        _ = os.read(parent, 1)
        os._exit(LOST)

    threading.Thread(target=wait, daemon=True).start()


def guarded(
    words: Sequence[str],
    command: Sequence[str] = COMMAND,
    *,
    minutes: float = MINUTES,
    silence: float = SILENCE_SECONDS,
) -> int:
    """Run the check with these options in children; return its exit status.

    What was left out counts as wrong.
    """
    start = time.monotonic()
    with _stoppable(), tempfile.TemporaryDirectory() as folder:
        try:
            status = _until_done(words, command, Path(folder) / "at", minutes, silence)
        except KeyboardInterrupt:
            print("ssmref.gpu.check: interrupted", file=sys.stderr)
            return INTERRUPTED
    if status in (0, WRONG):
        seconds = time.monotonic() - start
        print(f"in all: {seconds:.0f} s, of at most {60 * minutes:.0f} (--minutes)")
    return status


def _until_done(
    words: Sequence[str],
    command: Sequence[str],
    path: Path,
    minutes: float,
    silence: float,
) -> int:
    """Begin children until one of them comes to its end."""
    end = time.monotonic() + 60 * minutes
    lost: list[str] = []
    while True:
        _ = path.write_text("")
        left = max(end - time.monotonic(), 0) / 60
        options = ["--minutes", f"{left:.4f}", "--progress", str(path)]
        options += [word for what in lost for word in ("--skip", what)]
        status, why = _watched([*command, *words, *options], path, silence)
        if why is None:
            return status or (WRONG if lost else 0)
        what = path.read_text()
        if not what or what in lost:
            print(f"ssmref.gpu.check: {why}", file=sys.stderr)
            return WRONG
        lost.append(what)
        # What has passed since is not to be run again.
        words = [word for word in words if word != AGAIN]
        print(f"{what}: FAILED, {why}; going on without it", flush=True)


def _watched(
    command: Sequence[str], path: Path, silence: float
) -> tuple[int, str | None]:
    """Return the exit status of a child, and what became of it if it did not finish."""
    # In a session of its own: a key that interrupts is for this process alone.
    child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    noted, since = 0, time.monotonic()
    try:
        while (status := child.poll()) is None:
            if (changed := path.stat().st_mtime_ns) != noted:
                noted, since = changed, time.monotonic()
            if time.monotonic() - since > silence:
                return WRONG, f"no end after {silence:.0f} s"
            time.sleep(POLL_SECONDS)
    finally:
        child.kill()
        _ = child.communicate()
    if status == LOST:
        return status, "the GPU was lost"
    return status, f"the process died of signal {-status}" if status < 0 else None


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM end this process as an exception does: nobody stays behind."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        _ = signal.signal(signal.SIGTERM, before)
