"""The parts of a check, in their order, and how each is run."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ssmref.bench.run import WRONG, Measurement, record

from . import tables
from .book import Book
from .contenders import OURS
from .device import Device
from .grid import GRID, Point
from .racing import run_point
from .rates import Sizes, measure
from .verify import DTYPES, ops, verify

Echo = Callable[[str], object]


@dataclass(frozen=True)
class Run:
    """What a part needs; `sizes` and `grid` are smaller in tests."""

    device: Device
    book: Book
    echo: Echo
    again: bool = False
    sizes: Sizes = Sizes()  # noqa: RUF009 (frozen)
    grid: dict[str, tuple[Point, ...]] | None = None
    dtypes: tuple[str, ...] = DTYPES


@dataclass(frozen=True)
class Finding:
    """What became of a part."""

    passed: bool
    summary: str


def verified(run: Run, level: str) -> Finding:
    """Verify all ops at a level of the suite."""
    cases = failures = 0
    for found in verify(level, ops(), run.dtypes):
        cases, failures = cases + found.cases, failures + len(found.failures)
        for line in tables.outcome(found):
            run.echo(line)
    passed = cases > 0 and failures == 0
    return Finding(passed, f"{cases} cases, {failures} failed")


def rated(run: Run) -> Finding:
    """Measure what the GPU can do."""
    found = []
    for rate in measure(run.device, run.sizes):
        run.echo(f"  {rate.name:<14} {rate.best:.3e} {rate.unit}  ({rate.method})")
        found.append(asdict(rate))
    rates = [{**rate, "samples": list(rate["samples"])} for rate in found]
    run.book.append({"kind": "rates", "threads": 1, "rates": rates})
    return Finding(True, f"{len(found)} rates")


def timed(run: Run, points: Iterable[Point]) -> Finding:
    """Verify and time the points of one part of the grid."""
    rates = run.book.rates()
    figures = wrong = 0
    run.echo(f"  {'':<32} {tables.HEAD}")
    for point in points:
        for dtype in point.dtypes:
            found = list(run_point(run.device, point, dtype, rates))
            for line in tables.point(found):
                run.echo(line)
            for measurement in found:
                run.book.append(_recorded(point, measurement, run.book))
            figures += sum(m.samples is not None for m in found)
            wrong += sum(_is_ours(m) and m.status == WRONG for m in found)
    return Finding(wrong == 0, f"{figures} figures, {wrong} of ours wrong")


def _is_ours(found: Measurement) -> bool:
    return found.implementation.startswith(OURS)


def _recorded(point: Point, found: Measurement, book: Book) -> dict[str, Any]:
    made = record(found, book.environment)
    return {**made, "definition": point.definition}


LEVELS = {"verify": "core", "extended": "extended", "long": "long"}
# First whether it is right, in under three minutes; what takes longest comes last.
PARTS = ("verify", "rates", *GRID, "extended", "long")


def run_part(run: Run, part: str) -> Finding:
    """Run a part, or return what it gave before."""
    earlier = None if run.again else run.book.finished(part)
    if earlier is not None:
        run.echo(f"{part}: done at {earlier['time']}: {earlier['summary']}")
        return Finding(earlier["passed"], earlier["summary"])
    run.echo(f"{part}:")
    start = time.perf_counter()
    found = _run(run, part)
    seconds = time.perf_counter() - start
    run.book.finish(part, passed=found.passed, summary=found.summary, seconds=seconds)
    word = "passed" if found.passed else "FAILED"
    run.echo(f"{part}: {word}, {found.summary}, {seconds:.0f} s")
    return found


def _run(run: Run, part: str) -> Finding:
    if part in LEVELS:
        return verified(run, LEVELS[part])
    if part == "rates":
        return rated(run)
    return timed(run, (run.grid or GRID)[part])
