"""How work is divided among threads.

Kernels have two axes: rows (sequences times channels or heads), whose recurrences are
independent, and time. Rows come first; time is split, at the price of a second pass,
where there are too few rows for the threads. The choice depends on sizes and on the
number of threads alone, so that results are the same from run to run.
"""

from collections.abc import Callable
from math import ceil
from typing import Any

from numba import get_num_threads, set_num_threads

# Waking other threads takes 10 to 20 us, as long as one takes for so many operations.
SERIAL = 1 << 17


def threads() -> int:
    """Return how many threads kernels may use (``numba.set_num_threads``)."""
    return get_num_threads()


def segments(rows: int, length: int, *, first_pass: float, shortest: int) -> int:
    """Return into how many stretches of time each row is best split; 1 is whole.

    A split scan first finds the state that each stretch would end with if it began
    with zeros, at `first_pass` times the cost of the scan itself, then scans all
    stretches from their true initial states. Both passes divide rows times stretches
    among the threads; the carries between them are neglected, which holds for
    stretches of `shortest` tokens or more.
    """
    workers = threads()

    def cost(count: int) -> float:
        busiest = ceil(rows * count / workers)
        return busiest / count * (1.0 if count == 1 else 1.0 + first_pass)

    most = max(1, min(4 * workers, length // shortest))
    return min(range(1, most + 1), key=cost)


def workers(operations: int) -> int:
    """Return how many threads are worth waking: one for little to do, or all.

    `operations` counts what a vector does in parallel as many: it is a scale, not a
    cost model. Results do not depend on it.
    """
    return 1 if operations < max(SERIAL, 1) else threads()


def few(operations: int) -> bool:
    """Return whether one thread is as fast as all: there is little to do, or one.

    Kernels that threads divide in other ways than `launch` does have a serial twin for
    this.
    """
    return workers(operations) == 1


def launch(kernel: Callable, operations: int, *arguments: Any) -> None:
    """Run a parallel kernel, in one thread where there are `few` operations."""
    available = threads()
    if available == 1 or not few(operations):
        kernel(*arguments)
        return
    set_num_threads(1)
    try:
        kernel(*arguments)
    finally:
        set_num_threads(available)
