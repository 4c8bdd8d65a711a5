"""Sections on the machine, on every point, and on what was not measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..rates import Rate
from .curves import absence, tags, verdict
from .points import MEASURED, Memory, Timing
from .section import Section
from .sources import Run
from .tables import Cell, Row, Table
from .words import digits, of_bytes, of_count, of_seconds


def machine_section(run: Run) -> Iterator[Section]:
    """Yield the rates of the machine and all that figures may depend on."""
    tables = [*_rates(run), _environments(run)]
    yield Section("machine", "Machine", [], tables)


def _rates(run: Run) -> Iterator[Table]:
    rows = [
        Row(rate.name, _rate_cells(rate, record["threads"]))
        for record in run.rates.values()
        for rate in (
            Rate(r["name"], r["unit"], r["method"], tuple(r["samples"]))
            for r in record["rates"]
        )
    ]
    if rows:
        yield Table(
            "rates-table",
            "Rates of this machine",
            ["", "best", "median", "threads", "method"],
            rows,
            "Measured before all points. Limits are what a call needs at least, by "
            "rates of its own rounds where they were measured, else by the best of "
            "these: of memory that of the triad with plain stores, of arithmetic the "
            "higher one of gemm and fma.",
        )


def _rate_cells(rate: Rate, threads: int) -> list[Cell]:
    unit = rate.unit.removeprefix("1")
    best, usual = (f"{digits(r / 1e9)} G{unit}" for r in (rate.best, rate.median))
    return [
        Cell(best, "measured"),
        Cell(usual, "measured"),
        Cell(str(threads)),
        Cell(rate.method),
    ]


def _environments(run: Run) -> Table:
    """Return one column for each environment, and only lines that say something."""
    found = [dict(_facts(e)) for e in run.environments.values()]
    names = dict.fromkeys(name for facts in found for name in facts)
    rows = [Row(name, [Cell(facts.get(name, "")) for facts in found]) for name in names]
    head = ["", *run.environments]
    return Table("environment-table", "Environment", head, rows)


def _facts(e: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if gpu := dict(e.get("gpu") or {}):
        more = (f"{n.replace('_', ' ')} {v}" for n, v in gpu.items() if n != "name")
        yield "GPU", ", ".join([str(gpu.get("name", "unnamed")), *more])
    yield "CPU", f"{e['cpu']}, {e['cpus']} logical"
    yield "instruction sets", ", ".join(e.get("isa", []))
    yield "caches", ", ".join(f"{n} {of_bytes(s)}" for n, s in e["caches"].items())
    if e["memory"]:
        yield "memory", of_bytes(e["memory"])
    limits = e.get("limits", {})
    if limits.get("cpus"):
        yield "limit on CPUs", f"{limits['cpus']:g}"
    if limits.get("memory"):
        yield "limit on memory", of_bytes(limits["memory"])
    yield "frequency governor", e.get("governor", "unknown")
    yield "load before", ", ".join(f"{x:.2f}" for x in e.get("load", []))
    yield "threads", ", ".join(f"{n} {v}" for n, v in e.get("threads", {}).items())
    yield "system", e.get("system", "")
    yield "Python", e.get("python", "")
    yield "packages", ", ".join(f"{n} {v}" for n, v in e["versions"].items())
    yield "compiler", e.get("compiler") or "none"
    for library in e.get("blas", []):
        words = " ".join(str(v) for v in library.values())
        yield f"library of {library.get('user_api', 'threads')}", words
    yield "commit", e["commit"] or "unknown"


def points_section(run: Run) -> Iterator[Section]:
    """Yield every time with its verdict, and whatever has no figure with its reason."""
    timed = [t for t in run.timings if t.samples]
    tables = [Table(
        "points-table",
        "Every time",
        ["", "implementation", "dtype", "threads", "median", "quartiles", "samples",
         "tokens per second", "% of limit", "% of triad", "verdict", "suite"],
        [Row(t.subject.workload, _point_cells(t), tags(t.subject)) for t in timed],
        "% of limit: the least time by the rates of memory and arithmetic, by the time "
        "of a call, in the same rounds; the median of these. Above 100 data stayed in "
        "caches, or stores went past them, which saves the reading that the triad "
        "pays for; in older records, the machine may have been slower when its rates "
        "were measured. "
        "% of triad: the time of a triad of as many bytes, where memory is the limit. "
        "With the verdict: the worst ratio of error to rounding, at most 30. "
        "A sign ! marks quartiles that are more than 10 % apart.",
    )] if timed else []  # fmt: skip
    if missing := list(_missing(run)):
        tables.append(_not_measured(missing))
    yield Section("points", "All points", [], tables)


def _point_cells(t: Timing) -> list[Cell]:
    s, found, speed = t.subject, t.seconds, t.rate
    assert found is not None
    unstable = "warn" if t.unstable else ""
    return [
        Cell(s.implementation),
        Cell(s.dtype),
        Cell(str(s.threads)),
        Cell(of_seconds(found.middle), "measured"),
        Cell(_quartiles(t), "", unstable, t.unstable),
        Cell(str(len(t.samples))),
        Cell(of_count(speed.middle) if speed else ""),
        Cell(_percent(t.share)),
        Cell(_percent(t.share_of_triad)),
        Cell(_badge(t), "", "good", verdict(t)),
        Cell(s.suite),
    ]


def _badge(t: Timing) -> str:
    ratio = (t.verdict or {}).get("ratio")
    tail = "" if ratio is None else f", {digits(ratio, 2)}"
    return f"\N{CHECK MARK} right{tail}"


def _percent(share: float | None) -> str:
    if not share:
        return ""
    return f"{100 * share:.0f}" if share >= 0.01 else "below 1"


def _quartiles(t: Timing) -> str:
    found = t.seconds
    assert found is not None
    words = f"{of_seconds(found.low)} to {of_seconds(found.high)}"
    return f"{words} !" if t.unstable else words


def _missing(run: Run) -> Iterator[Timing | Memory]:
    every = (*run.timings, *run.memories)
    yield from (found for found in every if found.subject.status != MEASURED)


def _not_measured(missing: Sequence[Timing | Memory]) -> Table:
    rows = [
        Row(
            found.subject.workload,
            [
                Cell("memory" if isinstance(found, Memory) else "time"),
                Cell(found.subject.implementation),
                Cell(found.subject.dtype),
                Cell(str(found.subject.threads)),
                absence(found.subject),
                Cell(found.subject.reason or "no reason is recorded"),
            ],
            tags(found.subject),
        )
        for found in missing
    ]
    return Table(
        "missing-table",
        "Not measured",
        ["", "what", "implementation", "dtype", "threads", "status", "reason"],
        rows,
    )
