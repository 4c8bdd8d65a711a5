"""Without a GPU: the ops of `ssmref.gpu` run on the host runtime in `host/`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hostcupy.module import installed


@pytest.fixture(autouse=True)
def cupy():
    """CuPy's stand-in, as the ops import it."""
    with installed() as module:
        yield module
