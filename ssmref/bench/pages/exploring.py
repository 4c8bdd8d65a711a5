"""Sections of the explorers: chunk length, size of the state, forms of a scan."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..explorers_scans import depth, steps
from .charts import Chart, Panel, Trace
from .curves import (
    places,
    tags,
    timing_rows,
    timing_traces,
    verdict,
)
from .findings import OURS, time_series
from .points import Memory, Timing
from .section import Section, several
from .series import Series, along, labels, place
from .sources import Run
from .tables import Cell, Row, Table
from .words import digits, of_bytes, of_count, of_length, of_seconds

CHUNK_AXES = ("chunk", "chunk_size", "chunk_length")
_ITEM = {"float64": 8, "float32": 4}
_FORM_COUNTS = ("work", "depth", "operations", "bytes moved")


def exploring_sections(run: Run) -> Iterator[Section]:
    """Yield what there is."""
    yield from _chunks(run)
    yield from _states(run)
    yield from _forms(run)


def _chunks(run: Run) -> Iterator[Section]:
    times = [t for t in run.timings if t.subject.kind == "chunks"]
    for axis in CHUNK_AXES:
        series = several(along(axis, times))
        if not series:
            continue
        bytes_ = [m for m in run.memories if m.subject.kind == "chunks"]
        chart = Chart(
            "chunks",
            "Time, workspace and error against the length of a chunk",
            "tokens per chunk",
            [
                Panel("time per call", "s", list(timing_traces(series))),
                Panel("workspace", "B", list(_workspaces(along(axis, bytes_)))),
                Panel("error ratio", "", list(_errors(series)), [("limit", 30.0)]),
            ],
            "Time: median and quartiles. Workspace: by the model, dashed. Error ratio: "
            "the worst error by what one rounding per operation can do; 30 is allowed.",
            "count",
        )
        rows = _chunk_rows(series, {_work(m): m for m in bytes_})
        table = Table("chunks-table", chart.title, _CHUNK_HEAD, rows)
        yield Section("chunks", "Chunk length", [chart], [table])


_CHUNK_HEAD = [
    *("", "chunk", "median time", "workspace by the model"),
    *("measured peak with the results", "error ratio"),
]


def _chunk_rows(
    series: Sequence[Series[Timing]], bytes_: Mapping[Any, Memory]
) -> list[Row]:
    names = labels([s.subject for s in series], series[0].axis)
    rows = []
    for one, name in zip(series, names, strict=True):
        for n, t in zip(one.places, one.points, strict=True):
            if t.seconds is None:
                continue
            held = _held_cells(bytes_.get(_work(t)))
            cells = [Cell(str(n)), _median(t), *held, Cell(verdict(t), "measured")]
            rows.append(Row(name, cells, tags(t.subject)))
    return rows


def _work(found: Timing | Memory) -> tuple[str, str, str, int]:
    s = found.subject
    return s.workload, s.implementation, s.dtype, s.threads


def _held_cells(m: Memory | None) -> list[Cell]:
    """Return workspace and peak; the model is the one of our fast paths."""
    if m is None:
        return [Cell(""), Cell("")]
    model = m.model.get("workspace", 0) if m.subject.implementation == OURS else 0
    return [
        Cell(of_bytes(model), "analytic") if model else Cell(""),
        Cell(of_bytes(m.measured), "measured") if m.measured else Cell(""),
    ]


def _median(t: Timing) -> Cell:
    return Cell(of_seconds(t.seconds.middle), "measured") if t.seconds else Cell("")


def _workspaces(series: Sequence[Series[Memory]]) -> Iterator[Trace]:
    def bytes_of(m: Memory) -> float | None:
        return m.model.get("workspace") or None

    yield from _plain(series, bytes_of, "analytic", of_bytes, "workspace")


def _errors(series: Sequence[Series[Timing]]) -> Iterator[Trace]:
    def ratio(t: Timing) -> float | None:
        return (t.verdict or {}).get("ratio") or None

    yield from _plain(series, ratio, "measured", digits, "error ratio")


def _plain(
    series: Sequence[Series],
    value: Callable[..., float | None],
    provenance: str,
    words: Callable[[float], str],
    what: str,
) -> Iterator[Trace]:
    """Yield curves of one number for each point, without spread."""
    names = labels([s.subject for s in series], series[0].axis if series else "")
    for one, name in zip(series, names, strict=True):
        pairs = [(place(p.subject, one.axis), value(p)) for p in one.points]
        pairs = [(n, v) for n, v in pairs if v is not None]
        if pairs:
            yield Trace(
                name,
                x=[n for n, _ in pairs],
                y=[v for _, v in pairs],
                hover=[f"{one.axis} {n}\n{what} {words(v)}" for n, v in pairs],
                group=one.subject.name,
                tags=tags(one.subject),
                style=one.subject.implementation,
                provenance=provenance,
            )


def _states(run: Run) -> Iterator[Section]:
    times = [t for t in run.timings if t.subject.kind == "state"]
    series = several(along("state", times))
    if not series:
        return
    chart = Chart(
        "state",
        "Time against the size of the state",
        "numbers of the state per channel",
        [Panel("time per call", "s", list(timing_traces(series)))],
        "Median and quartiles, at one length.",
        "count",
    )
    columns = places(series)
    rows = list(timing_rows(series, columns))
    table = Table("state-table", chart.title, ["", *map(str, columns)], rows)
    yield Section("state", "Size of the state", [chart], [table])


def _forms(run: Run) -> Iterator[Section]:
    every = time_series(run, "forms")
    if not every:
        return
    series = several(every)
    chart = Chart(
        "forms",
        "Forms of a scan",
        "tokens",
        [Panel("time per call", "s", list(timing_traces(series)))],
        "Median and quartiles.",
    )
    charts = [] if chart.empty else [chart]
    yield Section("forms", "Forms of a scan", charts, [_form_table(every)])


def _form_table(series: Sequence[Series[Timing]]) -> Table:
    """Return work and traffic beside the time, for each form and length."""
    names = labels([s.subject for s in series])
    rows = [
        Row(name, _form_cells(t), tags(t.subject))
        for one, name in zip(series, names, strict=True)
        for t in one.points
    ]
    return Table(
        "forms-table",
        "Work and time of each form",
        ["", "length", *_FORM_COUNTS, "median time", "remark"],
        rows,
        "Work: compositions of two steps, for each recurrence. Depth: how many of them "
        "follow each other at least. All of these, operations and bytes are counted.",
    )


def _form_cells(t: Timing) -> list[Cell]:
    work = t.cost.get("flops", 0.0) + t.cost.get("products", 0.0)
    moved = t.cost.get("elements", 0.0) * _ITEM.get(t.subject.dtype, 4)
    form, length = t.subject.form, t.subject.length or 1
    return [
        Cell(of_length(length)),
        Cell(of_count(steps(form, length)), "analytic"),
        Cell(of_count(depth(form, length)), "analytic"),
        Cell(of_count(work), "analytic") if work else Cell(""),
        Cell(of_bytes(moved), "analytic") if moved else Cell(""),
        _median(t),
        Cell(t.subject.reason),
    ]
