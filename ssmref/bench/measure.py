"""Times of a callable, with every sample kept; the order of several in rounds."""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Call = Callable[[], object]
Clock = Callable[[], float]

# Warming up ends when so many calls in a row differ by less than this, or at a limit.
_STABLE_CALLS, _STABLE_SPREAD = 3, 0.1
_MOST_WARM_UP = 20
WARM_UP_SECONDS = 2.0
# Beyond this distance between quartiles, by the median, a figure is called unstable.
UNSTABLE = 0.1
# What takes less than this is called before its sample, once at least and for so long:
# whoever ran last has left other arrays in the caches, and after 100 ms of sleep the
# triad was a fifth slower for 25 ms (4 CPUs of a virtual machine).
SETTLE_BELOW, SETTLE_SECONDS = 0.2, 0.03
# What all samples of one callable may take; there are always a few.
BUDGET_SECONDS = 30.0
FEWEST = 3


@dataclass(frozen=True)
class Samples:
    """Seconds per call: of each timed call, and of those before them."""

    seconds: tuple[float, ...]
    warm_up: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """What a quarter and three quarters of the samples are below."""
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """The distance of the quartiles by the median."""
        low, high = self.quartiles
        return (high - low) / self.median if self.median else 0.0

    @property
    def note(self) -> str:
        """Why the figures are to be read with care, or nothing."""
        if self.spread <= UNSTABLE:
            return ""
        return f"unstable: the quartiles are {100 * self.spread:.0f} % apart"


def warm_up(
    call: Call,
    *,
    seconds: float = WARM_UP_SECONDS,
    clock: Clock = time.perf_counter,
) -> tuple[float, ...]:
    """Call until times are stable, or until so many seconds went by; return the times.

    The first call does not count for stability: it may compile.
    """
    times: list[float] = []
    while len(times) < _MOST_WARM_UP:
        times.append(timed(call, clock))
        latest = times[1:][-_STABLE_CALLS:]
        if sum(times) > seconds:
            break
        if len(latest) == _STABLE_CALLS and _close(latest):
            break
    return tuple(times)


def in_turn(calls: list[Call]) -> Call:
    """Return one call that makes all of them, so that each finds cold inputs."""
    if len(calls) == 1:
        return calls[0]

    def every() -> None:
        for call in calls:
            call()

    return every


def order(names: list[str], number: int) -> list[str]:
    """Return the names in the order of this round: shuffled, the same in every run."""
    return random.Random(number).sample(names, len(names))


def timed(call: Call, clock: Clock) -> float:
    """Return the seconds of one call."""
    start = clock()
    result = call()
    seconds = clock() - start
    del result  # results are freed outside of the sample
    return seconds


def settled(
    call: Call,
    latest: float,
    *,
    seconds: float = SETTLE_SECONDS,
    clock: Clock = time.perf_counter,
) -> float:
    """Return the seconds of a call that took `latest` seconds before, after others."""
    end = clock() + seconds
    while latest < SETTLE_BELOW:
        latest = timed(call, clock)
        if clock() >= end:
            break
    return timed(call, clock)


def _close(times: list[float]) -> bool:
    return max(times) - min(times) <= _STABLE_SPREAD * max(times)
