"""``python -m ssmref.gpu.check``: see ``docs/gpu-check.md``."""

import sys
from collections.abc import Sequence

from .child import parser
from .guard import guarded


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check in a child; return 0 if all passed, 1 if not, 2 without a GPU."""
    words = sys.argv[1:] if arguments is None else arguments
    given = parser().parse_args(words)
    return guarded(words, minutes=given.minutes, silence=given.silence)


if __name__ == "__main__":
    sys.exit(main())
