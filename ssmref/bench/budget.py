"""How long a sweep may take, what a point of it may take, and what it will need."""

import time
from collections.abc import Callable
from dataclasses import dataclass

# A point may take so many even shares of the time that is left: some need less, and
# the last ones more.
_SHARES = 2.0
# Calls that a point cannot do without: one that is verified, one or two that warm up,
# and three samples, short ones each after a call that settles.
LEAST_CALLS = 6


@dataclass(frozen=True)
class Took:
    """The seconds of a point that was run.

    `start` grows with nothing: the process, its imports, verifying at small sizes.
    `setup` are inputs and what is verified at full size, `call` a call. Where it was
    stopped, `least` is what it took until then.
    """

    start: float
    setup: float = 0.0
    call: float = 0.0
    least: float = 0.0

    def at(self, ratio: float, growth: float) -> float:
        """Predict the least seconds of the same at `ratio` times the length."""
        if self.least:
            return self.least * max(ratio, 1.0)
        work = self.setup * ratio + LEAST_CALLS * self.call * ratio**growth
        return self.start + work


class Budget:
    """Seconds of a sweep, shared by the points that are left.

    `total` None is no limit; no point takes more than `point`.
    """

    def __init__(
        self,
        total: float | None,
        point: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Begin now."""
        self.total, self.point, self.clock = total, point, clock
        self.start = clock()

    @property
    def left(self) -> float | None:
        """The seconds that are left, None without a limit."""
        if self.total is None:
            return None
        return max(self.total - (self.clock() - self.start), 0.0)

    def limit(self, points_left: int) -> float:
        """Return the seconds that the next of so many points may take."""
        left = self.left
        if left is None:
            return self.point
        return min(self.point, left, _SHARES * left / max(points_left, 1))


def seconds_of(text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``10m`` or ``2h``; raise ValueError."""
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    number = text[:-1] if factor else text
    try:
        seconds = float(number) * (factor or 1)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text!r} is no time; needed is one like 90s, 10m or 2h")
    return seconds


def as_text(seconds: float) -> str:
    """Return a time in words: 45 s, 7 m 12 s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest} s" if minutes else f"{rest} s"
