"""Charts as data: drawn as static pictures and on the page from the same numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .tables import MARKS

Tags = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Trace:
    """A curve: `x`, `y`, and where there are samples their quartiles.

    `group` is what shares a colour, `style` what shares a mark. `hover` has a text for
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
    # Whether the legend names it: dashes and crosses belong to a curve that is named.
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


def colours(chart: Chart) -> dict[str, int]:
    """Return the number of the colour of each curve, by its name.

    Curves of a group share a colour; where there is one group only, those of a style.
    """
    every = [t for p in chart.panels for t in p.traces]
    groups, styles = (_numbers(t.group for t in every), styles_of(chart))
    if len(groups) > 1:
        return {t.name: groups[t.group] for t in every}
    return {t.name: styles[t.style] for t in every}


def styles_of(chart: Chart) -> dict[str, int]:
    """Return the number of each style, in the order of first appearance."""
    return _numbers(t.style for p in chart.panels for t in p.traces)


def _numbers(texts: Iterable[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(dict.fromkeys(texts))}
