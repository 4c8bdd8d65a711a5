"""Rates that a limit uses, measured in the rounds of those whom it is the limit of.

The rates of a machine that others use too change within minutes. A process beside those
of the contenders (`Gauge`) takes its turn in each round as they do, and its samples
are taken as theirs are (`measure.settled`).

- ``triad``: arrays of four times the largest cache, what memory delivers;
- ``triad_same_size``: a triad of as many bytes as a call of the op has to touch, with
  as many copies of its inputs in turn, so that it finds the caches as the op does;
- ``fma_<dtype>``, and for ops with matrix products ``gemm_<dtype>``.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .measure import SETTLE_SECONDS, settled
from .process import Child, ChildError
from .rates import Probe, Rate, Rates, multiply_adds, product, triad
from .task import Task

# Each array of the large triad, by the largest cache.
TIMES_CACHE = 4
# Both take about two milliseconds on four CPUs.
_LOOPS, _SIZE = 2**18, 768
# Threads of OpenBLAS look for work for 2^28 cycles otherwise, while others compute.
_ENVIRONMENT = {"OPENBLAS_THREAD_TIMEOUT": "16"}
# What rates may take, in seconds, before they are done without.
_MOST_TO_PREPARE, _MOST_PER_ROUND = 60.0, 30.0
# A process is idle when it computes for less than this part of such a stretch.
_STRETCH, _IDLE, _MOST_WAIT = 0.002, 0.2, 0.5


def wait_until_idle(
    clock: Callable[[], float] = time.perf_counter,
    used: Callable[[], float] = time.process_time,
) -> None:
    """Wait until the threads of this process sleep.

    Those of OpenMP and BLAS look for work for up to 100 ms after a call, on the CPUs
    of whoever comes next.
    """
    end = clock() + _MOST_WAIT
    while (start := clock()) < end:
        before = used()
        time.sleep(_STRETCH)
        if used() - before < _IDLE * (clock() - start):
            return


class Probes:
    """What is done in the process of a gauge; what all tasks need is made once."""

    def __init__(self, threads: int, dtype: np.dtype, cache_bytes: int):
        """Make what all tasks need."""
        self.threads, self.dtype = threads, dtype
        self.always = [
            triad("triad", TIMES_CACHE * cache_bytes, threads),
            *multiply_adds(dtype, threads, loops=_LOOPS),
        ]
        self.now: list[Probe] = []

    def prepare(self, size: int, copies: int, *, products: bool) -> list[list[str]]:
        """Make the probes of a task; return name, unit and method of each."""
        self.now = []  # gives memory back before more is taken
        own = triad("triad_same_size", _third(size), self.threads, copies)
        # Where nothing else can, products say how fast arithmetic is.
        products |= len(self.always) == 1
        first = [product(self.dtype, _SIZE)] if products else []
        self.now = [*first, own, *self.always]
        return [[probe.name, probe.unit, probe.method] for probe in self.now]

    def speeds(self) -> list[float]:
        """Return one sample of each, in units per second."""
        found, first = [], True
        for probe in self.now:
            # Only threads that were asleep have to settle for long.
            seconds = SETTLE_SECONDS if first else 0.0
            found.append(probe.work / settled(probe.call, 0.0, seconds=seconds))
            if first := probe.name.startswith("gemm"):
                wait_until_idle()  # all others have threads of their own
        return found


def _third(size: int) -> int:
    """Return the bytes of each of three arrays."""
    return math.ceil(size / 3)


class Gauge:
    """The process that measures rates between the contenders of each round.

    Where it fails there are no rates of the rounds, and nothing else changes.
    """

    def __init__(self, threads: int, dtype: np.dtype, cache_bytes: int):
        """Start nothing yet."""
        self.threads, self.dtype, self.cache_bytes = threads, dtype, cache_bytes
        self.child: Child | None = None
        self.kinds: list[tuple[str, str, str]] = []
        self.taken: list[list[float]] = []
        self.failed = False

    def needed(self, task: Task) -> float:
        """Predict what it holds at its peak, besides Python, in bytes."""
        copies = task.copies(self.dtype, self.cache_bytes)
        own = (1 + 2 * copies) * _third(_touched(task, self.dtype))
        return 3 * TIMES_CACHE * self.cache_bytes + own

    def prepare(self, task: Task) -> None:
        """Get ready for the rounds of a task; without a cost there is nothing to do."""
        self.rest()
        if task.cost is None or self.failed:
            return
        order = {
            "do": "gauge",
            "threads": self.threads,
            "dtype": str(self.dtype),
            "cache_bytes": self.cache_bytes,
            "size": _touched(task, self.dtype),
            "copies": task.copies(self.dtype, self.cache_bytes),
            "products": task.cost.products > 0,
        }
        self.child = self.child or Child(self.threads, variables=_ENVIRONMENT)
        found = self._ask(order, _MOST_TO_PREPARE).get("kinds", [])
        self.kinds = [(name, unit, method) for name, unit, method in found]

    def rest(self) -> None:
        """Measure nothing until a task is prepared."""
        self.kinds, self.taken = [], []

    def sample(self) -> None:
        """Take one sample of each rate."""
        if self.kinds:
            found = self._ask({"do": "speeds"}, _MOST_PER_ROUND).get("speeds")
            self.taken += [found] if found else []

    def rates(self) -> Rates:
        """Return what was measured since the last task was prepared."""
        if not self.taken:
            return {}
        columns = zip(self.kinds, *self.taken, strict=True)
        return {
            name: Rate(name, unit, method, tuple(samples))
            for (name, unit, method), *samples in columns
        }

    def close(self) -> None:
        """End the process."""
        if self.child is not None:
            self.child.close()
            self.child = None

    def __enter__(self) -> "Gauge":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, order: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        assert self.child is not None
        try:
            return self.child.ask(dict(order), seconds)
        except ChildError:
            self.close()
            self.rest()
            self.failed = True
            return {}


def _touched(task: Task, dtype: np.dtype) -> int:
    """Return the bytes that enter or leave."""
    return round(task.cost.elements * dtype.itemsize) if task.cost else 0
