"""How long a sweep may take, what a point of it may take, and what it will need."""

import time
from collections.abc import Callable
from dataclasses import dataclass

# A point may take so many even shares of the time that is left, as others need less, or
# so much of it: nobody takes everything, and a few long points at the end get theirs.
_SHARES, _PART = 2.0, 0.25
# What the first point of an implementation and op may take at least, in seconds.
COMPILING = 120.0
# Until a process has imported everything and verified at small sizes.
USUAL_START = 2.0
# Calls that a point cannot do without: one that is verified, one or two that warm up,
# and three samples, short ones each after a call that settles.
LEAST_CALLS = 6


@dataclass(frozen=True)
class Took:
    """The seconds of a point that was run.

    `start` grows with nothing: the process, its imports, compiling and verifying at
    small sizes. `setup` is making the inputs, `call` a call; what is verified at full
    size is a sample, the same at all lengths. Where a point was stopped at its work,
    `least` is what that had taken.
    """

    start: float
    setup: float = 0.0
    call: float = 0.0
    least: float = 0.0

    def at(self, ratio: float, growth: float, calls: int = LEAST_CALLS) -> float:
        """Predict the least seconds of the work at `ratio` times the length."""
        if self.least:
            return self.least * max(ratio, 1.0)
        return self.setup * ratio + calls * self.call * ratio**growth


class Budget:
    """Seconds of a sweep, shared by the points that are left.

    `total` None is no limit; no point takes more than `point`. What is compiled at the
    first point of an implementation comes on top: it is kept for the next time.
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

    def compiled(self, seconds: float) -> None:
        """Add what the start of a first point took more than others do."""
        self.start += max(seconds - USUAL_START, 0.0)

    def limit(self, points_left: int, *, first: bool = False) -> float:
        """Return the seconds that the next of so many points may take.

        The `first` of an implementation may take longer, and longer than what is left:
        what it compiles is kept.
        """
        point = max(self.point, COMPILING) if first else self.point
        left = self.left
        if left is None or (first and left):
            return point
        share = max(_SHARES / max(points_left, 1), _PART)
        return min(point, min(share, 1.0) * left)


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
