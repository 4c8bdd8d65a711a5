"""The report for a repository: tables in Markdown, plots as pictures beside it."""

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from .charts import Chart
from .section import Section
from .tables import Cell, Row, Table, legend, marked

# The file carries it, so that no file of somebody else is ever written over.
MARKER = "<!-- written by ssmref report -->"


def markdown(title: str, sentences: Sequence[str], sections: Sequence[Section]) -> str:
    """Return the file."""
    lines = [
        MARKER,
        "",
        f"# {escaped(title)}",
        "",
        *(f"- {escaped(sentence)}" for sentence in sentences),
        "",
        "[index.html](index.html) has the same figures on one interactive page; it "
        "opens without a network.",
        "",
        *_legend(sections),
    ]
    for section in sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _legend(sections: Sequence[Section]) -> list[str]:
    tables = [table for section in sections for table in section.tables]
    words = ", ".join(f"{sign} {meaning}" for sign, meaning in legend(tables))
    return [f"Signs: {words}.", ""] if words else []


def _section(section: Section) -> Iterator[str]:
    yield from (f"## {escaped(section.title)}", "")
    if section.text:
        yield from (escaped(section.text), "")
    for chart in section.charts:
        yield from _chart(chart)
    for table in section.tables:
        yield from table_lines(table)


def _chart(chart: Chart) -> Iterator[str]:
    yield from (f"![{escaped(chart.title)}]({quote(chart.id)}.svg)", "")
    if chart.note:
        yield from (escaped(chart.note), "")


def table_lines(table: Table) -> Iterator[str]:
    """Yield the lines of a table with its title and note."""
    yield from (f"**{escaped(table.title)}**", "")
    yield _line(map(escaped, table.columns))
    yield "|---" + "|---:" * (len(table.columns) - 1) + "|"
    yield from (_row(row) for row in table.rows)
    yield ""
    if table.note:
        yield from (escaped(table.note), "")


def _row(row: Row) -> str:
    return _line((escaped(row.head), *map(_cell, row.cells)))


def _cell(cell: Cell) -> str:
    text = escaped(marked(cell))
    return f"[{text}]({cell.link})" if cell.link else text


def _line(cells: Iterator[str] | Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, within a table too."""
    text = " ".join(text.split())
    for sign in "\\|*_`[]<>":
        text = text.replace(sign, f"\\{sign}")
    return text
