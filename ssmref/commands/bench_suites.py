"""The commands ``ssmref bench quick``, ``scaling`` and so on: one per suite."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..bench.budget import seconds_of
from ..bench.suites import SUITES, Choice, Suite, parse_lengths
from .bench_setup import begin, check_names, measured_rates, thread_count
from .bench_shown import Shown
from .choice import check_known
from .options import INTERRUPTED

if TYPE_CHECKING:
    from ..bench.book import Book
    from ..bench.sweep import Limits
    from ..bench.task import Task

SHORT = {"cpu": "ssmref.cpu", "golden": "ssmref.golden", "gpu": "ssmref.gpu"}
OUT = "bench_results"


@dataclass(frozen=True)
class Wishes:
    """What the user asked for."""

    seq_lens: str | None
    ops: str
    blocks: str
    impls: str
    dtype: str
    batch: int
    threads: int | None
    rounds: int | None
    budget: str | None
    limit: str | None
    out: Path
    fresh: bool


def commands() -> Iterator[click.Command]:
    """Return a command for every suite."""
    return map(_command, SUITES.values())


def _command(suite: Suite) -> click.Command:
    def callback(**wishes: object) -> None:
        run(suite, Wishes(**wishes))  # type: ignore[arg-type]

    return click.Command(
        suite.name,
        callback=callback,
        params=_options(suite),
        short_help=suite.purpose,
        help=f"{suite.purpose}\n\n{_HELP}",
    )


_HELP = """\
Every implementation computes in processes of its own, on as many CPUs as there are
threads. Nothing is shown that is not right: it is judged at small sizes, on the core
cases of the op, and on a sample of the result that is timed. What would not fit into
memory or time is predicted and not tried. Records are on the disk as soon as they are
known: the same command goes on where the last one was stopped.

