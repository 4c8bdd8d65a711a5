"""Charts as data: drawn as static pictures and on the page from the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from .tables import MARKS

Tags = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Trace:
    """A curve: `x`, `y`, and where there are samples their quartiles.

    `group` is what shares a colour, `style` what shares a line. `hover` has a text for
    each point.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    hover: Sequence[str]
    group: str
    tags: Tags
    style: str = ""
    provenance: str = "measured"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    # Whether the legend names it; dashes and crosses share the line of what they go with.
    shown: bool = True

    def __post_init__(self) -> None:
        """Refuse what would be drawn wrongly."""
        sizes = {len(self.x), len(self.y), len(self.hover)}
        sizes |= {len(b) for b in (self.low, self.high) if len(b)}
        if len(sizes) != 1 or self.provenance not in (*MARKS, "limit"):
            raise ValueError(f"{self.name}: {sizes}, {self.provenance}")


@dataclass(frozen=True)
class Panel:
    """One pair of axes; all panels of a chart share the horizontal one.

    `unit` is how numbers are written: "s", "B", "tokens/s" or nothing.
    """

    title: str
    unit: str
    traces: Sequence[Trace]
    lines: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Chart:
    """Panels above one another, with a title and a sentence on how to read them."""

    id: str
    title: str
    x_title: str
    panels: Sequence[Panel]
    note: str = ""
    x_unit: str = "length"

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(len(t.x) for p in self.panels for t in p.traces)


def names(chart: Chart, attribute: str) -> list[str]:
    """Return the groups or styles of a chart, in the order of first appearance."""
    every = (getattr(t, attribute) for p in chart.panels for t in p.traces)
    return list(dict.fromkeys(every))
