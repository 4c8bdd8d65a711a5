"""The command ``ssmref bench``: how fast implementations are that are right."""

import difflib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .bench_setup import Line, begin, check_names, measured_rates, thread_count
from .bench_sizes import sizes as bench_sizes
from .bench_suites import commands
from .choice import check_known

if TYPE_CHECKING:
    from rich.console import Console

    from ..bench.run import Measurement, Settings
    from ..bench.workloads import Workload

# As in bench.workloads and bench.field, which --help does not load.
GROUPS = ("targets", "steps", "growth")
DEFAULT = ("ssmref.cpu", "peer", "yardstick:c", "yardstick:c:fresh")


@click.group()
def bench() -> None:
    """Measure implementations: verified first, then timed side by side."""


@bench.command()
@options.ops
@click.option(
    "--workload",
    "ids",
    multiple=True,
    metavar="ID",
    help="Only this workload, see --list; may be repeated.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    type=click.Choice(GROUPS),
    help="Workloads of this group; may be repeated.  [default: targets]",
)
@click.option(
    "--impl",
    "implementations",
    multiple=True,
    metavar="NAME",
    help="A package of ops (ssmref.cpu), peer:NAME, yardstick:c; may be repeated.  "
    "[default: ssmref.cpu, all peers that are installed, the C yardstick]",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="AXIS=N",
    help="Another size than the workload's, for example length=1024.",
)
@click.option(
    "--dtype",
    type=click.Choice(("float32", "float64")),
    default="float32",
    show_default=True,
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=11,
    show_default=True,
    help="How often everybody is timed.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of everybody.  [default: all CPUs that may be used]",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Append records below this folder, in <machine>/<date>-<commit>/ops.jsonl.",
)
@options.markdown
@click.option(
    "--list",
    "only_list",
    is_flag=True,
    help="List the workloads, of all groups unless one is named; run none.",
)
def ops(
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    groups: tuple[str, ...],
    implementations: tuple[str, ...],
    sizes: tuple[str, ...],
    dtype: str,
    rounds: int,
    threads: int | None,
    out: Path | None,
    markdown_path: Path | None,
    only_list: bool,
) -> None:
    """Time single ops at the sizes of published models.

    \b
    Nothing is timed that is not right: everybody is judged at small sizes and on a
    sample of the result that is timed, packages also on the core cases of the op.
    Rounds are interleaved. The limit is the least time that the op can take by rates
    of this machine that are measured in the same rounds.

    \b
    Exit status: 0 at least one time was measured and nobody was wrong, 1 otherwise,
    2 a mistake in the command.
    """  # noqa: D301 - \b is click's mark for text that is not to be wrapped
    from rich.console import Console

    from ..bench import report
    from ..bench.threads import limited

    check_names("--impl", implementations)
    groups = groups or (GROUPS if ids or only_list else GROUPS[:1])
    chosen = _resized(_chosen(ops, ids, groups), sizes)
    if only_list:
        _describe(chosen)
        return
    count = thread_count(threads)
    records = _record_file(out)
    _check_folder("--markdown", markdown_path)
    console, names = Console(), implementations or DEFAULT
    with limited(count) as done:
        settings = _settings(dtype, count, rounds)
        console.print(report.rate_table(settings.rates))
        written = begin(records, settings.rates, count, done)
        groups_found = [
            _show(console, _one(workload, names, settings, records, written))
            for workload in chosen
        ]
    every = [m for found in groups_found for m in found]
    for line in (*report.growth(every), report.EXPLANATION):
        console.print(line, soft_wrap=True, highlight=False)
    if markdown_path is not None:
        _write(markdown_path, report.markdown(groups_found, settings.rates))
    sys.exit(_status(every))


def _chosen(
    ops: tuple[str, ...], ids: tuple[str, ...], groups: tuple[str, ...]
) -> "list[Workload]":
    """Return the workloads of these ops, ids and groups."""
    from ..bench.workloads import WORKLOADS

    check_known("--op", ops, dict.fromkeys(w.op for w in WORKLOADS))
    _check_ids(ids, [w.id for w in WORKLOADS])
    found = [
        w
        for w in WORKLOADS
        if (not ops or w.op in ops) and (not ids or w.id in ids) and w.group in groups
    ]
    if not found:
        raise click.UsageError(f"no workload of {', '.join(groups)} is left")
    return found


def _check_ids(ids: tuple[str, ...], known: list[str]) -> None:
    for name in ids:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f"meant was: {', '.join(close)}" if close else "--list has them all"
            raise click.UsageError(f"--workload {name!r} is unknown; {hint}")


def _resized(chosen: "list[Workload]", given: tuple[str, ...]) -> "list[Workload]":
    sizes = dict(_size(text) for text in given)
    for axis in sizes:
        for workload in chosen:
            if axis not in workload.sizes:
                known = ", ".join(workload.sizes)
                raise click.UsageError(
                    f"--size {axis}: {workload.op} has no such axis; it has: {known}"
                )
    resized = [w.resized(**sizes) for w in chosen]
    return list({w.id: w for w in resized}.values())  # two may have become one


def _size(text: str) -> tuple[str, int]:
    axis, _, number = text.partition("=")
    if not number.isdecimal() or not int(number):
        raise click.UsageError(f"--size {text!r} needs an axis and a number: length=64")
    return axis, int(number)


def _describe(chosen: "Sequence[Workload]") -> None:
    width = max(len(w.id) for w in chosen)
    for w in chosen:
        click.echo(f"{w.id:{width}}  {w.group:7}  {w.note}".rstrip())


def _record_file(out: Path | None) -> Path | None:
    """Return the file of this run; its folder is made, or the mistake is named."""
    from ..bench.records import run_folder

    if out is None:
        return None
    folder = run_folder(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"--out: {folder}: {error.strerror}") from error
    return folder / "ops.jsonl"


def _check_folder(option: str, path: Path | None) -> None:
    if path is not None and not path.absolute().parent.is_dir():
        raise click.UsageError(f"{option}: {path.parent} is not a folder")


def _settings(dtype: str, threads: int, rounds: int) -> "Settings":
    """Measure the machine and return how to measure the ops."""
    import numpy as np

    from ..bench import environment
    from ..bench.run import Settings

    return Settings(
        *(np.dtype(dtype), threads, rounds, measured_rates(threads)),
        cache_bytes=environment.last_cache_bytes(),
        available_bytes=environment.available_bytes(),
    )


def _one(
    workload: "Workload",
    names: tuple[str, ...],
    settings: "Settings",
    records: Path | None,
    written: str,
) -> "Iterator[Measurement]":
    """Measure a workload; each measurement is on the disk before it is shown."""
    from dataclasses import replace

    from ..bench.race import race
    from ..bench.records import append
    from ..bench.run import record

    say = Line()
    for found in race(workload, names, replace(settings, on_step=say)):
        if records is not None:
            append(records, record(found, written))
        yield found
    say.done()


def _show(
    console: "Console", measurements: "Iterator[Measurement]"
) -> "list[Measurement]":
    from ..bench import report

    found = list(measurements)
    if not found:
        return found
    console.print(report.table(found))
    for note in report.notes(found):
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    console.print()
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(path), str(error.strerror)) from error


def _status(found: "Sequence[Measurement]") -> int:
    measured = any(m.samples for m in found)
    return 0 if measured and all(m.status != "wrong" for m in found) else 1


for command in (*commands(), bench_sizes):
    bench.add_command(command)
