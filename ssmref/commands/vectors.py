"""The command ``ssmref vectors``: cases as files, and the verdict on files."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .choice import DTYPES, check_known, chosen_cases
from .progress import with_progress

if TYPE_CHECKING:
    from ..conformance.vectors.strict import Reference


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def vectors() -> None:
    """Write cases as files, and judge outputs that are files.

    For programs that cannot be called: export, let them run, check. The format
    is described in docs/vectors.md.
    """


class _BadFileError(click.ClickException):
    exit_code = 2


@contextmanager
def _mistakes() -> Iterator[None]:
    """Turn what is wrong with files into one sentence and exit status 2."""
    from ..conformance.vectors.files import VectorError

    try:
        yield
    except VectorError as error:
        raise _BadFileError(str(error)) from error
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        raise _BadFileError(f"{name}{error.strerror}") from error


@vectors.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.ops
@options.ids
@options.levels
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(DTYPES),
    help="Precision; may be repeated.  [default: float32]",
)
@click.option(
    "--frozen",
    is_flag=True,
    help="Unpack the set that is frozen in this package; it has no other options.",
)
def export(
    folder: Path,
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    levels: tuple[str, ...],
    dtypes: tuple[str, ...],
    frozen: bool,
) -> None:
    """Write inputs, golden outputs and scales of cases into DIR.

    DIR has to be new or empty. Each case has a folder OP/FAMILY/SIZES/DTYPE.
    """
    from ..conformance.vectors.export import new_folder, unpack_frozen

    if frozen and (ops or ids or levels or dtypes):
        raise click.UsageError("--frozen is a set of its own: it has no other options")
    with _mistakes(), new_folder(folder) as root:
        if frozen:
            unpack_frozen(root)
        else:
            _export(root, ops, ids, levels, dtypes)
    click.echo(f"next: ssmref vectors check {shlex.quote(str(folder))} --outputs OUT")


def _export(
    root: Path,
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    levels: tuple[str, ...],
    dtypes: tuple[str, ...],
) -> None:
    from ..conformance.precision import dtype_of
    from ..conformance.vectors.export import write_set

    cases = chosen_cases(ops, ids, levels)
    unique = dict.fromkeys(dtypes or ("float32",))
    jobs = [(case, dtype_of(dtype)) for dtype in unique for case in cases]
    for case, dtype, written in with_progress(
        write_set(root, jobs), len(jobs), "writing"
    ):
        if not written:
            click.echo(f"left out, its numbers exceed {dtype}: {case.id}", err=True)


@vectors.command()
@click.argument(
    "folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--outputs",
    required=True,
    metavar="OUT",
    type=_FOLDER,
    help="The folder of OP/FAMILY/SIZES/DTYPE/OUTPUT.npy to judge.",
)
@options.ops
@options.ids
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Precision, where DIR has several.",
)
@options.written("--json", "json_path", "Also write every verdict.")
def check(
    folder: Path,
    outputs: Path,
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    dtype: str | None,
    json_path: Path | None,
) -> None:
    """Judge the outputs in OUT by the vectors in DIR alone.

    \b
    Exit status: 0 every case ran and passed, 1 a case failed, 2 a mistake in the
    command or a file that cannot be read, 3 nothing failed but outputs are missing.
    """  # noqa: D301 - \b is click's mark for text that is not to be wrapped
    from rich.console import Console

    from ..conformance.candidates import Candidate
    from ..conformance.report import document, terminal
    from ..conformance.report.outcome import outcome
    from ..conformance.report.results import Results
    from ..conformance.vectors.check import check as verdicts_on
    from ..conformance.vectors.stored import open_set
    from ..conformance.verdict import NOT_PROVIDED

    if json_path is not None and not json_path.absolute().parent.is_dir():
        raise click.UsageError(f"--json: {json_path.parent} is not a folder")
    with _mistakes():
        references = _select(open_set(folder), ops, ids, dtype)
        judged = verdicts_on(folder, references, outputs)
        verdicts = list(with_progress(judged, len(references)))
    words = f"vectors check {_quoted(folder)} --outputs {_quoted(outputs)}"
    results = Results(Candidate(words, {}), references[0].dtype, verdicts)
    terminal.show(Console(), results)
    if not any(v.findings or v.status != NOT_PROVIDED for v in verdicts):
        _say_where(references[0], outputs)
    if json_path is not None:
        with _mistakes():
            document.write_json(json_path, results)
    sys.exit(outcome(results).status)


def _say_where(reference: "Reference", outputs: Path) -> None:
    """Say what was looked for where nothing was found."""
    from ..conformance.vectors.folder import place
    from ..ops import OPS

    first = OPS[reference.id.split("/")[0]].outputs[0]
    there = [repr(path.name) for path in sorted(outputs.iterdir())[:3]]
    known = place(reference.id, reference.dtype)
    found = f"it has {', '.join(there)}" if there else "it is empty"
    words = f"no output of any case lies in OUT, as {known}/{first}.npy would; {found}"
    click.echo(words, err=True)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _select(
    references: "list[Reference]",
    ops: tuple[str, ...],
    ids: tuple[str, ...],
    dtype: str | None,
) -> "list[Reference]":
    check_known("--op", ops, {r.id.split("/")[0] for r in references})
    check_known("--case", ids, {r.id for r in references})
    dtypes = dict.fromkeys(r.dtype for r in references)
    if dtype is None and len(dtypes) > 1:
        several = ", ".join(dtypes)
        raise click.UsageError(f"DIR has {several}: say which by --dtype")
    wanted = [
        r
        for r in references
        if (not ops or r.id.split("/")[0] in ops)
        and (not ids or r.id in ids)
        and r.dtype == (dtype or r.dtype)
    ]
    if not wanted:
        raise click.UsageError("no case of DIR is left")
    return wanted


@vectors.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def freeze(file: Path) -> None:
    """Write the set that comes with the package to FILE.

    For its maintainers. It has the core cases in float32, without the largest.
    """
    from ..conformance.precision import dtype_of
    from ..conformance.vectors.export import freeze as write

    jobs = [(case, dtype_of("float32")) for case in chosen_cases((), (), ("core",))]
    with _mistakes():
        for _ in with_progress(write(file, jobs), len(jobs), "freezing"):
            pass
    click.echo(f"{file}: {file.stat().st_size} bytes")
