"""Under which versions and on which machine verdicts were given."""

import platform
from datetime import UTC, datetime

import numpy as np

from ... import __version__
from ..vectors.manifest import VECTOR_SET


def versions() -> dict[str, str]:
    """Return the versions that a verdict depends on."""
    return {
        "ssmref": __version__,
        "vectors": VECTOR_SET,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def machine() -> str:
    """Return the kind of machine, without its name."""
    return f"{platform.system()} {platform.machine()}"


def now() -> str:
    """Return the time in UTC to the second, as in ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
