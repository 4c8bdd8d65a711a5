"""Without a GPU: the ops of `ssmref.gpu` run on the host runtime in `host/`."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hostcupy.module import installed
from ssmref.gpu._launch import KERNELS, Kernel
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


@pytest.fixture
def with_fault(request, tmp_path, monkeypatch):
    """Put a fault into a kernel file, for those PROGRAMS of a test file's that read it.

    Each of them is a module of ours and a name in it.
    """

    def change(file, right, wrong):
        text = (KERNELS / file).read_text()
        assert text.count(right) == 1
        _ = (tmp_path / file).write_text(text.replace(right, wrong))
        for module, name in request.module.PROGRAMS:
            faulty = replace(getattr(module, name), folder=tmp_path)
            monkeypatch.setattr(module, name, faulty)

    return change
