"""The command ``ssmref zoo``: whether the cases are able to see the bugs."""

import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .choice import check_known
from .margins import show_margins
from .progress import with_progress

if TYPE_CHECKING:
    from rich.table import Table

    from ..conformance.bugs.bug import Bug
    from ..conformance.bugs.score import Score


@click.command()
@click.option("--op", "ops", multiple=True, metavar="OP", help="Only bugs of this op.")
@click.option("--bug", "ids", multiple=True, metavar="ID", help="Only this bug.")
@click.option("--list", "only_list", is_flag=True, help="Describe the bugs, run none.")
@click.option(
    "--diagnose",
    is_flag=True,
    help="Also count the bugs that a verdict names; takes minutes.",
)
@click.option(
    "--margins",
    is_flag=True,
    help="Also run what is correct: false rejects, the room on both sides of the "
    "limit, and how long each level takes; takes minutes.",
)
@options.written("--json", "json_path", "Write every kill with its ratio.")
def zoo(
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    only_list: bool,
    diagnose: bool,
    margins: bool,
    json_path: Path | None,
) -> None:
    """Run every known bug, and count which the cases see.

    \b
    A bug is run as if it were somebody's implementation.
    A bug is killed by a core case that fails. The mutation score is the share of
    bugs, in each op that can have them, that at least one case kills.

    \b
    Exit status: 0 every bug is killed and none shows where it should be
    invisible, 1 otherwise, 2 a mistake in the command.
    """  # noqa: D301 - \b is click's mark for text that is not to be wrapped
    from rich.console import Console

    from ..conformance.bugs.score import pairs, scores
    from ..conformance.precision import dtype_of
    from ..ops import OPS

    check_known("--op", ops, OPS)
    if json_path is not None and not json_path.absolute().parent.is_dir():
        raise click.UsageError(f"--json: {json_path.parent} is not a folder")
    if only_list and (diagnose or json_path is not None):
        raise click.UsageError("--list runs nothing; leave out --diagnose and --json")
    bugs = _chosen(ids)
    if only_list:
        _describe([bug for bug in bugs if not ops or set(ops) & set(bug.ops)])
        return
    chosen = pairs(bugs, ops)
    if not chosen:
        raise click.UsageError("no bug is left to run")
    found = scores(chosen, dtype_of("float32"))
    results = list(with_progress(found, len(chosen), "bugs"))
    console = Console()
    for op in dict.fromkeys(r.op for r in results):
        console.print(_table(op, [r for r in results if r.op == op]))
    lines = [line for r in results for line in _kills(r)] if ids else []
    named = _named(results) if diagnose else []
    for line in [*lines, *_summary(results), *named]:
        console.print(line, soft_wrap=True, highlight=False)
    if margins:
        show_margins(console, results)
    if json_path is not None:
        _write(json_path, results)
    sys.exit(0 if all(r.kills and not r.leaks for r in results) else 1)


def _chosen(ids: tuple[str, ...]) -> "list[Bug]":
    from ..conformance.bugs.generic import GENERIC
    from ..conformance.bugs.zoo import BUGS

    known = BUGS | {bug.id: bug for bug in GENERIC}
    for name in ids:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = ", ".join(close) or "see `ssmref zoo --list`"
            raise click.UsageError(f"--bug {name!r} is unknown; meant was: {hint}")
    return [known[name] for name in ids or known]


def _describe(bugs: "Sequence[Bug]") -> None:
    for bug in bugs:
        click.echo(f"{bug.id}: {bug.wrong}")
        click.echo(f"    shows with: {bug.exposed_by}")
        click.echo(f"    fix: {bug.fix}")
        click.echo(f"    ops: {', '.join(bug.ops)}")
        for link in bug.links:
            click.echo(f"    {link}")


def _table(op: str, results: "Sequence[Score]") -> "Table":
    from rich.table import Table

    table = Table(title=f"{op}: {results[0].cases} cases, float32")
    table.add_column("bug", no_wrap=True, min_width=38)
    for column in ("killed by", "strongest", "weakest"):
        table.add_column(column, justify="right")
    for r in results:
        row = [r.bug.id, str(len(r.kills))]
        if r.kills:
            row += [f"{r.strongest[1]:.3g}", f"{r.weakest[1]:.3g}"]
        table.add_row(*row, style="red" if r.leaks or not r.kills else None)
    return table


def _kills(result: "Score") -> list[str]:
    """Return the cases that kill a bug, the strongest first."""
    ordered = sorted(result.kills.items(), key=lambda item: -item[1])
    return [f"  {ratio:9.3g}  {name}" for name, ratio in ordered]


def _summary(results: "Sequence[Score]") -> list[str]:
    killed = sum(bool(r.kills) for r in results)
    bugs = len({r.bug.id for r in results})
    lines = [
        f"{bugs} bugs in {len({r.op for r in results})} ops, {len(results)} in all",
        f"mutation score: {killed} of {len(results)} killed, "
        f"{100 * killed / len(results):.1f} %",
    ]
    for r in results:
        if not r.kills:
            lines.append(f"not killed: {r.bug.id} in {r.op}")
        if r.leaks:
            seen = ", ".join(r.leaks)
            lines.append(f"seen where it should not show: {r.bug.id}: {seen}")
    return lines


def _named(results: "Sequence[Score]") -> list[str]:
    """Run each documented bug as a stranger's module and count the right names."""
    from ..conformance.bugs.score import diagnosis_of, is_named
    from ..conformance.bugs.zoo import BUGS
    from ..conformance.precision import dtype_of

    asked = [r for r in results if r.bug.id in BUGS and r.kills]
    if not asked:
        return []
    found = (diagnosis_of(r.bug, r.op, dtype_of("float32")) for r in asked)
    conclusions = list(with_progress(found, len(asked), "diagnoses"))
    named = [is_named(r.bug, c) for r, c in zip(asked, conclusions, strict=True)]
    share = 100 * sum(named) / len(named)
    lines = [f"diagnosis: {sum(named)} of {len(named)} named, {share:.1f} %"]
    return lines + [
        f"not named: {r.bug.id} in {r.op}"
        for r, right in zip(asked, named, strict=True)
        if not right
    ]


def _write(path: Path, results: "Sequence[Score]") -> None:
    document = {"dtype": "float32", "bugs": [_record(r) for r in results]}
    try:
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise click.FileError(str(path), str(error.strerror)) from error


def _record(r: "Score") -> dict[str, Any]:
    """Return a score for JSON, where an infinite ratio is null."""
    kills = {name: v if v < float("inf") else None for name, v in r.kills.items()}
    return {
        "bug": r.bug.id,
        "op": r.op,
        "wrong": r.bug.wrong,
        "fix": r.bug.fix,
        "exposed_by": r.bug.exposed_by,
        "links": list(r.bug.links),
        "documented": list(r.bug.documented),
        "cases": r.cases,
        "exposed": r.exposed,
        "kills": kills,
        "leaks": sorted(r.leaks),
    }
