"""The process that does the work; `guard` watches it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .book import Book
from .device import Gpu
from .guard import (
    AGAIN,
    LOST,
    MINUTES,
    NO_GPU,
    SILENCE_SECONDS,
    WRONG,
    LostError,
    Progress,
    end_with,
)
from .parts import PARTS, Run, run_part


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; return 0 if all passed, 1 if one did not, 2 without a GPU."""
    given = parser().parse_args(arguments)
    try:
        return _run(given)
    except LostError as error:
        print(f"ssmref.gpu.check: {error}", file=sys.stderr)
        return LOST


def _run(given: argparse.Namespace) -> int:
    try:
        device = Gpu()
    except (ImportError, RuntimeError) as error:
        print(f"ssmref.gpu.check: {error}", file=sys.stderr)
        return NO_GPU
    book, wanted = Book(given.out, device), given.only or PARTS
    if given.again:
        book.forget(wanted)
    run = Run(
        *(device, book, lambda line: print(line, flush=True)),
        skipped=frozenset(given.skip),
        progress=Progress(given.progress, given.minutes),
    )
    run.echo(f"{device.name}: {book.folder}, at most {given.minutes:.3g} minutes")
    with device.stream:
        found = [run_part(run, part) for part in wanted]
    return 0 if all(part.passed for part in found) else WRONG


def parser() -> argparse.ArgumentParser:
    """Return the options of the command, and those that its guard adds."""
    # Options are spelled out: the guard looks for one of them.
    made = argparse.ArgumentParser(
        prog="python -m ssmref.gpu.check",
        description="Verify and time the GPU ops on the GPU of this machine.",
        epilog="Exit status: 0 all passed, 1 wrong or not finished, 2 no GPU.",
        allow_abbrev=False,
    )
    _ = made.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        metavar="PART",
        help=f"run this part alone; may be repeated: {', '.join(PARTS)}",
    )
    _ = made.add_argument(
        "--out",
        type=Path,
        default=Path("bench_results"),
        help="where records go (default: bench_results)",
    )
    _ = made.add_argument(
        AGAIN, action="store_true", help="also run parts that have passed today"
    )
    _ = made.add_argument(
        "--skip",
        action="append",
        default=[],
        metavar="OP",
        help="leave an op out, as mamba2.ssd; its parts do not pass; may be repeated",
    )
    _limits(made)
    return made


def _limits(made: argparse.ArgumentParser) -> None:
    _ = made.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help="begin nothing later; the same command goes on (default: %(default)s)",
    )
    _ = made.add_argument(
        "--silence",
        type=float,
        default=SILENCE_SECONDS,
        metavar="SECONDS",
        help="what one op may take before it is given up (default: %(default)s)",
    )
    # Where this process says what it is at.
    _ = made.add_argument("--progress", type=Path, help=argparse.SUPPRESS)


if __name__ == "__main__":
    end_with(sys.stdin.fileno())
    sys.exit(main())
