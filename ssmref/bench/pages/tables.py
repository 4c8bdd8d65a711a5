"""Tables as data: shown as Markdown and as HTML from the same cells."""

from collections.abc import Sequence
from dataclasses import dataclass

# How a figure came about; the sign stands beside it, so that nothing depends on colour.
MARKS = {
    "measured": ("●", "measured on this machine"),
    "analytic": ("○", "from a formula: counted, not measured"),
    "quoted": ("❞", "quoted from a source"),
    "oom": ("✕", "OOM (predicted): more memory than there is; not attempted"),
    "timed out": ("◷", "timed out: the run's time was used up"),
    "none": (
        "\N{EN DASH}",
        "no figure; the reason is in the list of what was not measured",
    ),
}


@dataclass(frozen=True)
class Cell:
    """A text, and how the figure in it came about (a name in `MARKS`, or nothing).

    `kind` is for colours, `detail` says more where there is room, `link` is a source.
    """

    text: str
    mark: str = ""
    kind: str = ""
    detail: str = ""
    link: str = ""


@dataclass(frozen=True)
class Row:
    """A line; `tags` are what the filters of the page know it by."""

    head: str
    cells: Sequence[Cell]
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """A table with what has to be known to read it."""

    id: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""


def marked(cell: Cell) -> str:
    """Return the text of a cell with the sign of its provenance."""
    sign = MARKS[cell.mark][0] if cell.mark else ""
    if not sign or cell.text == sign:
        return cell.text or sign
    return f"{cell.text} {sign}".strip()


def legend(tables: Sequence[Table]) -> list[tuple[str, str]]:
    """Return the signs that are used, with their meanings."""
    used = {cell.mark for t in tables for row in t.rows for cell in row.cells}
    return [MARKS[mark] for mark in MARKS if mark in used]
