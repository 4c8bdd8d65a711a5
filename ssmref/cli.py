"""The ``ssmref`` command."""

import difflib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from .conformance.cases.case import Case

# A bar that flashes by helps nobody.
PATIENCE_SECONDS = 2.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ssmref")
def main() -> None:
    """Verify state space model kernels against golden NumPy references."""
    # As `python -m` does: a target may lie in the current folder.
    sys.path.insert(0, os.getcwd())


@main.command()
@click.argument("target", required=False)
@click.option(
    "--peer",
    metavar="NAME",
    help="Judge an installed library by its bundled adapter, for example transformers.",
)
@click.option(
    "--op",
    "ops",
    multiple=True,
    metavar="OP",
    help="Only this op, for example mamba2.ssd; may be repeated.",
)
@click.option(
    "--case",
    "ids",
    multiple=True,
    metavar="ID",
    help="Only this case; may be repeated. See `ssmref cases`.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Precision; the low ones keep parameters and states in float32.",
)
@click.option(
    "--json",
    "json_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write every verdict to this file.",
)
def verify(
    target: str | None,
    peer: str | None,
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    dtype: str,
    json_path: Path | None,
) -> None:
    """Judge TARGET, a `package.module` or `package.module:function`.

    \b
    A module offers an op by a function of its name: `ssd` or `mamba2_ssd` in
    TARGET, or `ssd` in TARGET.mamba2. It is called as the golden op is (see
    `ssmref cases`): the inputs by position, options by name, NumPy arrays in
    and out. An option that it does not have, or a NotImplementedError, counts
    as "not provided".

    \b
    Exit status: 0 every case ran and passed, 1 a case failed, 2 a mistake in the
    command, 3 nothing failed but not every case could be run.
    """  # noqa: D301 - \b is click's mark for text that is not to be wrapped
    # Here, so that --help and mistakes answer at once.
    from rich.console import Console

    from .conformance import report
    from .conformance.candidates import TargetError, load, load_peer
    from .conformance.precision import dtype_of
    from .conformance.run import verify as run

    if (target is None) == (peer is None):
        raise click.UsageError("give either TARGET or --peer NAME")
    _check_known("--op", ops, _all_ops())
    if json_path is not None and not json_path.absolute().parent.is_dir():
        raise click.UsageError(f"--json: {json_path.parent} is not a folder")
    try:
        candidate = load_peer(peer) if peer else load(str(target), ops)
    except TargetError as error:
        raise click.UsageError(str(error)) from error
    cases = _select(candidate.functions, ops, ids)
    verdicts = list(_with_progress(run(candidate, cases, dtype_of(dtype)), len(cases)))
    report.show(Console(), candidate, verdicts, dtype)
    if json_path is not None:
        try:
            report.write_json(json_path, candidate, verdicts, dtype)
        except OSError as error:
            raise click.FileError(str(json_path), str(error.strerror)) from error
    sys.exit(report.exit_status(verdicts))


@main.command()
@click.option("--op", "ops", multiple=True, metavar="OP", help="Only this op.")
def cases(ops: tuple[str, ...]) -> None:
    """List the cases: their ids and the mistakes that each can see."""
    from .conformance.catalogue import cases_of, covered_ops

    _check_known("--op", ops, covered_ops())
    for op in ops or covered_ops():
        click.echo(f"{op}{_signature(op)}")
        for case in cases_of(op):
            click.echo(f"  {case.id}\n      {case.reason}")


def _signature(op: str) -> str:
    import inspect

    from .ops import OPS, implementation

    parameters = inspect.signature(implementation(OPS[op], "ssmref.golden")).parameters
    bare = [p.replace(annotation=p.empty) for p in parameters.values()]
    return str(inspect.Signature(bare))


def _all_ops() -> list[str]:
    from .ops import OPS

    return list(OPS)


def _check_known(option: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
            hint = ", ".join(close)
            raise click.UsageError(f"{option} {name!r} is unknown; meant was: {hint}")


def _select(
    functions: Iterable[str], ops: tuple[str, ...], ids: tuple[str, ...]
) -> "list[Case]":
    """Return the cases of the ops that are offered and asked for, or raise."""
    from .conformance.catalogue import CASES, cases_of, covered_ops

    functions = list(functions)
    _check_known("--case", ids, CASES)
    wanted = ops or {CASES[i].op for i in ids} or functions
    for op in wanted:
        if op not in functions:
            offered = ", ".join(functions)
            raise click.UsageError(f"TARGET does not offer {op}; it offers: {offered}")
    judged = [op for op in covered_ops() if op in wanted]
    if without := [op for op in functions if op in wanted and op not in judged]:
        click.echo(f"not judged, no cases yet: {', '.join(without)}", err=True)
    chosen = [case for op in judged for case in cases_of(op)]
    chosen = [case for case in chosen if not ids or case.id in ids]
    if not chosen:
        raise click.UsageError("no case is left to run")
    return chosen


def _with_progress(
    verdicts: Iterable,
    total: int,
    console: "Console | None" = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator:
    """Pass verdicts on, with a bar on a terminal's error stream if it takes a while."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = console or Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    bar = Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    )
    task = bar.add_task("verifying", total=total)
    start = clock()
    try:
        for verdict in verdicts:
            bar.advance(task)
            if not bar.live.is_started and clock() - start > PATIENCE_SECONDS:
                bar.start()
            yield verdict
    finally:
        bar.stop()
