import math
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest

from ssmref.bench import rates
from ssmref.bench.contender import UnavailableError

SMALL = {"repeats": 2, "triad_bytes": 2**16, "gemm_sizes": (16, 32), "seconds": 1e-4}


def unavailable(_):
    raise UnavailableError("no compiler")


def no_kernel():
    raise ImportError("no Numba")


def check(found):
    names = [rate.name for rate in found]
    assert len(names) == len(set(names))
    for rate in found:
        assert len(rate.samples) == 2
        assert all(0 < s < math.inf for s in rate.samples)
        assert rate.median <= rate.best == max(rate.samples)
    return set(names)


NEEDED = {"triad", "gemm_float32", "gemm_float64", "exp_numpy"}


def test_rates_are_positive_and_finite():
    assert check(list(rates.measure(1, **SMALL))) >= NEEDED


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_numpy_alone_measures_what_limits_need(monkeypatch, threads):
    monkeypatch.setattr(rates, "library", unavailable)
    monkeypatch.setattr(rates, "_own_kernel", no_kernel)
    assert check(list(rates.measure(threads, **SMALL))) == NEEDED


@pytest.mark.parametrize(("size", "threads"), [(16, 1), (1000, 3), (200_000, 2)])
def test_the_triad_of_numpy_is_a_triad(size, threads):
    np = import_module("numpy")
    a, b, c = np.zeros(size, "f4"), np.arange(size, dtype="f4"), np.ones(size, "f4")
    with ThreadPoolExecutor(threads) as pool:
        rates._numpy_triad(a, b, c, threads, pool)()
    np.testing.assert_array_equal(a, b + np.float32(0.5))


def test_the_best_size_of_a_product_is_kept(monkeypatch):
    speeds = {16: 1.0, 32: 3.0, 64: 2.0}

    def rate(probe, repeats):
        size = round((probe.work / 2) ** (1 / 3))
        speed = (speeds[size],) * repeats
        return rates.Rate(probe.name, probe.unit, probe.method, speed)

    monkeypatch.setattr(rates.Probe, "rate", rate)
    found = rates._gemm(rates.np.dtype("float32"), 2, (16, 32, 64))
    assert "32 x 32" in found.method
