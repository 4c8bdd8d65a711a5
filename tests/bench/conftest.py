"""Micro-benchmarks run only where they are asked for: ``pytest -m bench``."""

import sys
from types import ModuleType

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


@pytest.fixture
def package(monkeypatch):
    """Return a function that makes a package with one op out of a function."""

    def make(name, function, module="mamba1", op="selective_scan"):
        whole, part = ModuleType(name), ModuleType(f"{name}.{module}")
        setattr(part, op, function)
        setattr(whole, op, function)
        monkeypatch.setitem(sys.modules, name, whole)
        monkeypatch.setitem(sys.modules, f"{name}.{module}", part)
        return name

    return make
