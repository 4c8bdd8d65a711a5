"""Sections on what is drawn over length: time, throughput, memory."""

from collections.abc import Iterator, Sequence

from . import claims
from .charts import Chart, Panel
from .curves import (
    limit_traces,
    memory_rows,
    memory_traces,
    per_second,
    places,
    rate,
    tags,
    timing_rows,
    timing_traces,
)
from .findings import memory_series, modelled, time_series
from .points import Memory, Timing
from .section import KINDS, Section, in_order, several
from .series import Series, is_attention, labels
from .sources import Run
from .tables import Cell, Row, Table
from .words import digits, of_bytes, of_length


def time_sections(run: Run) -> Iterator[Section]:
    """Yield time and throughput against length, for ops and for blocks."""
    for kind, words in KINDS.items():
        series = several(time_series(run, kind))
        if series:
            yield _time(kind, words, series)
            yield _throughput(kind, words, series)


def _time(kind: str, words: str, series: list[Series[Timing]]) -> Section:
    traces = (*timing_traces(series), *limit_traces(series))
    chart = Chart(
        f"time-{kind}",
        f"Time against length, {words}",
        "tokens",
        [Panel("time per call", "s", traces)],
        "Median and quartiles. Dotted: the least time that the rates of this machine "
        "allow.",
    )
    columns = places(series)
    table = Table(
        f"time-{kind}-table",
        f"Median time per call, {words}",
        ["", *map(of_length, columns)],
        list(timing_rows(series, columns)),
    )
    return Section(f"time-{kind}", f"Time: {words}", [chart], [table])


def _throughput(kind: str, words: str, series: list[Series[Timing]]) -> Section:
    traces = list(timing_traces(series, rate, lambda v: f"{per_second(v)} tokens/s"))
    chart = Chart(
        f"throughput-{kind}",
        f"Tokens per second against length, {words}",
        "tokens",
        [Panel("tokens per second", "tokens/s", traces)],
        "Flat: every token costs the same at any length. Falling: it costs more.",
    )
    asked = claims.quoted_lengths("throughput") if kind == "block" else set()
    columns = sorted({*places(series), *asked})
    rows = list(timing_rows(series, columns, rate, per_second))
    if kind == "block":
        rows += claims.quoted_rows("throughput", columns)
    table = Table(
        f"throughput-{kind}-table",
        f"Tokens per second, {words}",
        ["", *map(of_length, columns)],
        rows,
        _notes("throughput") if kind == "block" else "",
    )
    return Section(f"throughput-{kind}", f"Throughput: {words}", [chart], [table])


def _notes(table: str) -> str:
    return " ".join(q.note for q in claims.quoted(table) if q.note)


def memory_section(run: Run) -> Iterator[Section]:
    """Yield memory against length: measured, by the model, quoted."""
    series = in_order(memory_series(run, *KINDS))
    if not series:
        return
    traces = list(memory_traces(series))
    panel = Panel("bytes besides the inputs", "B", traces, _there(run))
    chart = Chart(
        "memory",
        "Memory against length",
        "tokens",
        [panel],
        "Filled: the peak that was measured over one call. Dashed: outputs, state and "
        "workspace by the model. Crosses: more than this machine has; not attempted.",
    )  # fmt: skip
    columns = sorted({*places(series), *claims.quoted_lengths("memory")})
    rows = [*memory_rows(series, columns), *claims.quoted_rows("memory", columns)]
    head = ["", *map(of_length, columns)]
    table = Table(
        "memory-table", "Memory besides the inputs", head, rows, _notes("memory")
    )
    tables = [table, *_kept(series, columns), _agreements(run.memories)]
    yield Section("memory", "Memory", [chart], tables)


def _kept(series: Sequence[Series[Memory]], columns: Sequence[int]) -> Iterator[Table]:
    """Yield what of the memory is kept for the next token: a cache or a state."""
    rows = []
    known = [s for s in modelled(series) if any(p.model.get("state") for p in s.points)]
    for one, name in zip(known, labels([s.subject for s in known]), strict=True):
        sizes = {
            n: p.model["state"] for n, p in zip(one.places, one.points, strict=True)
        }
        what = "cache of keys and values" if is_attention(one.subject) else "state"
        cells = (sizes.get(n) for n in columns)
        row = [Cell(of_bytes(s), "analytic") if s else Cell("") for s in cells]
        rows.append(Row(f"{name}: {what}", row, tags(one.subject)))
    if rows:
        yield Table(
            "kept-table",
            "What of it is kept for the next token",
            ["", *map(of_length, columns)],
            rows,
            "Counted. A cache grows with the sequence, a state does not.",
        )


def _there(run: Run) -> list[tuple[str, float]]:
    """Return the memory that this machine lets a process have."""
    details = next(iter(run.environments.values()))
    sizes = (details["memory"], details.get("limits", {}).get("memory"))
    least = min((size for size in sizes if size), default=None)
    return [(f"memory of this machine, {of_bytes(least)}", least)] if least else []


def _agreements(memories: Sequence[Memory]) -> Table:
    measured = [m for m in memories if m.measured]
    names = labels([m.subject for m in measured])
    rows = [
        Row(name, _agreement_cells(m), tags(m.subject))
        for name, m in zip(names, measured, strict=True)
    ]
    return Table(
        "agreement-table",
        "Measured memory beside the byte model",
        ["", "length", "by the model", "measured peak", "factor",
         "resident peak"],
        rows,
        "The factor is the measured peak by the outputs, the state and the workspace "
        "of the model; beyond 0.9 to 1.1 it is marked. The resident peak is the "
        "largest resident set of a process that makes the call, less that of one that "
        "has only the inputs; what allocates past tracemalloc is known by it alone. "
        "The model is the one of ssmref.cpu.",
    )  # fmt: skip


def _agreement_cells(m: Memory) -> list[Cell]:
    factor = Cell("")
    if m.agreement is not None:
        off = abs(m.agreement - 1) > 0.1
        text = f"{digits(m.agreement)}{' !' if off else ''}"
        factor = Cell(text, "measured", "warn" if off else "", m.subject.note)
    return [
        Cell(of_length(m.subject.length or 1)),
        Cell(of_bytes(m.predicted), "analytic"),
        Cell(of_bytes(m.peak), "measured") if m.peak else Cell(""),
        factor,
        Cell(of_bytes(m.resident), "measured") if m.resident else Cell(""),
    ]
