"""The command ``ssmref verify``: the verdict on an implementation."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .choice import DTYPES, TF32, check_known, chosen_cases, refuse_as_tf32
from .guard import watched
from .progress import with_progress

if TYPE_CHECKING:
    from ..conformance.candidates import Candidate
    from ..conformance.cases.case import Case
    from ..conformance.expected import Expectation
    from ..conformance.report.results import Results
    from ..conformance.verdict import Verdict

# The ops of the stages of chunked algorithms are for those who look for a bug.
STAGES = "stages."


@click.command()
@click.argument("target", required=False)
@click.option(
    "--peer",
    metavar="NAME",
    help="Judge an installed library by its bundled adapter, for example transformers.",
)
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="Judge a program, for example './my_ssd {in} {out}'; needs --op.",
)
@click.option(
    "--timeout",
    default=60.0,
    metavar="SECONDS",
    show_default=True,
    help="With --exec: how long the program may take on one case.",
)
@options.ops
@options.ids
@options.levels
@click.option(
    "--stages",
    is_flag=True,
    help="Also judge the stages of chunked algorithms, to find where a bug is.",
)
@click.option(
    "--dtype",
    type=click.Choice((*DTYPES, TF32)),
    default="float32",
    show_default=True,
    help="Precision; the low ones keep parameters and states in float32. tf32: arrays "
    "in float32, of which ops that are products of tiles use 11 bits.",
)
@click.option(
    "--require",
    "required",
    multiple=True,
    metavar="OP",
    help="Fail unless this op is provided completely; may be repeated. "
    "Others may then be incomplete.",
)
@click.option(
    "--expected",
    "expected_path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of expected failures ([[expected]] case, reason, link, dtype); "
    "an entry that was not run fails.",
)
@options.written("--json", "json_path", "Write every verdict.")
@options.written("--junit", "junit_path", "Write JUnit XML.")
@options.written("--html", "html_path", "Write one page, all in it.")
def verify(
    target: str | None,
    peer: str | None,
    command: str | None,
    timeout: float,
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    levels: tuple[str, ...],
    stages: bool,
    dtype: str,
    required: tuple[str, ...],
    expected_path: Path | None,
    json_path: Path | None,
    junit_path: Path | None,
    html_path: Path | None,
) -> None:
    """Judge TARGET, a `package.module` or `package.module:function`.

    \b
    A module offers an op by a function of its name: `ssd` or `mamba2_ssd` in
    TARGET, or `ssd` in TARGET.mamba2. It is called as the golden op is (see
    `ssmref cases`): the inputs by position, options by name, NumPy arrays in
    and out. An option that it does not have, or a NotImplementedError, counts
    as "not provided".

    \b
    Exit status: 0 every case ran and passed, or failed as expected; 1 a case
    failed, passed against expectation, or is required and not provided; 2 a
    mistake in the command; 3 nothing failed but not every case could be run;
    130 interrupted, which shows what ran.
    """  # noqa: D301 - \b is click's mark for text that is not to be wrapped
    # Here and below, so that --help and mistakes answer at once.
    from rich.console import Console

    from ..conformance.report.outcome import outcome
    from ..conformance.report.terminal import show
    from ..ops import OPS

    for option, names in (("--op", ops), ("--require", required)):
        check_known(option, names, OPS)
    for option, path in (
        ("--json", json_path),
        ("--junit", junit_path),
        ("--html", html_path),
    ):
        _check_writable(option, path)
    expectations = _expectations(expected_path)
    candidate = _candidate(target, peer, command, ops, ids, timeout)
    cases = _select(candidate.functions, ops, ids, levels, stages, dtype)
    results = _run(candidate, cases, dtype, required, expectations)
    show(Console(), results)
    _write(results, json_path, junit_path, html_path)
    cut_short = len(results.verdicts) < len(cases)
    sys.exit(options.INTERRUPTED if cut_short else outcome(results).status)


def _check_writable(option: str, path: Path | None) -> None:
    if path is not None and not path.absolute().parent.is_dir():
        raise click.UsageError(f"{option}: {path.parent} is not a folder")


def _expectations(path: Path | None) -> "tuple[Expectation, ...]":
    from ..conformance.expected import ExpectationError, load

    try:
        return load(path) if path else ()
    except ExpectationError as error:
        raise click.UsageError(f"--expected: {error}") from error


def _candidate(
    target: str | None,
    peer: str | None,
    command: str | None,
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    timeout: float,
) -> "Candidate":
    from ..conformance.candidates import TargetError, load, load_peer
    from ..conformance.programs import program

    if sum(given is not None for given in (target, peer, command)) != 1:
        raise click.UsageError("give one of TARGET, --peer NAME and --exec COMMAND")
    try:
        if command is not None:
            return program(command, ops or _ops_of(ids), timeout)
        return load_peer(peer) if peer is not None else load(str(target), ops)
    except TargetError as error:
        raise click.UsageError(str(error)) from error


def _ops_of(ids: tuple[str, ...]) -> tuple[str, ...]:
    from ..conformance.catalogue import ALL_CASES

    check_known("--case", ids, ALL_CASES)
    return tuple(dict.fromkeys(ALL_CASES[case_id].op for case_id in ids))


def _select(
    functions: Iterable[str],
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    levels: tuple[str, ...],
    stages: bool,
    dtype: str,
) -> "list[Case]":
    """Return the cases of the ops that are offered and asked for, or raise."""
    from ..conformance.catalogue import ALL_CASES, covered_ops
    from ..conformance.precision import dtype_of
    from ..conformance.vectors.export import fits

    offered = list(functions)
    for op in ops:
        if op not in offered:
            given = ", ".join(offered)
            raise click.UsageError(f"TARGET does not offer {op}; it offers: {given}")
    check_known("--case", ids, ALL_CASES)
    wanted = ops or [o for o in offered if stages or ids or not o.startswith(STAGES)]
    if dtype == TF32:
        wanted = _multiplying(wanted, (*ops, *(ALL_CASES[i].op for i in ids)))
    if without := [op for op in wanted if op not in covered_ops()]:
        click.echo(f"not judged, no cases yet: {', '.join(without)}", err=True)
    chosen = [c for c in chosen_cases((), ids, levels) if c.op in wanted]
    narrow = dtype == "float16"  # the others hold every case
    fitting = [c for c in chosen if not narrow or fits(c, dtype_of(dtype))]
    if len(fitting) < len(chosen):
        left = len(chosen) - len(fitting)
        click.echo(f"left out, too large for {dtype}: {left} cases", err=True)
    if not fitting:
        raise click.UsageError("no case is left to run")
    return fitting


def _multiplying(offered: Sequence[str], named: Sequence[str]) -> list[str]:
    """Return the ops that TF32 is for; those that the user named have to be."""
    from ..conformance.precision import MULTIPLYING

    refuse_as_tf32(named)
    kept = [op for op in offered if op in MULTIPLYING]
    if not kept:
        refuse_as_tf32(offered)
    if len(kept) < len(offered):
        left = len(offered) - len(kept)
        click.echo(f"left out, no products of tiles for tf32: {left} ops", err=True)
    return kept


def _run(
    candidate: "Candidate",
    cases: "list[Case]",
    dtype: str,
    required: tuple[str, ...],
    expectations: "tuple[Expectation, ...]",
) -> "Results":
    from ..conformance.expected import apply
    from ..conformance.precision import judged_as
    from ..conformance.report.results import Results
    from ..conformance.run import verify as run

    with judged_as(dtype) as own, watched():
        verdicts = _until_interrupted(run(candidate, cases, own), cases)
    verdicts = list(apply(verdicts, expectations))
    return Results(candidate, dtype, verdicts, required, expectations)


def _until_interrupted(
    found: "Iterator[Verdict]", cases: "list[Case]"
) -> "list[Verdict]":
    """Return the verdicts, or those up to where the user lost patience."""
    verdicts = []
    try:
        for verdict in with_progress(found, len(cases)):
            verdicts.append(verdict)
            if "ran longer than" in verdict.message and not sys.stderr.isatty():
                click.echo(f"{verdict.case.id}: {verdict.message}", err=True)
    except KeyboardInterrupt:
        left = len(cases) - len(verdicts)
        running = cases[len(verdicts)].id
        click.echo(f"interrupted in {running}; {left} cases were not run", err=True)
    return verdicts


def _write(
    results: "Results", json: Path | None, junit: Path | None, html: Path | None
) -> None:
    from ..conformance.report.document import write_json
    from ..conformance.report.junit import write_junit
    from ..conformance.report.page import write_html

    for path, write in ((json, write_json), (junit, write_junit), (html, write_html)):
        if path is None:
            continue
        try:
            write(path, results)
        except OSError as error:
            raise click.FileError(str(path), str(error.strerror)) from error
