"""What a run shows: ours, each peer, the yardstick and the limit, side by side."""

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .measure import Samples
from .rates import Rate, Rates
from .run import MEASURED, Measurement

HEADINGS = (
    *("median\nms", "quartiles\nms", "x peer", "x C"),
    *("% of\nlimit", "% of\ntriad", "verdict"),
)
YARDSTICK = "yardstick:c"
EXPLANATION = (
    "x peer, x C: time by that of the fastest peer, of yardstick:c; "
    "% of limit: the least time by the measured rates, by the time; "
    "% of triad: the time of a triad of as many bytes, by the time; "
    "both in the same rounds; "
    "verdict: pass, with the worst ratio of error to rounding, at most 30"
)


def is_other(name: str) -> bool:
    """Return whether this is what implementations are compared with."""
    return name.startswith(("peer:", "yardstick:"))


def best_peer(found: Sequence[Measurement]) -> Measurement | None:
    """Return the fastest of the peers that were timed."""
    timed = [m for m in found if m.samples and m.implementation.startswith("peer:")]
    return min(timed, key=_median, default=None)


def yardstick(found: Sequence[Measurement]) -> Measurement | None:
    """Return the C program that implementations are measured against, if timed."""
    return next((m for m in found if m.samples and m.implementation == YARDSTICK), None)


def _median(m: Measurement) -> float:
    return m.samples.median if m.samples else math.inf


def title(found: Sequence[Measurement]) -> str:
    """Return the workload, the limit and what sets it."""
    m = found[0]
    threads = "1 thread" if m.threads == 1 else f"{m.threads} threads"
    best = f"; limit {milliseconds(m.limit.seconds)} ms by {m.limit.binding}"
    note = f" ({m.workload.note})" if m.workload.note else ""
    return f"{m.workload.id}{note}, {m.dtype}, {threads}{best if m.limit.parts else ''}"


