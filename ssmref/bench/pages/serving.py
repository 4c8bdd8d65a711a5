"""The section on inference: prefill, one-token decode, caches and states, requests."""

from collections.abc import Callable, Iterator, Sequence

from .charts import Chart, Panel, Trace
from .curves import (
    per_second,
    places,
    rate,
    tags,
    timing_rows,
    timing_traces,
)
from .findings import seconds
from .fits import Spread
from .points import Memory, Subject, Timing
from .section import Section, in_order, several
from .series import Series, along, labels
from .sources import Run
from .tables import Cell, Row, Table
from .words import of_bytes, of_length, of_seconds

REQUESTS = (1, 100, 1000)


def is_decode(s: Subject) -> bool:
    """Return whether one token is computed from what is held of those before."""
    return "decode" in s.name or s.op.endswith("_step")


def serving_section(run: Run) -> Iterator[Section]:
    """Yield the section, if anything of inference was measured."""
    own = [t for t in run.timings if t.subject.kind == "inference"]
    decode = [t for t in own if is_decode(t.subject)]
    prefill = [t for t in own if not is_decode(t.subject)]
    held = [
        m
        for m in run.memories
        if m.subject.kind == "inference" and is_decode(m.subject)
    ]
    parts = [
        *_over_length("prefill", "Prefill: time for the whole prompt", prefill),
        *_over_length("decode", "Decode: time for the next token", decode),
        *_over_batch(decode),
        *_held(held),
    ]
    if parts:
        charts = [c for c, _ in parts if c is not None]
        yield Section("inference", "Inference", charts, [t for _, t in parts])


Part = tuple[Chart | None, Table]


def _over_length(name: str, title: str, found: Sequence[Timing]) -> Iterator[Part]:
    series = several(along("length", found))
    if series:
        axis = "tokens" if name == "prefill" else "tokens of context"
        yield _part(name, title, axis, series, (seconds, of_seconds, "s"))


def _over_batch(found: Sequence[Timing]) -> Iterator[Part]:
    series = several(along("batch", found))
    if series:
        title = "Decode: tokens per second of all requests of a batch"
        yield _part("batch", title, "batch", series, (rate, per_second, "tokens/s"))


Measure = tuple[Callable[[Timing], Spread | None], Callable[[float], str], str]


def _part(
    name: str, title: str, axis: str, series: list[Series[Timing]], measure: Measure
) -> Part:
    value, words, unit = measure
    panel = Panel(
        "tokens per second" if unit == "tokens/s" else "time per call",
        unit,
        list(timing_traces(series, value, words)),
    )
    columns = places(series)
    head = [str(n) if axis == "batch" else of_length(n) for n in columns]
    rows = list(timing_rows(series, columns, value, words))
    unit = "count" if axis == "batch" else "length"
    chart = Chart(name, title, axis, [panel], "Median and quartiles.", unit)
    return chart, Table(f"{name}-table", title, ["", *head], rows)


def _held(found: Sequence[Memory]) -> Iterator[Part]:
    """Yield what is kept of a request between two tokens, and for many requests.

    It is the same for all implementations: of several the first counts.
    """
    once = {(_what(m), m.subject.dtype, m.subject.length): m for m in found[::-1]}
    kept = [m for m in once.values() if m.model.get("state")]
    if not kept:
        return
    series = in_order(along("length", kept))
    # Batches differ, what is held per request does not.
    title = "What is held of one request between two tokens"
    traces = list(_held_traces(series))
    chart = Chart(
        "cache",
        "Cache and state against context",
        "tokens of context",
        [Panel("bytes per request", "B", traces)],
        f"{title}, counted: a cache grows with the context, a state does not.",
    )
    drawn = chart if any(len(t.x) > 1 for t in traces) else None
    yield drawn, _requests(sorted(kept, key=_order))


def _what(m: Memory) -> str:
    s = m.subject
    return f"{s.op}, {s.model}" if s.model else s.op


def _order(m: Memory) -> tuple[int, str, str]:
    return m.subject.length or 0, m.subject.op, m.subject.dtype


def per_request(m: Memory) -> float:
    """Return the bytes that are held of one request."""
    return m.model.get("state", 0) / m.subject.batch


def _held_traces(series: Sequence[Series[Memory]]) -> Iterator[Trace]:
    names = labels([s.subject for s in series])
    for one, name in zip(series, names, strict=True):
        sizes = [per_request(m) for m in one.points]
        yield Trace(
            name,
            x=one.places,
            y=sizes,
            hover=[
                f"context {of_length(n)}\n{of_bytes(size)} per request\ncounted"
                for n, size in zip(one.places, sizes, strict=True)
            ],
            group=one.subject.name,
            tags=tags(one.subject),
            style=one.subject.implementation,
            provenance="analytic",
        )


def _requests(found: Sequence[Memory]) -> Table:
    rows = [
        Row(
            _what(m),
            [
                Cell(m.subject.dtype),
                Cell(of_length(m.subject.length or 0)),
                *(Cell(of_bytes(n * per_request(m)), "analytic") for n in REQUESTS),
            ],
            tags(m.subject),
        )
        for m in found
    ]
    return Table(
        "requests-table",
        "Memory of concurrent requests, caches and states only",
        ["", "dtype", "context", *(f"{n} at once" for n in REQUESTS)],
        rows,
        "Counted, without the weights of the model.",
    )
