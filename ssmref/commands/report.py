"""The command ``ssmref report``: what runs of ``ssmref bench`` have shown."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..bench.pages.sources import Run

RESULTS = Path("bench_results")
NEEDED = ("matplotlib", "plotly", "scipy")


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUNS]...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    default=Path("reports/scaling"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Write README.md, index.html and the plots here.",
)
def report(runs: tuple[Path, ...], out: Path) -> None:
    """Write tables, plots and a page from what was measured.

    RUNS are files or folders of records; without one, the latest run below
    bench_results, of this machine if there is one. Of each point the latest record
    counts. README.md has tables and plots; index.html is one file that opens without a
    network.

    Exit status: 0 the report was written, 2 there is nothing to write, or a mistake
    in the command.
    """
    from ..bench.pages.build import OccupiedError, check_folder, write
    from ..bench.pages.build import report as build
    from ..bench.pages.sources import SourceError

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise click.UsageError(
            f"reports need {', '.join(missing)}: pip install 'ssmref[bench]'"
        )
    try:
        check_folder(out)
        run = _read(runs)
        click.echo(f"drawing {len(run.subjects)} points", err=True)
        write(out, build(run))
    except (SourceError, OccupiedError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        where = error.filename or out
        raise click.UsageError(f"{where}: {error.strerror}") from error
    click.echo(f"{out / 'README.md'}\n{out / 'index.html'}")


def _read(runs: tuple[Path, ...]) -> "Run":
    """Read what was named, or else the latest run; it has to be of one machine."""
    from ..bench.pages.sources import SourceError, latest, read

    if not runs and not RESULTS.is_dir():
        raise SourceError(
            f"there is no folder {RESULTS} here; name a run, or measure one: "
            "ssmref bench quick"
        )
    run = read(runs or (latest(RESULTS),))
    if len(run.machines) > 1:
        cpus = "; ".join(sorted(run.machines.values()))
        raise SourceError(
            f"the records are of {len(run.machines)} machines ({cpus}): write a report "
            "for each"
        )
    return run
