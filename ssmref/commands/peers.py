"""The command ``ssmref peers``: the verdicts on the bundled peers."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .choice import check_known
from .progress import with_progress

if TYPE_CHECKING:
    from ..conformance.adjudication import Run

# In a process of its own, the libraries being what they are: one would use the kernels
# of another where both can be imported.
COMMAND = (sys.executable, "-m", "ssmref", "verify")
# `ssmref verify` judged something, whatever the verdict.
JUDGED = (0, 1, 3)


@click.command()
@click.option(
    "--peer",
    "names",
    multiple=True,
    metavar="NAME",
    help="Only this peer; may be repeated.  [default: all]",
)
@options.dtype
@click.option(
    "--timeout",
    default=1200.0,
    metavar="SECONDS",
    show_default=True,
    help="How long one peer may take.",
)
@options.written("--out", "out_path", "Write Markdown to this file.")
@options.written("--json", "json_path", "Write all verdicts.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run nothing: join what --json wrote, here or elsewhere; may be repeated.",
)
def peers(
    names: tuple[str, ...],
    dtype: str,
    timeout: float,
    out_path: Path | None,
    json_path: Path | None,
    sources: tuple[Path, ...],
) -> None:
    """Judge every bundled library that is installed.

    Each runs in a process of its own. The report, in Markdown, goes to the file of
    --out or else to the terminal. Not all libraries can be installed together: run
    this where each is, with --json, then join the files with --from.

    Exit status: 0 the report was written, whatever it says, 2 a mistake in the command.
    """
    from ..conformance.adjudication import markdown, merged, write_runs
    from ..conformance.candidates import peer_names

    if sources and names:
        raise click.UsageError("--from runs nothing; leave out --peer")
    check_known("--peer", names, peer_names())
    for option, path in (("--out", out_path), ("--json", json_path)):
        if path is not None and not path.absolute().parent.is_dir():
            raise click.UsageError(f"{option}: {path.parent} is not a folder")
    chosen = names or tuple(peer_names())
    runs = merged(_read(sources) if sources else _run_all(chosen, dtype, timeout))
    try:
        if json_path is not None:
            write_runs(json_path, runs)
        _show(markdown(runs), out_path)
    except OSError as error:
        raise click.FileError(str(error.filename), str(error.strerror)) from error


def _show(text: str, path: Path | None) -> None:
    if path is None:
        click.echo(text, nl=False)
    else:
        path.write_text(text, encoding="utf-8")


def _read(sources: tuple[Path, ...]) -> "Iterator[Run]":
    from ..conformance.adjudication import RunsError, read_runs

    for path in sources:
        try:
            yield from read_runs(path)
        except RunsError as error:
            raise click.UsageError(f"--from: {error}") from error


def _run_all(names: tuple[str, ...], dtype: str, timeout: float) -> "list[Run]":
    runs = (_run(name, dtype, timeout) for name in names)
    return list(with_progress(runs, len(names), "judging peers"))


def _run(name: str, dtype: str, timeout: float) -> "Run":
    """Judge one peer; what goes wrong is the reason for there being no verdicts."""
    import json

    from ..conformance.adjudication import Run

    packages = _packages(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "verdicts.json"
        options = ("--peer", name, "--dtype", dtype, "--json", str(path))
        try:
            process = subprocess.run(
                (*COMMAND, *options), capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            return Run(name, packages, reason=f"took more than {timeout:g} s")
        if process.returncode in JUDGED and path.is_file():
            return Run(name, packages, json.loads(path.read_text(encoding="utf-8")))
    return Run(name, packages, reason=_reason(process.returncode, process.stderr))


def _reason(status: int, stderr: str) -> str:
    """Return the end of what a process wrote, without the words of click and Python."""
    last = (stderr.strip().splitlines() or [""])[-1]
    if status != 2:
        return f"`ssmref verify` ended with status {status}: {last}"
    return last.removeprefix("Error: ").rpartition("ImportError: ")[2]


def _packages(name: str) -> dict[str, str]:
    """Return the versions of the packages of a peer that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    from ..conformance.adjudication import PACKAGES

    found = {}
    for package in PACKAGES.get(name, (name,)):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
