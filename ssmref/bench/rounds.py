"""Samples of everybody at a point, in rounds: all take turns, and so do the rates."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .budget import Took
from .child import decoded
from .measure import BUDGET_SECONDS, FEWEST, SETTLE_SECONDS, Samples, order
from .points import Finding, Point
from .probes import Gauge
from .process import Child, ChildError
from .rates import Rates
from .run import MEASURED, TIMED_OUT

# A sample that was expected to take no longer than this is never cut short.
_GRACE_SECONDS = 1.0
# Whose turn it is when rates are measured; no contender has no name.
_RATES = ""


@dataclass
class Racer:
    """A contender in a child of its own, on the way to its samples."""

    point: Point
    child: Child
    limit: float
    answer: dict[str, Any]
    took: Took
    samples: list[float] = field(default_factory=list)
    left: bool = False

    @property
    def call(self) -> float:
        """The seconds that a sample is expected to take, with its settling call."""
        latest = (self.samples or self.answer["warm_up"])[-1]
        return 2 * latest * self.answer["copies"] + SETTLE_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether it has used up its time, or as much as samples get."""
        if self.left or len(self.samples) < FEWEST:
            return self.left
        taken = self.child.spent + self.call > self.limit
        return taken or sum(self.samples) * self.answer["copies"] > BUDGET_SECONDS

    def finding(self, rates: Rates) -> Finding:
        """Return what was found, with the rates of the same rounds."""
        answer = self.answer
        return Finding(
            *(self.point, MEASURED, "", answer["note"], decoded(answer["check"])),
            copies=answer["copies"],
            samples=Samples(tuple(self.samples), tuple(answer["warm_up"])),
            took=self.took,
            pinned=answer["pinned"],
            rates=rates,
        )


def take_turns(
    racers: list[Racer],
    gauge: Gauge,
    rounds: int,
    on_turn: Callable[[Racer, str], object],
) -> Iterator[Finding]:
    """Take samples in rounds, everybody once in each; yield who does not finish.

    Who has left a round takes part in no later one: the n-th sample of everybody, and
    of each rate, is of the same round.
    """
    by_name = {racer.point.implementation: racer for racer in racers}
    for number in range(rounds):
        names = [name for name, racer in by_name.items() if not racer.is_over]
        for name in order([*names, _RATES], number) if names else ():
            if name == _RATES:
                gauge.sample()
                continue
            on_turn(by_name[name], f"round {number + 1} of {rounds}")
            if failed := _sample(by_name[name]):
                by_name[name].left = True
                yield failed


def _sample(racer: Racer) -> Finding | None:
    """Take one sample; return a finding if that fails."""
    point, child = racer.point, racer.child
    left = max(racer.limit - child.spent, 2 * racer.call + _GRACE_SECONDS)
    try:
        answer = child.ask({"do": "go"}, left)
    except ChildError as error:
        if error.status == TIMED_OUT and len(racer.samples) >= FEWEST:
            racer.limit = 0.0
            return None
        return ended(point, error, child)
    if "dropped" in answer:
        return Finding(point, answer["dropped"], answer["reason"])
    racer.samples.append(answer["seconds"])
    return None


def ended(point: Point, error: ChildError, child: Child) -> Finding:
    """Return a finding of a child that has ended, after its time or by itself."""
    took = None
    if error.status == TIMED_OUT:
        start = child.spent if child.started is None else child.started
        took = Took(start, least=child.spent - start)
    return Finding(point, error.status, str(error), took=took)
