"""Times of several contenders side by side: warmed up, in rounds, every sample kept."""

import math
from collections.abc import Mapping
from typing import Any

from ssmref.bench.measure import Samples, order

from .device import Call, Device

ROUNDS = 30
FEWEST = 5
# What all samples of one contender may take, and what one sample takes at least: an
# event is good for about half a microsecond.
BUDGET_SECONDS = 1.5
SAMPLE_SECONDS = 2e-4
MOST_CALLS = 256
# Long enough for clocks to rise and for Triton to have tuned itself.
WARM_UP_SECONDS = 0.2
WARM_UP_CALLS = 3


class Turns:
    """Copies of a call, each with inputs of its own, that take turns."""

    def __init__(self, calls: list[Call]) -> None:
        """Begin with the first."""
        self.calls, self._next = calls, 0

    def take(self, count: int) -> list[Call]:
        """Return the next so many calls."""
        size, first = len(self.calls), self._next
        self._next = (first + count) % size
        return [self.calls[(first + i) % size] for i in range(count)]


def warm_up(device: Device, turns: Turns) -> tuple[float, ...]:
    """Call until WARM_UP_SECONDS have gone by; return the seconds of each call."""
    times: list[float] = []
    while len(times) < WARM_UP_CALLS or sum(times) < WARM_UP_SECONDS:
        times.append(device.seconds(turns.take(1)))
        if len(times) >= MOST_CALLS:
            break
    return tuple(times)


def race(
    device: Device, contenders: Mapping[str, Turns], failed: dict[str, Any]
) -> dict[str, Samples]:
    """Return seconds per call of everybody; note in `failed` who raises instead.

    Each round calls everybody, in an order of its own, so that a GPU that slows down
    slows down all of them.
    """
    warm = {}
    for name, turns in contenders.items():
        _attempt(failed, name, lambda n, t=turns: warm.update({n: warm_up(device, t)}))
    latest = {name: times[-1] for name, times in warm.items()}
    samples: dict[str, list[float]] = {name: [] for name in warm}
    for number in range(max(map(_rounds, latest.values()), default=0)):
        for name in order(list(samples), number):
            if name not in failed and number < _rounds(latest[name]):
                calls = contenders[name].take(calls_per_sample(latest[name]))
                _attempt(
                    failed,
                    name,
                    lambda n, c=calls: samples[n].append(device.seconds(c) / len(c)),
                )
    return {
        name: Samples(tuple(seconds), warm[name])
        for name, seconds in samples.items()
        if name not in failed
    }


def calls_per_sample(seconds: float) -> int:
    """Return how many calls make a sample that events can resolve."""
    needed = math.ceil(SAMPLE_SECONDS / max(seconds, 1e-9))
    return min(max(needed, 1), MOST_CALLS)


def _rounds(seconds: float) -> int:
    """Return how many samples a contender gets."""
    sample = seconds * calls_per_sample(seconds)
    return min(max(int(BUDGET_SECONDS / max(sample, 1e-9)), FEWEST), ROUNDS)


def _attempt(failed: dict[str, Any], name: str, step: Any) -> None:
    try:
        step(name)
    except Exception as error:  # a stranger's code may raise anything
        failed[name] = error