\b
Exit status: 0 at least one figure was measured and nobody was wrong or crashed,
1 otherwise, 2 a mistake in the command, 130 stopped at the keyboard.
"""


def _options(suite: Suite) -> list[click.Parameter]:
    budget = _given(suite.budget) if suite.budget else "none"
    limit = _given(suite.limit)
    return [
        _text("--seq-lens", "LENGTHS", _LENGTHS_HELP.format(suite.lengths)),
        _text("--ops", "OPS", "Only these ops, separated by commas.", ""),
        _text("--blocks", "BLOCKS", "Only these blocks, separated by commas.", ""),
        _text("--impls", "NAMES", _IMPLS_HELP.format(suite.impls), suite.impls),
        click.Option(
            ["--dtype"],
            type=click.Choice(("float32", "float64")),
            default="float32",
            show_default=True,
        ),
        _count("--batch", "Sequences side by side.  [default: 1]", 1),
        _count("--threads", "Threads.  [default: all CPUs that may be used]"),
        _count("--rounds", f"How often each is timed.  [default: {suite.rounds}]"),
        _text(
            "--budget",
            "T",
            f"Time of all: 90s, 10m, 2h; compiling is extra.  [default: {budget}]",
        ),
        _text("--limit", "T", f"Time of one point.  [default: {limit}]"),
        click.Option(
            ["--out"],
            type=click.Path(file_okay=False, path_type=Path),
            default=OUT,
            metavar="DIR",
            show_default=True,
            help="Records go to <machine>/<date>-<commit>/ below this folder.",
        ),
        click.Option(["--fresh/--resume", "fresh"], help=_FRESH_HELP),
    ]


_LENGTHS_HELP = "Lengths: 1K,8K or 1K..1M or 1K..1Mx4.  [default: {}]"
_IMPLS_HELP = (
    "cpu, golden, gpu, a package of ops, peer or peer:NAME, separated by commas.  "
    "[default: {}]"
)
_FRESH_HELP = "Measure everything, or only what is not recorded yet.  [default: resume]"


def _given(seconds: float) -> str:
    """Return a time as users give it."""
    minutes, rest = divmod(seconds, 60)
    return f"{seconds:g}s" if rest else f"{minutes:g}m"


def _text(
    flag: str, metavar: str, words: str, default: str | None = None
) -> click.Option:
    return click.Option([flag], metavar=metavar, help=words, default=default)


def _count(flag: str, words: str, default: int | None = None) -> click.Option:
    return click.Option([flag], type=click.IntRange(min=1), help=words, default=default)


def run(suite: Suite, wishes: Wishes) -> None:
    """Measure a suite and show it; end with the exit status."""
    from rich.console import Console

    from ..bench.budget import Budget
    from ..bench.sweep import Sweep
    from ..bench.threads import limited

    names, wanted = _names(wishes.impls), _wanted(suite, wishes)
    count = thread_count(wishes.threads)
    total = _seconds("--budget", wishes.budget) or suite.budget
    point = _seconds("--limit", wishes.limit) or suite.limit
    path = _file(suite, wishes)
    console, budget = Console(), Budget(total, point)
    with limited(count) as done:
        book = _book(suite, wishes, count, path)
        begun = begin(path, book.setting.rates, count, done)
    book.environment_id = begun
    shown = Shown(console, book.setting, brief=suite.brief)
    limits = _limits(suite, wishes, budget)
    sweep = Sweep(book.setting, limits, book, on_progress=shown.progress)
    try:
        for found in sweep.run(wanted, names):
            shown.show(found, sweep.done, sweep.total)
    except KeyboardInterrupt:
        shown.close()
        click.echo(
            f"stopped: {sweep.done} of {sweep.total} points are recorded in {path}; "
            "the same command goes on there",
            err=True,
        )
        sys.exit(INTERRUPTED)
    finally:
        shown.close()
    shown.end(sweep.total, sweep.missing)
    more = f"a report of them: ssmref report {path} -o reports/{suite.name}"
    for line in (f"records: {path}", more):
        console.print(line, highlight=False, soft_wrap=True)
    sys.exit(shown.status(sweep.total))


def _names(given: str) -> tuple[str, ...]:
    names = tuple(SHORT.get(name, name) for name in _split(given))
    if not names:
        raise click.UsageError("--impls names nobody")
    check_names("--impls", names)
    return names


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _wanted(suite: Suite, wishes: Wishes) -> "list[tuple[Task, str]]":
    """Return what is to be measured, or name the mistake."""
    try:
        lengths = parse_lengths(wishes.seq_lens or suite.lengths)
    except ValueError as error:
        raise click.UsageError(f"--seq-lens: {error}") from error
    ops, blocks = _split(wishes.ops), _split(wishes.blocks)
    if ops or blocks:
        known = suite.names()
        own = [name for name in known if name.startswith("block.")]
        _check("--ops", suite, ops, [name for name in known if name not in own])
        _check("--blocks", suite, blocks, own)
    return suite.wanted(Choice(lengths, wishes.batch, ops, blocks))


def _check(option: str, suite: Suite, given: tuple[str, ...], known: list[str]) -> None:
    if given and not known:
        raise click.UsageError(f"{option}: {suite.name} has none")
    check_known(option, given, known)


def _seconds(option: str, text: str | None) -> float | None:
    try:
        return None if text is None else seconds_of(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from error


def _file(suite: Suite, wishes: Wishes) -> Path:
    """Return the file of the records; its folder is made, or the mistake is named."""
    from ..bench.book import choose_file

    path = choose_file(wishes.out, suite.name, fresh=wishes.fresh)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise click.UsageError(f"--out: {path}: {error.strerror}") from error
    return path


def _book(suite: Suite, wishes: Wishes, threads: int, path: Path) -> "Book":
    """Measure the machine; return the records that the sweep goes on with."""
    import numpy as np

    from ..bench.book import Book
    from ..bench.points import Setting
    from ..bench.records import RecordError

    dtype = np.dtype(wishes.dtype)
    try:
        Book(path, Setting(suite.name, dtype, threads, {}))
    except RecordError as error:
        raise click.UsageError(f"--out: {error}; --fresh begins a new file") from error
    more = {"repeats": suite.rate_repeats, "dtypes": (wishes.dtype,)}
    rates = measured_rates(threads, **more)
    return Book(path, Setting(suite.name, dtype, threads, rates))


def _limits(suite: Suite, wishes: Wishes, budget) -> "Limits":
    from ..bench import environment
    from ..bench.sweep import Limits

    return Limits(
        budget,
        rounds=wishes.rounds or suite.rounds,
        cache_bytes=environment.last_cache_bytes(),
        available_bytes=environment.available_bytes,
        warm_up=suite.warm_up,
    )
