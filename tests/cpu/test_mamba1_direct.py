"""The scan of 16 states, which keeps them in registers: `_mamba1_direct`."""

from typing import Any

import numba
import numpy as np
import pytest
from numba.core import config
from support.compare import assert_close
from support.mamba1_inputs import selective_scan_inputs

from ssmref.cpu import _mamba1_direct as direct
from ssmref.cpu import _mamba1_scan as division
from ssmref.cpu import _outputs, mamba1
from ssmref.cpu._mamba1_decay import MODERATE
from ssmref.cpu.toolkit.kernels import lane_count
from ssmref.cpu.toolkit.memory import LINE
from ssmref.golden import mamba1 as golden

DTYPES = (np.float32, np.float64)
CLOSE = {np.float32: 2e-5, np.float64: 1e-13}
pytestmark = pytest.mark.skipif(
    not direct.STATES, reason="16 vectors of states need the registers of AVX-512"
)

same_digits = pytest.mark.skipif(
    bool(vars(config)["DISABLE_JIT"]), reason="NumPy rounds parts of arrays differently"
)


def inputs(rng, dtype, **sizes) -> dict[str, Any]:
    """Return a call for the micro-kernel, in `dtype`, with varying B and C."""
    call = selective_scan_inputs(rng, state=16, B="varying", C="varying", **sizes)
    return {n: x.astype(dtype) if np.ndim(x) else x for n, x in call.items()}


def placed(x, place):
    """Return a copy that begins `place` bytes after a line of the cache."""
    room = np.empty(x.nbytes + 2 * LINE, np.uint8)
    first = -room.ctypes.data % LINE + place
    copy = room[first : first + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def used(monkeypatch):
    """Return how often the micro-kernel was chosen, and where in a line rows began."""
    plans, divide = [], division._divide

    def spy(*arguments):
        plan, count = divide(*arguments)
        plans.append((plan.direct, plan.pad, plan.streaming))
        return plan, count

    monkeypatch.setattr(division, "_divide", spy)
    return plans


OPTIONS = [(), ("D",), ("z",), ("dt_bias",), ("D", "z", "dt_bias", "initial_state")]


@pytest.mark.parametrize("absent", OPTIONS)
@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_options(absent, softplus, dtype, monkeypatch):
    plans = used(monkeypatch)
    call = inputs(np.random.default_rng(0), dtype, channels=37, length=21)
    call = {**call, "dt_softplus": softplus, **dict.fromkeys(absent)}
    meant = golden.selective_scan(**call)
    assert_close(mamba1.selective_scan(**call), meant, CLOSE[dtype])
    assert plans == [(1, 0, 0)]


@pytest.mark.parametrize("channels", [1, 15, 16, 33])
@pytest.mark.parametrize("length", [1, 255, 257])
def test_sizes_around_vectors_and_tiles(channels, length):
    sizes = {"batch": 1, "channels": channels, "length": length}
    call = inputs(np.random.default_rng(1), np.float64, **sizes)
    assert_close(mamba1.selective_scan(**call), golden.selective_scan(**call))


def test_groups(monkeypatch):
    plans = used(monkeypatch)
    call = selective_scan_inputs(
        np.random.default_rng(2), channels=51, groups=3, state=16
    )
    assert_close(mamba1.selective_scan(**call), golden.selective_scan(**call))
    assert plans[0][0] == 1


@pytest.fixture
def large(monkeypatch):
    """Results of any size are large: they have a place, and are streamed."""
    monkeypatch.setattr(_outputs, "LARGE", 0)
    monkeypatch.setattr(division, "STREAMED", 1)


def both_ways(call, monkeypatch):
    """Return the results with the micro-kernel, and without."""
    ours = mamba1.selective_scan(**call)
    with monkeypatch.context() as patch:
        patch.setattr(division, "STATES", 0)
        return ours, mamba1.selective_scan(**call)


def assert_same(results, others):
    for a, b in zip(results, others, strict=True):
        np.testing.assert_array_equal(a, b)


@same_digits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.usefixtures("large")
def test_results_do_not_depend_on_where_arrays_begin(dtype, gated, monkeypatch):
    call = inputs(np.random.default_rng(3), dtype, channels=64, length=19)
    call = call if gated else {**call, "z": None}
    meant, plans = mamba1.selective_scan(**call), used(monkeypatch)
    one = np.dtype(dtype).itemsize
    arrays = {n: call[n] for n in ("u", "dt", "z") if call[n] is not None}
    for place in (0, one, 16, 64 - one):
        moved: dict[str, Any] = call | {n: placed(x, place) for n, x in arrays.items()}
        ours, plain = both_ways(moved, monkeypatch)
        assert_same(ours, meant)
        assert_same(plain, meant)
        assert plans.pop(0) == (1, place // one, 1)
        assert plans.pop(0)[:2] == (0, 0)
        assert ours[0].ctypes.data % LINE == place
    apart: dict[str, Any] = call | {
        n: placed(x, 16 * i) for i, (n, x) in enumerate(arrays.items())
    }
    assert_same(mamba1.selective_scan(**apart), meant)
    assert plans == [(1, 0, 1)]


@pytest.mark.usefixtures("large")
def test_rows_that_are_no_lines_have_no_place(monkeypatch):
    plans = used(monkeypatch)
    call = inputs(np.random.default_rng(4), np.float32, channels=40)
    moved: dict[str, Any] = call | {n: placed(call[n], 16) for n in ("u", "dt", "z")}
    assert_close(mamba1.selective_scan(**moved), golden.selective_scan(**call), 2e-5)
    assert plans == [(1, 0, 0)]


@same_digits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [MODERATE / 2, MODERATE, 40 * MODERATE])
def test_small_decays_are_the_same_in_every_tile(dtype, size, monkeypatch):
    """A number of one tile is too large for `decay_of`; others keep their digits."""
    call = inputs(np.random.default_rng(5), dtype, channels=33, length=300)
    call |= {"dt_softplus": False, "dt_bias": None, "dt": np.abs(call["dt"])}
    call["dt"][1, 100, 5] = size / np.abs(call["A"]).max()
    ours, plain = both_ways(call, monkeypatch)
    assert_same(ours, plain)
    with np.errstate(under="ignore"):
        meant = golden.selective_scan(**call)
    assert_close(ours, meant, CLOSE[dtype])


def test_exponents_above_the_limit_grow_to_infinity():
    call = inputs(np.random.default_rng(6), np.float64, channels=3)
    call |= {"A": np.abs(call["A"]), "dt": np.abs(call["dt"]) * 1e4}
    with np.errstate(all="ignore"):
        meant = golden.selective_scan(**call)
    assert not np.all(np.isfinite(meant[0]))
    for ours, theirs in zip(mamba1.selective_scan(**call), meant, strict=True):
        np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(theirs))


