"""A child process as its parent sees it: orders, answers, and how it ended."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from .run import CRASHED, TIMED_OUT

# Read by libraries when they are loaded.
THREAD_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_LONGEST_REASON = 300


class ChildError(Exception):
    """The child gave no answer; `status` and the message say how it ended."""

    def __init__(self, status: str, reason: str):
        """Keep both."""
        super().__init__(reason)
        self.status = status


class Child:
    """A fresh process that computes with so many threads.

    `spent` are the seconds that it was waited for, `started` those of them before it
    was at its work: None until then.
    """

    def __init__(
        self,
        threads: int,
        on_step: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        variables: Mapping[str, str] = MappingProxyType({}),
    ):
        """Start it, with these variables in its environment."""
        self.on_step, self.clock, self.spent = on_step, clock, 0.0
        self.started: float | None = None
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ssmref.bench.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**_environment(threads), **variables},
            text=True,
            encoding="utf-8",
        )
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, order: dict[str, Any], seconds: float | None = None) -> Any:
        """Give an order, return the answer; raise ChildError where none comes.

        After so many seconds the child is killed.
        """
        start = self.clock()
        try:
            self._write(order)
            while True:
                left = None if seconds is None else seconds - (self.clock() - start)
                answer = self._next(left, seconds)
                if "step" not in answer:
                    return answer
                if answer["working"] and self.started is None:
                    self.started = self.spent + self.clock() - start
                self.on_step(answer["step"])
        finally:
            self.spent += self.clock() - start

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            _close(stream)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except OSError as error:  # it has ended meanwhile
            raise ChildError(CRASHED, self._ending()) from error

    def _next(self, left: float | None, seconds: float | None) -> dict[str, Any]:
        try:
            line = self.answers.get(timeout=left and max(left, 0.0))
        except queue.Empty:
            self.process.kill()
            reason = f"stopped after {seconds:.3g} s, the limit of this point"
            raise ChildError(TIMED_OUT, reason) from None
        if not line.endswith("\n"):
            raise ChildError(CRASHED, self._ending())
        return json.loads(line)

    def _read(self) -> None:
        """Pass lines on; the end is an empty one."""
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                self.answers.put(line)
        except ValueError:  # the stream was closed
            return
        self.answers.put("")

    def _ending(self) -> str:
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            cause = ", as the system does when memory runs out"
            return f"ended by {name}{cause if name == 'SIGKILL' else ''}"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        last = lines[-1][:_LONGEST_REASON] if lines else "it said nothing"
        return f"ended with exit status {code}: {last}"


def _environment(threads: int) -> dict[str, str]:
    """Return the variables: threads, and modules from where this process has them."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    threads_of_all = dict.fromkeys(THREAD_VARIABLES, str(threads))
    return {**os.environ, **threads_of_all, "PYTHONPATH": path}


def _close(stream: Any) -> None:
    try:
        stream.close()
    except OSError:  # what was not written is not needed
        return
