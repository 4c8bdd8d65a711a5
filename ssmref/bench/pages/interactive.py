"""Charts as data for plotly, which the page draws; colours are the page's."""

import json
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .charts import Chart, Trace, colours, styles_of
from .static import COLOURS

_SYMBOLS = (
    *("circle", "square", "triangle-up", "diamond", "triangle-down", "pentagon"),
    *("star", "hexagon"),
)
_DASHES = {"analytic": "dash", "limit": "dot"}


def library() -> str:
    """Return the script that draws, whole."""
    return import_module("plotly.offline").get_plotlyjs()


def data(charts: Sequence[Chart]) -> str:
    """Return all charts as JSON that can stand in a script element."""
    text = json.dumps([_chart(chart) for chart in charts], allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _chart(chart: Chart) -> dict[str, Any]:
    numbers, styles = colours(chart), styles_of(chart)
    panels = [
        {
            "title": panel.title,
            "unit": panel.unit,
            "lines": [{"text": text, "y": y} for text, y in panel.lines],
        }
        for panel in chart.panels
    ]
    traces = [
        _trace(trace, number, numbers[trace.name], styles[trace.style])
        for number, panel in enumerate(chart.panels)
        for trace in panel.traces
    ]
    return {
        "id": chart.id,
        "title": chart.title,
        "x": {"title": chart.x_title, "unit": chart.x_unit, "ticks": _ticks(chart)},
        "panels": panels,
        "traces": _legend_once(traces),
    }


def _ticks(chart: Chart) -> list[float]:
    return sorted({x for p in chart.panels for t in p.traces for x in t.x if x > 0})


def _trace(trace: Trace, panel: int, colour: int, style: int) -> dict[str, Any]:
    """Return what plotly needs, and what the filters of the page do."""
    kind = trace.provenance
    symbol = _SYMBOLS[style % len(_SYMBOLS)]
    return {
        "name": trace.name,
        "x": list(trace.x),
        "y": list(trace.y),
        "low": list(trace.low),
        "high": list(trace.high),
        "text": list(trace.hover),
        "panel": panel,
        "colour": colour % len(COLOURS),
        "symbol": "x" if kind == "oom" else symbol,
        "hollow": kind == "analytic",
        "dash": _DASHES.get(kind, "solid"),
        "provenance": kind,
        "tags": dict(trace.tags),
        "legend": trace.shown,
    }


def _legend_once(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name each curve once, though it may be drawn in several panels."""
    seen: set[str] = set()
    for trace in traces:
        trace["legend"] = trace["legend"] and trace["name"] not in seen
        seen.add(trace["name"])
    return traces
