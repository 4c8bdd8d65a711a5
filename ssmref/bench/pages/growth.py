"""The section on what curves show: powers of length, crossings, steps at caches."""

from collections.abc import Iterator, Sequence
from typing import Any

from .curves import tags
from .findings import (
    Growth,
    Overtaking,
    cache_steps,
    growths,
    memory_series,
    overtakings,
    time_series,
    told,
)
from .fits import Step
from .points import Timing
from .section import KINDS, Section, in_order
from .series import Series, labels
from .sources import Run
from .tables import Cell, Row, Table
from .words import digits, of_bytes, of_length, of_power


def growth_section(run: Run) -> Iterator[Section]:
    """Yield powers of length, crossings with attention and steps at caches."""
    times = in_order(time_series(run, *KINDS))
    bytes_ = in_order(memory_series(run, *KINDS))
    made = (
        _powers(list(growths(times, bytes_))),
        _crossings(told(list(overtakings(times))), times),
        _steps(run, times),
    )
    tables = [table for table in made if table.rows]
    if tables:
        yield Section("growth", "Growth, crossings and caches", [], tables)


def _powers(found: Sequence[Growth]) -> Table:
    names = labels([g.subject for g in found])
    rows = [
        Row(f"{g.of}: {name}", _power_cells(g), tags(g.subject))
        for g, name in zip(found, names, strict=True)
    ]
    return Table(
        "powers-table",
        "With which power of length time and memory grow",
        ["", "power (95 % interval)", "lengths", "points"],
        rows,
        "Least squares of log value on log length over all lengths but the smallest, "
        "where fixed costs weigh most. With two points left there is no interval.",
    )


def _power_cells(g: Growth) -> list[Cell]:
    found = g.found
    return [
        Cell(of_power(found.power, found.low, found.high), g.provenance),
        Cell(f"{of_length(found.first)} to {of_length(found.last)}"),
        Cell(str(found.points)),
    ]


def _crossings(found: Sequence[Overtaking], times: Sequence[Series[Timing]]) -> Table:
    names = named(times)
    rows = [
        Row(
            names[id(o.other)],
            [
                Cell(names[id(o.attention)]),
                Cell(onset(o), "measured"),
                Cell(interval(o)),
                Cell(_lengths(o)),
            ],
            tags(o.other.subject),
        )
        for o in found
    ]
    return Table(
        "crossings-table",
        "Where attention is overtaken",
        ["", "against", "faster", "interval", "common lengths"],
        rows,
        "The crossing is read off straight lines between the medians, in the "
        "logarithms of time and length; its interval is where the quartiles cross. "
        "Compared are ops of one implementation, and with the fastest attention.",
    )


def named(series: Sequence[Series[Any]]) -> dict[int, str]:
    """Return the label of each series, by its identity."""
    found = labels([s.subject for s in series])
    return {id(s): name for s, name in zip(series, found, strict=True)}


def onset(o: Overtaking) -> str:
    """Say from which length on the other is faster."""
    if o.found is not None:
        return f"from {of_length(o.found.length)} tokens on"
    return "at every length" if o.ahead else "at no length"


def interval(o: Overtaking) -> str:
    """Say between which lengths the quartiles put the crossing."""
    if o.found is None:
        return ""
    low, high = o.found.low, o.found.high
    start = of_length(low) if low else f"below {of_length(o.lengths[0])}"
    end = of_length(high) if high else f"beyond {of_length(o.lengths[-1])}"
    changes = f"; they change places {o.found.changes} times"
    return f"{start} to {end}{changes if o.found.changes > 1 else ''}"


def _lengths(o: Overtaking) -> str:
    return f"{of_length(o.lengths[0])} to {of_length(o.lengths[-1])}"


def _steps(run: Run, times: Sequence[Series[Timing]]) -> Table:
    found = list(cache_steps(run, times))
    names = labels([s.subject for s in found])
    rows = [
        Row(
            name,
            [Cell(f"{s.cache}, {of_bytes(s.size)}"), _step_cell(s.found)],
            tags(s.subject),
        )
        for s, name in zip(found, names, strict=True)
    ]
    return Table(
        "caches-table",
        "Steps where the data of a call outgrow a cache",
        ["", "cache", "step in time"],
        rows,
        "A step is a rise of more than 1.1 times beyond the usual growth, even by the "
        "quartiles that show least of it. The data are inputs and outputs.",
    )


def _step_cell(found: Step | None) -> Cell:
    if found is None:
        return Cell("not seen", "measured")
    where = f"between {of_length(found.before)} and {of_length(found.after)} tokens"
    words = f"{digits(found.factor)} times beyond the usual growth, {where}"
    return Cell(words, "measured")
