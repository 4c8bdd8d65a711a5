"""Without a GPU: the ops of `ssmref.gpu` run on the host runtime in `host/`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hostcupy.module import installed
from ssmref.gpu._launch import Kernel
from support.gate import check_shared


@pytest.fixture(autouse=True)
def _launches_within_budget(monkeypatch):
    """Let no launch of any test take more shared memory than its budget says."""
    original = Kernel.__call__

    def launch(self, grid, block, args, *, shared=0):
        check_shared(self, shared)
        original(self, grid, block, args, shared=shared)

    monkeypatch.setattr(Kernel, "__call__", launch)


@pytest.fixture(autouse=True)
def cupy():
    """CuPy's stand-in, as the ops import it."""
    with installed() as module:
        yield module
