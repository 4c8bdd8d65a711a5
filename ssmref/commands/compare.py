"""The command ``ssmref compare``: whether a run is faster or slower than another."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from ..bench.pages.compare import Compared
    from ..bench.pages.sources import Run
    from ..bench.pages.tables import Table

# As in bench.pages.compare, which --help does not load.
FAILURES = {
    "slower": ("slower", "no longer measured"),
    "ambiguous": ("ambiguous",),
    "faster": ("faster",),
}
# Characters of a name in a line, however narrow the terminal is.
FEWEST = 8


@click.command()
@click.argument("before", metavar="RUN_A", type=click.Path(path_type=Path))
@click.argument("after", metavar="RUN_B", type=click.Path(path_type=Path))
@click.option(
    "--margin",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Percent by which times may differ and still be the same.",
)
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(tuple(FAILURES)),
    help="End with status 1 if a point is so; may be repeated. What was measured in "
    "RUN_A and has no time in RUN_B (wrong, crashed, ...) counts as slower.",
)
@click.option(
    "--across-machines", is_flag=True, help="Compare though the machines differ."
)
@options.markdown
def compare(
    before: Path,
    after: Path,
    margin: float,
    fail_on: tuple[str, ...],
    across_machines: bool,
    markdown_path: Path | None,
) -> None:
    """Compare the times of two runs, point by point.

    RUN_A and RUN_B are files or folders of records; ratios are B by A. Points are
    compared only where both runs time the same by one definition.

    Exit status: 0 the runs were compared, 1 a point is what --fail-on names, 2 they
    cannot be compared, or a mistake in the command.
    """
    from ..bench.pages import compare as pages
    from ..bench.pages.sources import SourceError

    share = margin / 100
    try:
        first, second = _read(before), _read(after)
        warning = _warning(first, second, across_machines)
        found = pages.compare(first, second, share)
    except SourceError as error:
        raise click.UsageError(str(error)) from error
    made = pages.tables(found, share)
    if markdown_path is not None:
        _write(markdown_path, made, found, warning)
    _show(made, found, warning)
    failures = {verdict for name in fail_on for verdict in FAILURES[name]}
    sys.exit(int(any(p.verdict in failures for p in found.points)))


def _read(path: Path) -> "Run":
    from ..bench.pages.sources import read

    return read([path])


def _warning(first: "Run", second: "Run", across: bool) -> str:
    """Return what to say of different machines; refuse unless it was asked for."""
    from ..bench.pages.compare import different_machines
    from ..bench.pages.sources import SourceError

    difference = different_machines(first, second)
    if difference and not across:
        raise SourceError(
            f"the runs are of different machines ({difference}); "
            "--across-machines compares them all the same"
        )
    if not difference:
        return ""
    return f"WARNING: the runs are of different machines ({difference})."


def _show(made: "list[Table]", found: "Compared", warning: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Shown
    from rich.text import Text

    from ..bench.pages.compare import conclusion, notes

    console = Console()
    for table in made:
        shown = Shown(
            title=table.title, title_justify="left", box=SIMPLE_HEAD, padding=0
        )
        widths = _widths(table, console.width)
        for number, (column, width) in enumerate(
            zip(table.columns, widths, strict=True)
        ):
            side = "right" if number else "left"
            shown.add_column(column, overflow="fold", justify=side, width=width)
        for row in table.rows:
            cells = (Text(cell.text) for cell in row.cells)
            # The workload, and below it who has it.
            shown.add_row(Text(row.head.replace(", ", "\n", 1)), *cells)
        console.print(shown)
        console.print(table.note, soft_wrap=True, highlight=False, markup=False)
    for line in (*notes(found), warning, conclusion(found)):
        if line:
            console.print(line, soft_wrap=True, highlight=False, markup=False)


def _widths(table: "Table", console: int) -> list[int]:
    """Return the widths of the columns: what is too long for the first is folded."""
    figures = [max(map(len, column.split())) for column in table.columns[1:]]
    for row in table.rows:
        cells = (len(cell.text) for cell in row.cells)
        figures = [max(pair) for pair in zip(figures, cells, strict=True)]
    heads = [len(part) for row in table.rows for part in row.head.split(", ", 1)]
    left = console - sum(figures) - len(figures) - 2
    return [min(max(heads, default=1), max(left, FEWEST)), *figures]


def _write(path: Path, made: "list[Table]", found: "Compared", warning: str) -> None:
    from ..bench.pages.compare import conclusion, notes
    from ..bench.pages.markdown import escaped, table_lines

    lines = [escaped(conclusion(found)), ""]
    lines += [escaped(line) + "\n" for line in (warning, *notes(found)) if line]
    lines += [line for table in made for line in table_lines(table)]
    try:
        path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--markdown: {path}: {error.strerror}") from error
