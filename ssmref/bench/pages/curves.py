"""Curves of charts and rows of tables, made from series of points."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .charts import Tags, Trace
from .findings import modelled, predicted, seconds
from .fits import Spread
from .points import MEASURED, OOM, STATUSES, TIMED_OUT, Memory, Subject, Timing
from .series import Series, labels, place
from .tables import Cell, Row
from .words import digits, of_bytes, of_count, of_length, of_seconds, plural

ERROR_LIMIT = 30.0


def tags(subject: Subject) -> Tags:
    """Return what the filters of the page know a subject by."""
    return (
        ("op", subject.name),
        ("implementation", subject.implementation),
        ("dtype", subject.dtype),
        ("threads", str(subject.threads)),
    )


def verdict(t: Timing) -> str:
    """Return how right the timed results were."""
    ratio = (t.verdict or {}).get("ratio")
    if ratio is None:
        return "verified" if t.verdict else ""
    most = (t.verdict or {}).get("limit", ERROR_LIMIT)
    return f"right, error ratio {digits(ratio, 2)} of {most:g}"


def spread_words(found: Spread, words: Callable[[float], str]) -> str:
    """Return median and quartiles."""
    return f"{words(found.middle)} ({words(found.low)} to {words(found.high)})"


def timing_traces(
    series: Sequence[Series[Timing]],
    value: Callable[[Timing], Spread | None] = seconds,
    words: Callable[[float], str] = of_seconds,
) -> Iterator[Trace]:
    """Yield a curve of medians with quartiles for each series that has times."""
    axis = series[0].axis if series else ""
    names = labels([s.subject for s in series], axis)
    for one, name in zip(series, names, strict=True):
        pairs = [(p, found) for p in one.points if (found := value(p)) is not None]
        if pairs:
            yield Trace(
                name,
                x=[place(p.subject, one.axis) for p, _ in pairs],
                y=[found.middle for _, found in pairs],
                hover=[_timing_hover(p, one.axis, found, words) for p, found in pairs],
                group=one.subject.name,
                tags=tags(one.subject),
                style=one.subject.implementation,
                low=[found.low for _, found in pairs],
                high=[found.high for _, found in pairs],
            )


def _timing_hover(
    t: Timing, axis: str, found: Spread, words: Callable[[float], str]
) -> str:
    where = place(t.subject, axis)
    lines = [
        f"{axis} {of_length(where) if axis == 'length' else where}",
        f"{spread_words(found, words)}, {plural(len(t.samples), 'sample')}",
        f"measured, {verdict(t)}",
        t.unstable,
    ]
    return "\n".join(line for line in lines if line)


def limit_traces(series: Sequence[Series[Timing]]) -> Iterator[Trace]:
    """Yield the least times that the machine's rates allow, once for each work."""
    seen: set[Any] = set()
    for one in series:
        s = one.subject
        sizes = tuple(sorted(one.other_sizes().items()))
        key = (s.name, s.model, s.dtype, s.threads, sizes)
        pairs = [(p, p.least) for p in one.points if p.least]
        if key in seen or not pairs:
            continue
        seen.add(key)
        yield Trace(
            f"limit of {s.name}",
            x=[place(p.subject, one.axis) for p, _ in pairs],
            y=[least or 0.0 for _, least in pairs],
            hover=[_limit_hover(p) for p, _ in pairs],
            group=s.name,
            tags=tuple(t for t in tags(s) if t[0] != "implementation"),
            style="limit",
            provenance="limit",
            shown=False,
        )


def _limit_hover(t: Timing) -> str:
    binding = max(t.limit, key=lambda name: t.limit[name])
    return f"at least {of_seconds(t.least or 0.0)}\nby {binding}, at measured rates"


def memory_traces(series: Sequence[Series[Memory]]) -> Iterator[Trace]:
    """Yield what the model says, what was measured, and what would not fit."""
    names = labels([s.subject for s in series])
    models = modelled(series)
    for one, name in zip(series, names, strict=True):
        measured = [p for p in one.points if p.measured]
        whole = [p for p in one.points if predicted(p)]
        if one in models:
            model = f"{name}, by the model" if measured else name
            yield from _memory_trace(one, model, "analytic", whole, shown=not measured)
        yield from _memory_trace(one, name, "measured", measured)
        failed = [p for p in whole if p.subject.status == OOM]
        oom = f"{name}, OOM (predicted)"
        yield from _memory_trace(one, oom, "oom", failed, shown=False)


