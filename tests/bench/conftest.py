"""Micro-benchmarks run only where they are asked for: ``pytest -m bench``."""

import numpy as np
import pytest

from ssmref.bench.rates import Rate
from ssmref.bench.run import Settings


def pytest_collection_modifyitems(config, items):
    if "bench" in (config.option.markexpr or ""):
        return
    deselected = [item for item in items if item.get_closest_marker("bench")]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.fixture
def rates():
    """Made-up rates: 10 GB/s, 100 GFLOP/s."""
    made = {"triad": 1e10, "gemm_float32": 1e11, "gemm_float64": 1e11}
    made |= {"fma_float32": 1e11, "fma_float64": 1e11}
    return {
        name: Rate(name, "FLOP/s", "made up", (r / 2, r)) for name, r in made.items()
    }


@pytest.fixture
def settings(rates):
    return Settings(np.dtype(np.float32), 1, 2, rates, cache_bytes=2**12)


SCAN = """import time
import numpy as np
from ssmref.golden import mamba1
calls = []
def {op}(u, *args, **options):
    calls.append(u)
    y, state = mamba1.{op}(u, *args, **options)
    {rest}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that writes a package with one op, for processes of their own.

    `rest` is what it does with ``y, state`` of golden's, when called with u.
    """
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, rest, op="selective_scan"):
        (tmp_path / name).mkdir()
        _ = (tmp_path / name / "__init__.py").write_text("")
        text = SCAN.format(op=op, rest=rest)
        _ = (tmp_path / name / "mamba1.py").write_text(text)
        return name

    return write