def cells(m: Measurement, found: Sequence[Measurement]) -> tuple[str, ...]:
    """Return the figures of one line, in the order of `HEADINGS`."""
    if m.status != MEASURED or m.samples is None:
        return *("-" * (len(HEADINGS) - 1)), m.status
    low, high = m.samples.quartiles
    verdict = f"pass {m.check.ratio:.2g}" if m.check else "-"
    return (
        milliseconds(m.samples.median),
        f"{milliseconds(low)}-{milliseconds(high)}",
        _ratio(m, best_peer(found)),
        _ratio(m, yardstick(found)),
        _percent(m.share),
        _percent(m.share_of_triad),
        verdict,
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _ratio(m: Measurement, other: Measurement | None) -> str:
    return f"{_median(m) / _median(other):.3g}" if other else "-"


def milliseconds(seconds: float) -> str:
    """Return milliseconds in three digits at least."""
    value = 1e3 * seconds
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def notes(found: Iterable[Measurement]) -> Iterator[str]:
    """Say why there is no time, or why one is to be read with care."""
    found = list(found)
    if words := rates_in_rounds(found):
        yield words
    for m in found:
        if m.reason:
            yield f"{m.implementation}: {m.status}: {m.reason}"
        if m.samples and m.samples.note:
            yield f"{m.implementation}: {m.samples.note}"
        if (m.share or 0.0) > 1.0:
            slower = "" if m.rates else "the machine was slower before, "
            yield (
                f"{m.implementation}: faster than the limit: {slower}the data stayed "
                "in caches, or stores went past them"
            )


def rates_in_rounds(found: Iterable[Measurement]) -> str:
    """Say what the machine could do in the rounds of these, nothing if unknown."""
    rates = next((m.rates for m in found if m.rates), {})
    parts = (f"{rate.name} {_with_quartiles(rate)}" for rate in rates.values())
    return f"rates in these rounds: {', '.join(parts)}" if rates else ""


def _with_quartiles(rate: Rate) -> str:
    low, high = (f"{speed / 1e9:.3g}" for speed in Samples(rate.samples).quartiles)
    return f"{rate.median / 1e9:.3g} ({low}-{high}) G{rate.unit}"


def table(found: Sequence[Measurement]) -> Table:
    """Return the table of one workload for a terminal.

    Columns in which nobody has a figure are left out.
    """
    made = _table(Text(title(found)))
    made.add_column("implementation", no_wrap=True)
    ordered = in_order(found)
    columns = [*zip(*(cells(m, found) for m in ordered), strict=True)]
    shown = [i for i, column in enumerate(columns) if {*column} != {"-"}]
    for i in shown:
        made.add_column(HEADINGS[i], justify="right", no_wrap=True)
    for m, *row in zip(ordered, *(columns[i] for i in shown), strict=True):
        style = None if m.status == MEASURED else "yellow"
        style = "red" if m.status == "wrong" else style
        made.add_row(m.implementation, *row, style=style)
    return made


def _table(words: str | Text) -> Table:
    return Table(
        title=words,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )


def in_order(found: Sequence[Measurement]) -> list[Measurement]:
    """Return ours first, then the others, the fastest first."""
    return sorted(found, key=lambda m: (is_other(m.implementation), _median(m)))


def growth(found: Iterable[Measurement]) -> Iterator[str]:
    """Say with which power of length the time of each op and implementation grows."""
    series: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for m in found:
        if m.samples and m.workload.group == "growth":
            key = (m.workload.op, m.workload.form, m.implementation)
            point = (m.workload.sizes["length"], m.samples.median)
            series.setdefault(key, []).append(point)
    for (op, form, name), points in series.items():
        if len(points) > 1:
            op = f"{op}_{form}" if form else op
            lengths = sorted(length for length, _ in points)
            yield (
                f"{op}, {name}: time grows as length to the power "
                f"{exponent(points):.3f} from {lengths[0]} to {lengths[-1]}"
            )


def exponent(points: Sequence[tuple[int, float]]) -> float:
    """Return the slope of the least-squares line through the logarithms."""
    x = [math.log(length) for length, _ in points]
    y = [math.log(seconds) for _, seconds in points]
    middle, level = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True))
    return above / sum((a - middle) ** 2 for a in x)


def rate_lines(rates: Rates) -> Iterator[tuple[str, str, str, str]]:
    """Return name, best, median and method of each rate."""
    for rate in rates.values():
        unit = f"G{rate.unit}" if rate.unit != "1/s" else "G/s"
        best, usual = rate.best / 1e9, rate.median / 1e9
        yield rate.name, f"{best:.4g} {unit}", f"{usual:.4g} {unit}", rate.method


def rate_table(rates: Rates) -> Table:
    """Return the rates of the machine for a terminal."""
    made = _table("rates of this machine")
    made.add_column("rate")
    made.add_column("best", justify="right")
    made.add_column("median", justify="right")
    made.add_column("method")
    for line in rate_lines(rates):
        made.add_row(*line)
    return made


def markdown(groups: Sequence[Sequence[Measurement]], rates: Rates) -> str:
    """Return the same tables for a repository."""
    lines = ["| rate | best | median | method |", "|---|---:|---:|---|"]
    lines += [f"| {' | '.join(line)} |" for line in rate_lines(rates)]
    for found in groups:
        lines += ["", f"**{title(found)}**", ""]
        lines.append(f"| implementation | {' | '.join(map(_cell, HEADINGS))} |")
        lines.append("|---" + "|---:" * len(HEADINGS) + "|")
        for m in in_order(found):
            row = (m.implementation, *cells(m, found))
            lines.append(f"| {' | '.join(map(_cell, row))} |")
        lines += ["", *(f"- {_cell(note)}" for note in notes(found))]
    every = [m for found in groups for m in found]
    lines += ["", *(f"- {line}" for line in growth(every)), "", EXPLANATION, ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
