"""Numbers drawn from measurements: powers, crossings, steps, ratios.

Every function is pure and knows nothing of records. What cannot be said from the data
is None.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise

import numpy as np

CONFIDENCE = 0.95
# A rise beyond the usual growth counts as a step from here on.
STEP = 1.1
RESAMPLES = 2000
_SEED = 20240521


@dataclass(frozen=True)
class Spread:
    """A value with what a quarter and three quarters of its samples are below."""

    middle: float
    low: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    """Return median and quartiles."""
    middle = statistics.median(samples)
    if len(samples) < 2:
        return Spread(middle, middle, middle)
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(middle, low, high)


@dataclass(frozen=True)
class Power:
    """The power with which something grows, and the interval that holds it.

    `low` and `high` are None where there are too few points to know.
    """

    power: float
    low: float | None
    high: float | None
    first: int
    last: int
    points: int


def power(lengths: Sequence[int], values: Sequence[float]) -> Power | None:
    """Fit log value on log length over all points but the one of the smallest length.

    The smallest is left out since fixed costs weigh most there. The interval is the
    one of least squares, with Student's t for two fewer degrees of freedom than points;
    below three points there is none.
    """
    points = sorted(zip(lengths, values, strict=True))[1:]
    if len(points) < 2 or points[0][0] == points[-1][0]:
        return None
    x, y = np.log(np.array(points, dtype=float)).T
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    ends = points[0][0], points[-1][0], len(points)
    if len(points) < 3:
        return Power(slope, None, None, *ends)
    freedom = len(points) - 2
    rest = float(np.sum((y - slope * x) ** 2))
    reach = _student(freedom) * math.sqrt(rest / freedom / float(x @ x))
    return Power(slope, slope - reach, slope + reach, *ends)


def _student(freedom: int) -> float:
    """Return how many standard errors the interval reaches to either side."""
    above = 0.5 + CONFIDENCE / 2
    return float(import_module("scipy.special").stdtrit(freedom, above))


@dataclass(frozen=True)
class Crossing:
    """The length from which on the second of two curves is below the first.

    `low` and `high` bound it by the quartiles of both; None where even the quartiles
    of the largest or smallest length do not decide.
    """

    length: float
    low: float | None
    high: float | None
    changes: int


Curve = dict[int, Spread]


def crossing(first: Curve, second: Curve) -> Crossing | None:
    """Return where `second` falls below `first` for good, straight in both logarithms.

    None if at their common lengths it is never above, or not below at the last.
    """
    lengths = sorted(first.keys() & second.keys())
    usual = _gaps(lengths, first, second, "middle", "middle")
    found = last_rise(lengths, usual)
    if found is None:
        return None
    early = last_rise(lengths, _gaps(lengths, first, second, "high", "low"))
    late = last_rise(lengths, _gaps(lengths, first, second, "low", "high"))
    signs = [gap > 0 for gap in usual]
    changes = sum(a != b for a, b in pairwise(signs))
    return Crossing(found, early, late, changes)


def _gaps(
    lengths: Iterable[int], first: Curve, second: Curve, of_first: str, of_second: str
) -> list[float]:
    """Return by how much the first is above the second, in logarithms."""
    return [
        math.log(getattr(first[n], of_first) / getattr(second[n], of_second))
        for n in lengths
    ]


def last_rise(lengths: Sequence[int], gaps: Sequence[float]) -> float | None:
    """Return where the last change from at most zero to above it is, if it stays so."""
    if not gaps or gaps[-1] <= 0 or all(gap > 0 for gap in gaps):
        return None
    i = max(i for i, gap in enumerate(gaps) if gap <= 0)
    share = gaps[i] / (gaps[i] - gaps[i + 1])
    start, end = math.log(lengths[i]), math.log(lengths[i + 1])
    return math.exp(start + share * (end - start))


@dataclass(frozen=True)
class Step:
    """A rise of time beyond its usual growth, between two lengths."""

    before: int
    after: int
    factor: float


def step(curve: Curve, before: int, after: int) -> Step | None:
    """Return the rise between two neighbours, if it is more than the others explain.

    The usual growth is the mean power over all other gaps, of which there have to be
    two. Quartiles count against the rise: even the least that they allow has to be
    beyond `STEP`.
    """
    lengths = sorted(curve)
    gaps = [g for g in pairwise(lengths) if g != (before, after)]
    if len(gaps) < 2:
        return None
    rise = sum(math.log(curve[b].middle / curve[a].middle) for a, b in gaps)
    usual = (after / before) ** (rise / sum(math.log(b / a) for a, b in gaps))
    least = curve[after].low / curve[before].high / usual
    if least <= STEP:
        return None
    return Step(before, after, curve[after].middle / curve[before].middle / usual)


def geometric_mean(values: Iterable[float]) -> float | None:
    """Return the geometric mean, None of nothing."""
    logs = [math.log(value) for value in values]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with the interval that resampling gives."""

    ratio: float
    low: float
    high: float


def ratio(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """Return the median of `second` by that of `first`.

    The interval is the percentile bootstrap: both are resampled independently, always
    with the same seed, so that the same records always give the same interval.
    """
    draw = np.random.default_rng(_SEED)
    tops, bottoms = (_medians(draw, s) for s in (second, first))
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(tops / bottoms, [edge, 1 - edge])
    middle = statistics.median(second) / statistics.median(first)
    return Ratio(middle, float(low), float(high))


def _medians(draw: np.random.Generator, samples: Sequence[float]) -> np.ndarray:
    chosen = draw.integers(len(samples), size=(RESAMPLES, len(samples)))
    return np.median(np.asarray(samples, dtype=float)[chosen], axis=1)