@same_digits
@pytest.mark.parametrize("name", ["u", "dt", "z"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_channel(name, bad):
    call = inputs(np.random.default_rng(7), np.float64, channels=18)
    call |= {"dt_softplus": False, "dt_bias": None, "D": None}
    good = mamba1.selective_scan(**call)
    call[name] = call[name].copy()
    call[name][1, 4, 7] = bad
    ours = mamba1.selective_scan(**call)
    with np.errstate(all="ignore"):
        meant = golden.selective_scan(**call)
    for a, b, before in zip(ours, meant, good, strict=True):
        others = np.moveaxis(a, -1 if a.shape == call["u"].shape else 1, 0)
        kept = np.moveaxis(before, -1 if a.shape == call["u"].shape else 1, 0)
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
        np.testing.assert_array_equal(
            others[np.arange(18) != 7], kept[np.arange(18) != 7]
        )


@pytest.mark.parametrize("workers", range(1, numba.get_num_threads() + 1))
@pytest.mark.usefixtures("no_serial_paths", "large")
def test_every_number_of_threads_gives_the_same(workers, use_threads, monkeypatch):
    monkeypatch.setattr(division, "segments", lambda *_, **__: 1)
    call = inputs(np.random.default_rng(8), np.float32, channels=96, length=70)
    meant = mamba1.selective_scan(**call)
    use_threads(workers)
    assert_same(mamba1.selective_scan(**call), meant)


@pytest.mark.parametrize("stretches", [2, 3])
@pytest.mark.usefixtures("no_serial_paths")
def test_stretches_of_time(stretches, monkeypatch):
    call = inputs(np.random.default_rng(9), np.float64, channels=20, length=50)
    whole = mamba1.selective_scan(**call)
    monkeypatch.setattr(division, "segments", lambda *_, **__: stretches)
    assert_close(mamba1.selective_scan(**call), whole, 1e-13)


def test_half_of_the_registers_hold_states():
    assert direct.STATES * lane_count(np.float32) * 32 == 16 * 512
