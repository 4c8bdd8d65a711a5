"""Two runs side by side: which points are the same, faster, slower, or not to be told.

The interval of a ratio is drawn from the samples of the two runs (`fits.ratio`). It
knows nothing of what changes from one start of a process to the next.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .fits import Ratio, geometric_mean, ratio
from .points import STATUSES, Subject, Timing
from .series import labels
from .sources import Run, SourceError
from .tables import Cell, Row, Table
from .words import digits, of_seconds, unique

SAME, FASTER, SLOWER, AMBIGUOUS = "same", "faster", "slower", "ambiguous"
LOST, GAINED = "no longer measured", "measured only now"
VERDICTS = (FASTER, SLOWER, SAME, AMBIGUOUS, LOST, GAINED)
# Of fewer samples resampling tells nothing.
FEWEST = 5
MARGIN = 0.05


@dataclass(frozen=True)
class Comparison:
    """What became of a point."""

    before: Timing
    after: Timing
    verdict: str
    found: Ratio | None = None
    reason: str = ""

    @property
    def subject(self) -> Subject:
        """The point, as the second run has it."""
        return self.after.subject


@dataclass(frozen=True)
class Compared:
    """All points of two runs."""

    points: Sequence[Comparison]
    redefined: Sequence[Subject]
    only_before: int
    only_after: int

    @property
    def counts(self) -> dict[str, int]:
        """How many points have each verdict."""
        found = Counter(p.verdict for p in self.points)
        return {verdict: found[verdict] for verdict in VERDICTS}


def different_machines(before: Run, after: Run) -> str:
    """Return what is different, or nothing if both runs are of one machine."""
    if before.machines.keys() == after.machines.keys() and len(before.machines) == 1:
        return ""
    first, second = (" and ".join(r.machines.values()) for r in (before, after))
    if first == second:
        return f"both on {first}, with other caches, memory or limits"
    return f"{first}; {second}"


def compare(before: Run, after: Run, margin: float = MARGIN) -> Compared:
    """Judge every point that both runs have by one definition.

    Raises SourceError where there is none.
    """
    first = {t.subject.point: t for t in before.timings}
    second = {t.subject.point: t for t in after.timings}
    pairs = [(first[key], second[key]) for key in first if key in second]
    redefined = [b.subject for a, b in pairs if not _same_definition(a, b)]
    points = [judge(a, b, margin) for a, b in pairs if _same_definition(a, b)]
    told = [p for p in points if p is not None]
    if not told:
        raise SourceError(_nothing(redefined))
    return Compared(
        told,
        redefined,
        len(first.keys() - second.keys()),
        len(second.keys() - first.keys()),
    )


def _nothing(redefined: Sequence[Subject]) -> str:
    if redefined:
        return (
            "the runs have no point in common: what their workloads time has been "
            "defined anew in between"
        )
    return "the runs have no point in common at which one of them has a time"


def _same_definition(a: Timing, b: Timing) -> bool:
    return a.subject.definition == b.subject.definition


def judge(before: Timing, after: Timing, margin: float = MARGIN) -> Comparison | None:
    """Compare one point; None if it has a time in neither run.

    Same: the whole interval of the ratio lies within the margin. Faster or slower: the
    interval leaves out one, and the ratio is beyond the margin.
    """
    if not before.samples and not after.samples:
        return None
    for lacking, verdict in ((after, LOST), (before, GAINED)):
        if not lacking.samples:
            return Comparison(before, after, verdict, reason=_why(lacking.subject))
    found = ratio(before.samples, after.samples)
    count = min(len(before.samples), len(after.samples))
    if count < FEWEST:
        reason = f"only {count} samples, needed are {FEWEST}"
        return Comparison(before, after, AMBIGUOUS, found, reason)
    return Comparison(before, after, _verdict(found, margin), found)


def _why(subject: Subject) -> str:
    status = STATUSES.get(subject.status, subject.status)
    return f"{status}: {subject.reason}" if subject.reason else status


def _verdict(found: Ratio, margin: float) -> str:
    most, least = 1 + margin, 1 / (1 + margin)
    if least <= found.low and found.high <= most:
        return SAME
    if found.low > 1 and found.ratio > most:
        return SLOWER
    if found.high < 1 and found.ratio < least:
        return FASTER
    return AMBIGUOUS


def tables(found: Compared, margin: float = MARGIN) -> list[Table]:
    """Return the means for each op, then all points."""
    return [_means(found), _points(found, margin)]


def _means(found: Compared) -> Table:
    names = unique(p.subject.name for p in found.points)
    groups = [(n, [p for p in found.points if p.subject.name == n]) for n in names]
    if len(groups) > 1:
        groups.append(("all", list(found.points)))
    rows = [Row(name, list(_mean_cells(own))) for name, own in groups]
    head = ["", "geometric mean", *VERDICTS]
    note = "Ratios are the time of the second run by that of the first."
    return Table("means-table", "By op", head, rows, note)


def _mean_cells(points: Iterable[Comparison]) -> Iterator[Cell]:
    points = list(points)
    mean = geometric_mean(p.found.ratio for p in points if p.found)
    yield Cell("-" if mean is None else digits(mean))
    counts = Counter(p.verdict for p in points)
    yield from (Cell(str(counts[verdict])) for verdict in VERDICTS)


def _points(found: Compared, margin: float) -> Table:
    names = labels([p.subject for p in found.points])
    rows = [
        Row(f"{p.subject.workload}, {_who(name)}", list(_point_cells(p)))
        for p, name in zip(found.points, names, strict=True)
    ]
    return Table(
        "points-table",
        "Every point",
        ["", "before", "after", "ratio (95 % interval)", "verdict"],
        rows,
        f"Same: the interval lies within {100 * margin:g} %. Faster, slower: it leaves "
        "out one and the ratio is further off. Else ambiguous. The interval comes from "
        "the samples of these two runs; a repeated run may differ by more.",
    )


def _who(label: str) -> str:
    """Return a label without the op, which the workload names already."""
    return label.partition(", ")[2]


def _point_cells(p: Comparison) -> list[Cell]:
    times = [
        Cell(of_seconds(t.seconds.middle) if t.seconds else "-")
        for t in (p.before, p.after)
    ]
    words = "-"
    if p.found:
        low, high = digits(p.found.low), digits(p.found.high)
        words = f"{digits(p.found.ratio)} ({low} to {high})"
    reason = f": {p.reason}" if p.reason else ""
    return [*times, Cell(words), Cell(f"{p.verdict}{reason}", "", p.verdict)]


def notes(found: Compared) -> Iterator[str]:
    """Say what was not compared."""
    if found.redefined:
        names = unique(s.workload for s in found.redefined)
        yield f"Not compared, since what is timed was defined anew: {', '.join(names)}."
    if found.only_before:
        yield f"Points that only the first run has: {found.only_before}."
    if found.only_after:
        yield f"Points that only the second run has: {found.only_after}."


def conclusion(found: Compared) -> str:
    """Return the outcome in one line."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in found.counts.items() if n)
    mean = geometric_mean(p.found.ratio for p in found.points if p.found)
    tail = "" if mean is None else f"; geometric mean of the ratios {digits(mean)}"
    return f"{len(found.points)} points: {counts}{tail}"
