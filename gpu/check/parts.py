"""The parts of a check, in their order, and how each is run."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ssmref.bench.run import WRONG, Measurement, raised, record

from . import tables
from .book import Book
from .contenders import OURS
from .device import Device
from .grid import GRID, Point
from .guard import LostError, NoTimeError, Progress, assert_alive
from .racing import run_point
from .rates import Sizes, measure
from .verify import DTYPES, NOWHERE, ops, verify

Echo = Callable[[str], object]
RATES = "rates"
# Between an op and a stranger.
BY = " by "


@dataclass(frozen=True)
class Run:
    """What a part needs; `sizes` and `grid` are smaller in tests."""

    device: Device
    book: Book
    echo: Echo
    sizes: Sizes = Sizes()  # noqa: RUF009 (frozen)
    grid: dict[str, tuple[Point, ...]] | None = None
    dtypes: tuple[str, ...] = DTYPES
    skipped: frozenset[str] = frozenset()
    progress: Progress = NOWHERE


@dataclass(frozen=True)
class Finding:
    """What became of a part."""

    passed: bool
    summary: str


def verified(run: Run, level: str) -> Finding:
    """Verify all ops at a level of the suite."""
    cases = failures = 0
    functions = {n: f for n, f in ops().items() if n not in run.skipped}
    for found in verify(level, functions, run.dtypes, run.progress):
        cases, failures = cases + found.cases, failures + len(found.failures)
        for line in tables.outcome(found):
            run.echo(line)
        if found.failures:
            assert_alive(run.device)
    return _found(run, cases > 0 and failures == 0, f"{cases} cases, {failures} failed")


def _found(run: Run, passed: bool, summary: str) -> Finding:
    """Return what was found; where something was left out, nothing has passed."""
    if any(BY not in what for what in run.skipped):
        return Finding(False, f"{summary}, {_left_out(run)}")
    return Finding(passed, summary)


def _left_out(run: Run) -> str:
    return f"left out: {', '.join(sorted(run.skipped))}"


def rated(run: Run) -> Finding:
    """Measure what the GPU can do."""
    if RATES in run.skipped:
        return Finding(False, _left_out(run))
    found = []
    run.progress.begin(RATES)
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
        if point.workload.op in run.skipped:
            continue
        for dtype in point.dtypes:
            run.progress.begin(point.workload.op)
            own = partial(_begin, run, point.workload.op)
            found = list(run_point(run.device, point, dtype, rates, own))
            for line in tables.point(found):
                run.echo(line)
            for measurement in found:
                run.book.append(_recorded(point, measurement, run.book))
            figures += sum(m.samples is not None for m in found)
            wrong += sum(_is_ours(m) and m.status == WRONG for m in found)
    return _found(run, wrong == 0, f"{figures} figures, {wrong} of ours wrong")


def _begin(run: Run, op: str, name: str) -> bool:
    """Note who is at an op; return whether they are not to be left out.

    A stranger that takes the GPU with it costs us nothing but its own figures.
    """
    what = op if name.startswith(OURS) else f"{op}{BY}{name}"
    if what in run.skipped:
        return False
    run.progress.begin(what)
    return True


def _is_ours(found: Measurement) -> bool:
    return found.implementation.startswith(OURS)


def _recorded(point: Point, found: Measurement, book: Book) -> dict[str, Any]:
    made = record(found, book.environment)
    return {**made, "definition": point.definition}


LEVELS = {"verify": "core", "extended": "extended", "long": "long"}
# First whether it is right, in under three minutes; what takes longest comes last.
PARTS = ("verify", RATES, *GRID, "extended", "long")


def run_part(run: Run, part: str) -> Finding:
    """Run a part, or return what it gave before."""
    earlier = run.book.finished(part)
    if earlier is not None:
        run.echo(f"{part}: done at {earlier['time']}: {earlier['summary']}")
        return Finding(earlier["passed"], earlier["summary"])
    run.echo(f"{part}:")
    start = time.perf_counter()
    try:
        found = _run(run, part)
    except LostError:
        raise
    except NoTimeError as error:
        found = Finding(False, str(error))
    except Exception as error:  # the other parts may still be of use
        assert_alive(run.device)
        found = Finding(False, raised(error))
    seconds = time.perf_counter() - start
    run.book.finish(part, passed=found.passed, summary=found.summary, seconds=seconds)
    word = "passed" if found.passed else "FAILED"
    run.echo(f"{part}: {word}, {found.summary}, {seconds:.0f} s")
    return found


def _run(run: Run, part: str) -> Finding:
    if part in LEVELS:
        return verified(run, LEVELS[part])
    if part == RATES:
        return rated(run)
    return timed(run, (run.grid or GRID)[part])
