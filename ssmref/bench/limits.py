"""How fast a workload can be at best on this machine, by the rates that it has."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .costs import Cost
from .rates import Rates

# Of a record of rates: what memory delivers, and as much of it as an op has to touch.
TRIAD, SAME_SIZE = "triad", "triad_same_size"


@dataclass(frozen=True)
class Limit:
    """Seconds that each resource needs at least; the largest is the limit."""

    parts: dict[str, float]

    @property
    def seconds(self) -> float:
        """The time below which no call can be."""
        return max(self.parts.values(), default=0.0)

    @property
    def binding(self) -> str:
        """The resource that sets the limit."""
        return max(self.parts, key=lambda name: self.parts[name], default="")


def limit(cost: Cost, rates: Rates, dtype: np.dtype) -> Limit:
    """Divide what a call needs by the best of each rate of a machine."""
    return _limit(cost, {rate.name: rate.best for rate in rates.values()}, dtype)


def usual_limit(cost: Cost, machine: Rates, rounds: Rates, dtype: np.dtype) -> Limit:
    """Return the limit by the medians of rates that were measured in the same rounds.

    Where there are none the limit is that of the machine.
    """
    usual = {rate.name: rate.median for rate in rounds.values()}
    return _limit(cost, usual, dtype) if rounds else limit(cost, machine, dtype)


def limits_of_rounds(cost: Cost, rounds: Rates, dtype: np.dtype) -> Iterator[Limit]:
    """Yield the limit by the rates of each round."""
    names = rounds.keys()
    for speeds in zip(*(rate.samples for rate in rounds.values()), strict=True):
        yield _limit(cost, dict(zip(names, speeds, strict=True)), dtype)


def _limit(cost: Cost, speeds: Mapping[str, float], dtype: np.dtype) -> Limit:
    """Divide what a call needs by what the machine does in a second.

    Products and all other vector instructions go through the same units, at two
    operations per instruction: their time adds up. The rate is the higher one of
    multiply-adds in registers and of matrix products, which are made of them, so that
    a disturbance while one of the two was measured does not make the limit longer.
    """
    names = (f"fma_{dtype}", f"gemm_{dtype}")
    arithmetic = max(speeds[name] for name in names if name in speeds)
    products = cost.products / arithmetic
    vector = 2 * cost.instructions / arithmetic
    major = "products" if products > vector else "vector"
    memory = cost.elements * dtype.itemsize / speeds[TRIAD]
    return Limit({"memory": memory, major: products + vector})


def share(
    cost: Cost,
    seconds: Sequence[float],
    rounds: Rates,
    dtype: np.dtype,
) -> float | None:
    """Return which part of the limit is reached: round by round, then the median.

    A machine that others use may be three times as fast in one minute as in the next.
    Time and rates of the same round belong together, and the median drops the rounds in
    which one of the two was disturbed. None without rates.
    """
    best = (one.seconds for one in limits_of_rounds(cost, rounds, dtype))
    return _median_ratio(best, seconds)


def share_of_triad(
    cost: Cost, seconds: Sequence[float], rounds: Rates, dtype: np.dtype
) -> float | None:
    """Return the time of a triad of as many bytes by that of a call, as `share`."""
    if SAME_SIZE not in rounds:
        return None
    touched = cost.elements * dtype.itemsize
    triads = (touched / speed for speed in rounds[SAME_SIZE].samples)
    return _median_ratio(triads, seconds)


def _median_ratio(best: Iterable[float], seconds: Sequence[float]) -> float | None:
    """Return the median over the rounds that both have."""
    ratios = [b / s for b, s in zip(best, seconds, strict=False)]
    return statistics.median(ratios) if ratios else None
