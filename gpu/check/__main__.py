"""``python -m ssmref.gpu.check``: see ``docs/gpu-check.md``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .book import Book
from .device import Gpu
from .parts import PARTS, Run, run_part

WRONG, NO_GPU = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; return 0 if all passed, 1 if one did not, 2 without a GPU."""
    given = _parser().parse_args(arguments)
    try:
        device = Gpu()
    except (ImportError, RuntimeError) as error:
        print(f"ssmref.gpu.check: {error}", file=sys.stderr)
        return NO_GPU
    book = Book(given.out, device)
    run = Run(device, book, lambda line: print(line, flush=True), again=given.again)
    print(f"{device.name}: {book.folder}")
    with device.stream:
        found = [run_part(run, part) for part in given.only or PARTS]
    return 0 if all(part.passed for part in found) else WRONG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ssmref.gpu.check",
        description="Verify and time the GPU ops on the GPU of this machine.",
        epilog="Exit status: 0 all passed, 1 something is wrong, 2 no GPU.",
    )
    _ = parser.add_argument(
        "--only",
        action="append",
        choices=PARTS,
        metavar="PART",
        help=f"run this part alone; may be repeated: {', '.join(PARTS)}",
    )
    _ = parser.add_argument(
        "--out",
        type=Path,
        default=Path("bench_results"),
        help="where records go (default: bench_results)",
    )
    _ = parser.add_argument(
        "--again", action="store_true", help="also run parts that have passed today"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
