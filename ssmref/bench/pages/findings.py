"""What the curves of a run show: powers, crossings, steps at caches, agreement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .fits import Crossing, Curve, Power, Spread, Step, crossing, power, step
from .points import Memory, Subject, Timing
from .series import Series, along, comparable, is_attention, is_layer, is_naive
from .sources import Run

# The byte model is said to hold up to here.
AGREEMENT = 0.1
OURS = "ssmref.cpu"
# A step is told from the growth around it and from noise by no less than these.
_FEWEST_LENGTHS, _FEWEST_SAMPLES = 4, 7
_ITEM = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Growth:
    """With which power of length something grows, and what it is drawn from."""

    subject: Subject
    of: str  # "time" or "memory"
    found: Power
    provenance: str


@dataclass(frozen=True)
class Overtaking:
    """Where one curve falls below that of attention; None where it does not."""

    attention: Series[Timing]
    other: Series[Timing]
    found: Crossing | None
    lengths: tuple[int, ...]
    ahead: bool


@dataclass(frozen=True)
class CacheStep:
    """What happens to time where the data of a call outgrow a cache."""

    subject: Subject
    cache: str
    size: int
    found: Step | None


def time_series(run: Run, *kinds: str) -> list[Series[Timing]]:
    """Return the curves of time over length of these kinds of workloads."""
    return along("length", [t for t in run.timings if t.subject.kind in kinds])


def memory_series(run: Run, *kinds: str) -> list[Series[Memory]]:
    """Return the curves of memory over length of these kinds of workloads."""
    return along("length", [m for m in run.memories if m.subject.kind in kinds])


def seconds(t: Timing) -> Spread | None:
    """Return what curves of time are made of."""
    return t.seconds


def peak(m: Memory) -> Spread | None:
    """Return what curves of measured memory are made of."""
    size = m.measured
    return None if size is None else Spread(size, size, size)


def predicted(m: Memory) -> Spread | None:
    """Return what curves of memory by the model are made of."""
    value = m.predicted
    return Spread(value, value, value) if value > 0 else None


def growths(
    times: Sequence[Series[Timing]], bytes_: Sequence[Series[Memory]]
) -> Iterator[Growth]:
    """Yield the powers of length; those of memory are measured, else analytic."""
    for series in times:
        if found := _power(series.curve(seconds)):
            yield Growth(series.subject, "time", found, "measured")
    for series in bytes_:
        if found := _power(series.curve(peak)):
            yield Growth(series.subject, "memory", found, "measured")
        elif found := _power(series.curve(predicted)):
            yield Growth(series.subject, "memory", found, "analytic")


def modelled(bytes_: Sequence[Series[Memory]]) -> list[Series[Memory]]:
    """Return the series whose model is shown: of the same work, ours or the first."""
    kept: dict[tuple[object, ...], Series[Memory]] = {}
    for series in bytes_:
        s = series.subject
        sizes = tuple(sorted(series.other_sizes().items()))
        key = (s.name, s.model, s.dtype, s.threads, sizes)
        if key not in kept or s.implementation == OURS:
            kept[key] = series
    return list(kept.values())


def told(found: Sequence[Overtaking]) -> list[Overtaking]:
    """Keep comparisons within an implementation, and those with the fastest."""
    best = fastest(found)
    return [
        one
        for one in found
        if one in best
        or one.attention.subject.implementation == one.other.subject.implementation
    ]


def _power(curve: Curve) -> Power | None:
    return power(list(curve), [s.middle for s in curve.values()])


def overtakings(times: Sequence[Series[Timing]]) -> Iterator[Overtaking]:
    """Yield for each alternative to attention where it overtakes each attention."""
    attentions = [s for s in times if is_attention(s.subject)]
    for other in times:
        if is_attention(other.subject) or is_layer(other.subject):
            continue
        for attention in attentions:
            if comparable(attention.subject, other.subject):
                yield from _overtaking(attention, other)


def _overtaking(
    attention: Series[Timing], other: Series[Timing]
) -> Iterator[Overtaking]:
    first, second = attention.curve(seconds), other.curve(seconds)
    common = tuple(sorted(first.keys() & second.keys()))
    if len(common) > 1:
        ahead = second[common[-1]].middle < first[common[-1]].middle
        yield Overtaking(attention, other, crossing(first, second), common, ahead)


def fastest(found: Sequence[Overtaking]) -> list[Overtaking]:
    """Keep for each alternative the attention that is fastest at the longest length.

    What is compared with a slow attention only would look better than it is. The naive
    one counts where there is no other.
    """
    kept: dict[int, Overtaking] = {}
    for one in found:
        known = kept.get(id(one.other))
        if known is None or _order(one) < _order(known):
            kept[id(one.other)] = one
    return list(kept.values())


def _order(one: Overtaking) -> tuple[bool, int, float]:
    last = one.lengths[-1]
    middle = one.attention.curve(seconds)[last].middle
    return is_naive(one.attention.subject), -last, middle


def cache_steps(run: Run, times: Sequence[Series[Timing]]) -> Iterator[CacheStep]:
    """Yield, for each cache that a curve passes, whether time shows it.

    Caches are passed where the data of a call, its inputs and outputs, become larger.
    """
    for series in times:
        enough = [
            t
            for t in series.points
            if len(t.samples) >= _FEWEST_SAMPLES and not t.unstable
        ]
        sizes = {t.subject.length: _data(t) for t in enough}
        lengths = sorted(n for n in sizes if n is not None)
        curve = series.curve(seconds)
        caches = run.environments[series.subject.environment]["caches"]
        for name, size in caches.items():
            for a, b in pairwise(lengths):
                if sizes[a] <= size < sizes[b] and len(lengths) >= _FEWEST_LENGTHS:
                    yield CacheStep(series.subject, name, size, step(curve, a, b))


def _data(t: Timing) -> float:
    return t.cost.get("elements", 0.0) * _ITEM.get(t.subject.dtype, 4)


@dataclass(frozen=True)
class Agreement:
    """How measured memory compares with the model."""

    within: int
    total: int
    worst: Memory | None


def agreement(memories: Sequence[Memory]) -> Agreement:
    """Count the points at which the model holds, and find the worst.

    The model is the one of our fast paths: they count alone where there are any.
    """
    known = [m for m in memories if m.agreement is not None]
    known = [m for m in known if m.subject.implementation == OURS] or known
    within = sum(agrees(m) for m in known)
    worst = max(known, key=lambda m: abs((m.agreement or 0.0) - 1), default=None)
    return Agreement(within, len(known), worst)


def agrees(m: Memory) -> bool:
    """Return whether measured memory is as the model says, within `AGREEMENT`."""
    return m.agreement is not None and abs(m.agreement - 1) <= AGREEMENT
