"""Charts as files, SVG and PNG: the same records always give the same bytes."""

import io
import math
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from .charts import Chart, Panel, Trace, colours, styles_of
from .words import of_bytes, of_count, of_length, of_seconds

# Okabe and Ito: told apart by people who see colours differently.
COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#e69f00"),
    *("#555555",),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = {"analytic": (0, (4, 2)), "limit": (0, (1, 2)), "oom": (0, (0, 1))}
_SETTINGS = {
    "svg.hashsalt": "ssmref",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6e9",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_UNITS = {
    "s": of_seconds,
    "B": of_bytes,
    "tokens/s": of_count,
    "length": of_length,
    "count": lambda value: f"{value:g}",
    "": lambda value: f"{value:g}",
}
# A panel alone, and one of several.
_WIDTH, _HEIGHT, _LOW = 9.0, 3.8, 2.6
# The height of a line of a legend, and the longest label of which two are side by side.
_LINE, _SHORT = 0.18, 58


def pictures(charts: Sequence[Chart]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of two files for each chart."""
    matplotlib = import_module("matplotlib")
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS}):
        for chart in charts:
            figure = _figure(chart)
            for kind, metadata in (("svg", {"Date": None}), ("png", {})):
                file = io.BytesIO()
                figure.savefig(
                    file, format=kind, dpi=110, metadata={**metadata, **_author(kind)}
                )
                yield f"{chart.id}.{kind}", file.getvalue()


def _author(kind: str) -> dict[str, None]:
    """Take out what names the version that has drawn it."""
    return {"Creator": None} if kind == "svg" else {"Software": None}


def _figure(chart: Chart) -> Any:
    count = len(chart.panels)
    tall = _HEIGHT if count == 1 else _LOW * count
    figure = import_module("matplotlib.figure").Figure((_WIDTH, tall))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(grid, chart.panels, strict=True):
        _panel(axes, panel, chart)
    _ticks(grid[-1], chart)
    grid[0].set_title(chart.title, loc="left", fontweight="bold")
    handles, labels = _entries(grid)
    if labels:
        columns = 2 if max(map(len, labels)) <= _SHORT else 1
        lines = math.ceil(len(labels) / columns)
        figure.set_size_inches(_WIDTH, tall + _LINE * lines)
        place = {"loc": "outside lower left", "ncols": columns}
        figure.legend(handles, labels, fontsize=8, **place)
    return figure


def _entries(grid: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Return each name of a legend once, for all panels."""
    once: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            once.setdefault(label, handle)
    return list(once.values()), list(once)


def _panel(axes: Any, panel: Panel, chart: Chart) -> None:
    numbers, styles = colours(chart), styles_of(chart)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2 if panel.unit == "B" else 10)
    for trace in panel.traces:
        colour = COLOURS[numbers[trace.name] % len(COLOURS)]
        _draw(axes, trace, colour, _MARKERS[styles[trace.style] % len(_MARKERS)])
    for words, value in panel.lines:
        axes.axhline(value, color="#555555", linestyle=(0, (6, 3)), label=words, lw=1)
    axes.set_ylabel(panel.title)
    words = _UNITS[panel.unit]
    axes.yaxis.set_major_formatter(lambda value, _: short(words(value)))
    _few_ticks(axes, panel.unit)


def short(text: str) -> str:
    """Return a number for an axis: without zeros at the end of its fraction."""
    return re.sub(r"(\.\d*?)0+(?=\D|$)", lambda found: found[1].rstrip("."), text)


def _few_ticks(axes: Any, unit: str) -> None:
    """Label steps between powers of ten where there are few powers."""
    low, high = axes.get_ylim()
    ticker = import_module("matplotlib.ticker")
    if unit != "B" and math.log10(high / low) < 2:
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _draw(axes: Any, trace: Trace, colour: str, marker: str) -> None:
    kind = trace.provenance
    hollow = kind in ("analytic", "oom")
    axes.plot(
        trace.x,
        trace.y,
        label=trace.name if trace.shown else "",
        color=colour,
        linestyle=_DASHES.get(kind, "-"),
        linewidth=1.0 if kind == "limit" else 1.5,
        marker={"limit": "", "oom": "x"}.get(kind, marker),
        markersize=7 if kind == "oom" else 4.5,
        markerfacecolor="white" if hollow else colour,
    )
    if len(trace.low):
        axes.fill_between(trace.x, trace.low, trace.high, color=colour, alpha=0.2, lw=0)


def _ticks(axes: Any, chart: Chart) -> None:
    """Put a tick where points are, as long as the labels do not touch."""
    axes.set_xlabel(chart.x_title)
    ticker = import_module("matplotlib.ticker")
    places = sorted({x for p in chart.panels for t in p.traces for x in t.x if x > 0})
    every = math.ceil(len(places) / 12)
    axes.xaxis.set_major_locator(ticker.FixedLocator(places[::every]))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    words = _UNITS[chart.x_unit]
    axes.xaxis.set_major_formatter(lambda value, _: words(value))
