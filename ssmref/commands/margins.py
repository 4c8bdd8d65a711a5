"""What `ssmref zoo --margins` prints: correct runs below the limit, bugs above it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .progress import with_progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..conformance.bugs.score import Score
    from ..conformance.margins import Margin


def show_margins(console: "Console", results: "Sequence[Score]") -> None:
    """Run every correct form of the ops that have results, and print the figures."""
    from ..conformance.margins import margin, seconds

    ops = list(dict.fromkeys(r.op for r in results))
    found = list(with_progress(map(margin, ops), len(ops), "correct runs"))
    console.print(_table(found, results))
    runs, rejected = sum(m.runs for m in found), sum(m.rejected for m in found)
    console.print(f"false rejects: {rejected} of {runs} correct runs", highlight=False)
    for level, (cases, taken) in seconds().items():
        line = f"level {level}: {cases} cases, golden takes {taken:.1f} s in float32"
        console.print(line, highlight=False)


def _table(margins: "Sequence[Margin]", results: "Sequence[Score]") -> "Table":
    from rich.table import Table

    from ..conformance.bugs.zoo import BUGS
    from ..conformance.catalogue import cases_of
    from ..conformance.margins import DTYPES

    table = Table(title="worst correct ratio, weakest bug (by its strongest case)")
    table.add_column("op", no_wrap=True)
    for column in ("cases", *DTYPES, "weakest bug"):
        table.add_column(column, justify="right", no_wrap=True)
    for m in margins:
        kills = [r for r in results if r.op == m.op and r.kills and r.bug.id in BUGS]
        weakest = min((r.strongest[1] for r in kills), default=None)
        above = "-" if weakest is None else f"{weakest:.2g}"
        worst = [f"{m.worst[name]:.2g}" for name in DTYPES]
        table.add_row(m.op, str(len(cases_of(m.op))), *worst, above)
    return table
