"""One number of threads for everybody who computes in this process."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def usable_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def limited(threads: int) -> Iterator[dict[str, int | str]]:
    """Hold everybody to so many threads on as many CPUs; yield what was set.

    CPUs are limited first, so that libraries that are loaded later and cannot be told
    (XLA) find no more of them. Raises ValueError where there are not as many.
    """
    if not 1 <= threads <= usable_cpus():
        raise ValueError(f"threads is {threads}; usable are 1 to {usable_cpus()}")
    done: dict[str, int | str] = {"requested": threads}
    with ExitStack() as stack:
        for hold in (_pinned, _blas, _numba, _torch):
            stack.enter_context(hold(threads, done))
        yield done


@contextmanager
def _pinned(threads: int, done: dict[str, int | str]) -> Iterator[None]:
    """Let all threads of this process run on the first of the usable CPUs only."""
    if not hasattr(os, "sched_setaffinity"):
        done["cpus"] = "not limited: the system cannot"
        yield
        return
    before = os.sched_getaffinity(0)
    chosen = set(sorted(before)[:threads])
    try:
        _run_on(chosen)
        done["cpus"] = ",".join(map(str, sorted(chosen)))
        yield
    finally:
        _run_on(before)


def _run_on(cpus: set[int]) -> None:
    tasks = Path("/proc/self/task")
    for task in tasks.iterdir() if tasks.is_dir() else [Path("0")]:
        try:
            os.sched_setaffinity(int(task.name), cpus)
        except ProcessLookupError:  # a thread that has ended meanwhile
            continue


@contextmanager
def _blas(threads: int, done: dict[str, int | str]) -> Iterator[None]:
    if find_spec("threadpoolctl") is None:
        done["blas"] = "not limited: the package threadpoolctl is missing"
        yield
        return
    with import_module("threadpoolctl").threadpool_limits(threads):
        done["blas"] = threads
        yield


@contextmanager
def _numba(threads: int, done: dict[str, int | str]) -> Iterator[None]:
    if find_spec("numba") is None:
        yield
        return
    numba = import_module("numba")
    before = numba.get_num_threads()
    done["numba"] = min(threads, numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(done["numba"])
    try:
        yield
    finally:
        numba.set_num_threads(before)


@contextmanager
def _torch(threads: int, done: dict[str, int | str]) -> Iterator[None]:
    """Tell PyTorch where it is loaded already; later it counts the CPUs."""
    if "torch" not in sys.modules:
        yield
        return
    torch = import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    done["torch"] = threads
    try:
        yield
    finally:
        torch.set_num_threads(before)