def _memory_trace(
    series: Series[Memory],
    name: str,
    provenance: str,
    points: list[Memory],
    shown: bool = True,
) -> Iterator[Trace]:
    if points:
        measured = provenance == "measured"
        yield Trace(
            name,
            x=[place(p.subject, series.axis) for p in points],
            y=[(p.measured if measured else p.predicted) or 0 for p in points],
            hover=[_memory_hover(p) for p in points],
            group=series.subject.name,
            tags=tags(series.subject),
            style=series.subject.implementation,
            provenance=provenance,
            shown=shown,
        )


def _memory_hover(m: Memory) -> str:
    lines = [f"length {of_length(m.subject.length or 0)}"]
    if m.peak:
        lines.append(f"measured peak {of_bytes(m.peak)}")
    if m.resident:
        lines.append(f"resident peak {of_bytes(m.resident)}")
    lines.append(f"by the model {of_bytes(m.predicted)}")
    if m.subject.status != MEASURED:
        lines.append(STATUSES.get(m.subject.status, m.subject.status))
    return "\n".join(lines)


def absence(subject: Subject) -> Cell:
    """Return the cell of a point without a figure."""
    words = STATUSES.get(subject.status, subject.status)
    mark = {OOM: "oom", TIMED_OUT: "timed out"}.get(subject.status, "none")
    bad = subject.status in ("wrong", "crashed")
    sign = "\N{BALLOT X} " if bad else ""
    return Cell(f"{sign}{words}", mark, "bad" if bad else "absent", subject.reason)


def timing_rows(
    series: Sequence[Series[Timing]],
    columns: Sequence[int],
    value: Callable[[Timing], Spread | None] = seconds,
    words: Callable[[float], str] = of_seconds,
) -> Iterator[Row]:
    """Yield a row of medians for each series, a cell for each place on the axis."""
    axis = series[0].axis if series else ""
    names = labels([s.subject for s in series], axis)
    for one, name in zip(series, names, strict=True):
        by_place = dict(zip(one.places, one.points, strict=True))
        cells = [_timing_cell(by_place.get(n), value, words) for n in columns]
        yield Row(name, cells, tags(one.subject))


def _timing_cell(
    t: Timing | None,
    value: Callable[[Timing], Spread | None],
    words: Callable[[float], str],
) -> Cell:
    if t is None:
        return Cell("")
    found = value(t)
    if found is None:
        return absence(t.subject)
    return Cell(words(found.middle), "measured", "", spread_words(found, words))


def memory_rows(
    series: Sequence[Series[Memory]], columns: Sequence[int]
) -> Iterator[Row]:
    """Yield two rows for each series: what was measured, and the model."""
    names = labels([s.subject for s in series])
    models = modelled(series)
    for one, name in zip(series, names, strict=True):
        by_place = dict(zip(one.places, one.points, strict=True))
        found = [by_place.get(n) for n in columns]
        own = tags(one.subject)
        if any(m and (m.measured or m.subject.status != MEASURED) for m in found):
            yield Row(f"{name}: measured", [_peak_cell(m) for m in found], own)
        if one in models and any(m and m.model for m in found):
            yield Row(f"{name}: by the model", [_model_cell(m) for m in found], own)


def _peak_cell(m: Memory | None) -> Cell:
    if m is None:
        return Cell("")
    if not m.measured:
        return absence(m.subject)
    how = "" if m.peak else " resident"
    words = _memory_hover(m).replace("\n", ", ")
    return Cell(f"{of_bytes(m.measured)}{how}", "measured", "", words)


def _model_cell(m: Memory | None) -> Cell:
    if m is None or not m.model:
        return Cell("")
    parts = ", ".join(f"{part} {of_bytes(size)}" for part, size in m.model.items())
    return Cell(of_bytes(m.predicted), "analytic", "", parts)


def places(series: Iterable[Series[Any]]) -> list[int]:
    """Return all places on the axis, in order."""
    return sorted({n for one in series for n in one.places})


def per_second(value: float) -> str:
    """Return tokens per second."""
    return of_count(value)


def rate(t: Timing) -> Spread | None:
    """Return tokens per second of a point."""
    return t.rate
