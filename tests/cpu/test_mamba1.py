"""The selective scan of `ssmref.cpu`: options, division, limits."""

import itertools
from typing import Any

import numba
import numpy as np
import pytest
from support.compare import assert_close
from support.fast_paths import (
    workspace,
)
from support.mamba1_inputs import KINDS, selective_scan_inputs, step_inputs, step_of

from ssmref.cpu import _mamba1_scan as division
from ssmref.cpu import _outputs, mamba1
from ssmref.golden import mamba1 as golden

DTYPES = (np.float32, np.float64)


# The scan against golden


@pytest.mark.parametrize("complex_A", [False, True])
@pytest.mark.parametrize(("B", "C"), list(itertools.product(KINDS, KINDS)))
def test_every_kind_of_projection(B, C, complex_A):
    rng = np.random.default_rng(1)
    call = selective_scan_inputs(rng, B=B, C=C, complex_A=complex_A, state=9)
    assert_close(mamba1.selective_scan(**call), golden.selective_scan(**call))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("share", [1, 7, 16, 17])
@pytest.mark.parametrize("state", [1, 8, 11])
def test_groups_and_states_that_fill_no_vector(groups, share, state):
    rng = np.random.default_rng(2)
    sizes = {"channels": groups * share, "groups": groups, "state": state}
    call = selective_scan_inputs(rng, length=3, **sizes)
    assert_close(mamba1.selective_scan(**call), golden.selective_scan(**call))


@pytest.mark.parametrize("length", [1, 63, 64, 65, 130])
def test_lengths_around_tiles(length):
    call = selective_scan_inputs(np.random.default_rng(3), batch=1, length=length)
    assert_close(mamba1.selective_scan(**call), golden.selective_scan(**call))


@pytest.mark.parametrize("absent", [("D",), ("z",), ("dt_bias",), ("D", "z")])
@pytest.mark.parametrize("softplus", [False, True])
def test_options(absent, softplus):
    call = selective_scan_inputs(np.random.default_rng(4), initial_state=False)
    call = {**call, "dt_softplus": softplus, **dict.fromkeys(absent)}
    assert_close(mamba1.selective_scan(**call), golden.selective_scan(**call))


@pytest.mark.parametrize("chosen", ["A", "B", "C", "BC", "h", "AB", "hC"])
def test_any_argument_may_be_complex(chosen):
    call = selective_scan_inputs(np.random.default_rng(5), complex_A=True)
    for letter, name in zip("ABCh", ("A", "B", "C", "initial_state"), strict=True):
        if letter not in chosen:
            call[name] = np.ascontiguousarray(call[name].real)
    meant = golden.selective_scan(**call)
    assert_close(mamba1.selective_scan(**call), meant)
    assert_close(mamba1.selective_scan_blelloch(**call), meant)


@pytest.mark.parametrize("dtype", DTYPES)
def test_decays_from_zero_to_infinity(dtype):
    call = selective_scan_inputs(np.random.default_rng(6), length=4, channels=3)
    call["dt"] = np.resize([1e-9, 0.1, 40.0, 900.0], call["dt"].shape)
    call["A"][0] /= -1e4
    call = single({**call, "dt_softplus": False, "dt_bias": None}, dtype)
    limit = 2e-5 if dtype is np.float32 else 1e-13
    assert_close(mamba1.selective_scan(**call), golden.selective_scan(**call), limit)


def single(call, dtype=np.float32) -> dict[str, Any]:
    """Return a call whose real arrays have another precision."""
    real = {n: x.astype(dtype) for n, x in call.items() if isinstance(x, np.ndarray)}
    return {**call, **real}


@pytest.mark.parametrize("kinds", [("varying", "grouped"), ("constant", "varying")])
def test_blelloch_is_the_scan(kinds):
    B, C = kinds
    call = selective_scan_inputs(np.random.default_rng(7), length=13, B=B, C=C)
    call["cu_seqlens"] = np.array([0, 4, 4, 5, 13])
    call = packed(call)
    assert_close(mamba1.selective_scan_blelloch(**call), mamba1.selective_scan(**call))


# Sequences


def packed(call, bounds=(0, 4, 4, 5, 13)):
    """Return the first row of a call as a pack, with a state per sequence."""
    rng = np.random.default_rng(8)
    varying = ("u", "dt", "z", *(n for n in "BC" if call[n].ndim > 2))
    rows = {name: call[name][:1] for name in varying}
    state = rng.standard_normal((len(bounds) - 1, *call["A"].shape))
    cu_seqlens = np.array(bounds)
    return {**call, **rows, "initial_state": state, "cu_seqlens": cu_seqlens}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pack_is_its_sequences(kind):
    call = selective_scan_inputs(np.random.default_rng(9), length=13, B=kind, C=kind)
    call = packed(call)
    y, state = mamba1.selective_scan(**call)
    bounds = call.pop("cu_seqlens")
    for s, (start, stop) in enumerate(itertools.pairwise(bounds)):
        own = {n: x[:, start:stop] for n, x in call.items() if _has_length(n, x)}
        own["initial_state"] = call["initial_state"][s : s + 1]
        y_own, state_own = mamba1.selective_scan(**{**call, **own})
        np.testing.assert_array_equal(y[:, start:stop], y_own)
        np.testing.assert_array_equal(state[s : s + 1], state_own)
    np.testing.assert_array_equal(state[1], call["initial_state"][1])


def _has_length(name, x):
    return name in ("u", "dt", "z") or (name in ("B", "C") and x.ndim > 2)


# Division among threads and in time


@pytest.fixture
def divided(monkeypatch, use_threads, no_serial_paths):  # noqa: ARG001
    """Return a function that makes all scans use all threads and so many stretches."""
    threads = numba.get_num_threads()

    def use(stretches=None, workers=threads):
        use_threads(workers)
        if stretches is not None:
            monkeypatch.setattr(division, "segments", lambda *_, **__: stretches)

    return use


SPLITS = [1, 2, 3, 5, 8]


@pytest.mark.parametrize("stretches", SPLITS)
@pytest.mark.parametrize("complex_A", [False, True])
@pytest.mark.parametrize("pack", [False, True])
def test_stretches_of_time_join_without_a_seam(divided, stretches, complex_A, pack):
    call = selective_scan_inputs(
        np.random.default_rng(10), length=37, complex_A=complex_A
    )
    call = packed(call, (0, 17, 17, 19, 37)) if pack else call
    whole = mamba1.selective_scan(**call)
    divided(stretches)
    assert_close(mamba1.selective_scan(**call), whole, 1e-13)


@pytest.mark.parametrize("stretches", SPLITS)
def test_stretches_do_not_lose_digits(divided, stretches):
    call = selective_scan_inputs(np.random.default_rng(11), batch=1, length=300)
    divided(stretches)
    results = mamba1.selective_scan(**single(call))
    for ours, true in zip(results, golden.selective_scan(**call), strict=True):
        assert np.max(np.abs(ours - true)) <= 3e-6 * np.max(np.abs(true))


@pytest.mark.parametrize("workers", range(1, numba.get_num_threads() + 1))
def test_every_number_of_threads_gives_the_same_and_again(divided, workers):
    call = selective_scan_inputs(np.random.default_rng(12), channels=66, length=70)
    meant = mamba1.selective_scan(**call)
    divided(workers=workers)
    first, second = (mamba1.selective_scan(**call) for _ in range(2))
    assert_close(first, meant, 1e-13)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("rows", "vectors", "workers"), [(1, 96, 4), (8, 3, 4), (1, 5, 2)]
)
def test_blocks_are_even_and_as_wide_as_possible(rows, vectors, workers):
    width = division._width(rows, vectors, workers)
    blocks = rows * -(-vectors // width)
    assert -(-blocks // workers) * width * workers <= 1.25 * rows * vectors + workers
    assert width <= division.VECTORS


# What must not spread


def clean(call):
    return {**call, "dt_softplus": False, "dt_bias": None, "D": None}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["u", "dt", "z"])
@pytest.mark.parametrize("stretches", [1, 3])
def test_what_is_not_finite_stays_in_its_channel(divided, bad, name, stretches):
    divided(stretches)
    call = clean(selective_scan_inputs(np.random.default_rng(13), channels=18))
    good = mamba1.selective_scan(**call)
    call[name] = call[name].copy()
    call[name][1, 4, 7] = bad
    y, state = mamba1.selective_scan(**call)
    with np.errstate(all="ignore"):
        y_meant, state_meant = golden.selective_scan(**call)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(y_meant))
    np.testing.assert_array_equal(np.isfinite(state), np.isfinite(state_meant))
    others = np.arange(18) != 7
    np.testing.assert_array_equal(y[:, :, others], good[0][:, :, others])
    np.testing.assert_array_equal(y[0], good[0][0])
    np.testing.assert_array_equal(y[1, :4], good[0][1, :4])
    np.testing.assert_array_equal(state[:, others], good[1][:, others])


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_a_nan_of_one_state_is_not_swallowed(name):
    call = clean(selective_scan_inputs(np.random.default_rng(14), channels=18))
    call[name] = call[name].copy()
    call[name][(3, 2) if name == "A" else (1, 4, 2, 1)] = np.nan
    with np.errstate(all="ignore"):
        meant = golden.selective_scan(**call)
    for ours, theirs in zip(mamba1.selective_scan(**call), meant, strict=True):
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))


def test_nan_beyond_the_last_channel_is_not_read():
    call = clean(selective_scan_inputs(np.random.default_rng(15), channels=3, groups=3))
    room = np.full((2, 9, 24), np.nan)
    meant = mamba1.selective_scan(**call)
    for name in ("u", "dt", "z"):
        room[:, :, :3] = call[name]
        call[name] = room.copy()[:, :, :3]
    for ours, theirs in zip(mamba1.selective_scan(**call), meant, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_workspace_does_not_grow_with_length():
    """Of what NumPy allocates; buffers of kernels have `Plan.tokens` for a length."""
    peaks, rng = [], np.random.default_rng(16)
    for length in (300, 1200):
        call = selective_scan_inputs(rng, batch=1, length=length, channels=4)
        call["B"], call["C"] = (call[n][:, :, 0].copy() for n in "BC")
        peaks.append(workspace(mamba1.selective_scan, call))
    assert peaks[1] - peaks[0] < 1000


def test_large_outputs_begin_with_a_line_of_the_cache(monkeypatch):
    monkeypatch.setattr(_outputs, "LARGE", 0)
    call = selective_scan_inputs(np.random.default_rng(17))
    kept = [mamba1.selective_scan(**call)[0] for _ in range(5)]
    assert {y.ctypes.data % 64 for y in kept} == {0}


# One token


@pytest.mark.parametrize("complex_A", [False, True])
@pytest.mark.parametrize("state", [1, 8, 19])
def test_steps_are_the_scan(complex_A, state):
    rng = np.random.default_rng(18)
    call = selective_scan_inputs(rng, complex_A=complex_A, state=state, length=5)
    y, final = mamba1.selective_scan(**call)
    state = call["initial_state"]
    for t in range(5):
        before = state.copy()
        y_now, new = mamba1.selective_scan_step(**step_of(call, t), state=state)
        np.testing.assert_array_equal(state, before)
        assert_close(y_now, y[:, t])
        state = new
    assert_close(state, final)


@pytest.mark.parametrize("chosen", ["A", "B", "C", "s", "AC"])
def test_any_argument_of_a_step_may_be_complex(chosen):
    rng = np.random.default_rng(19)
    call = step_of(selective_scan_inputs(rng, batch=3, complex_A=True), 0)
    call["state"] = rng.standard_normal((3, 6, 4)) * (1 + 1j)
    for letter, name in zip("ABCs", ("A", "B", "C", "state"), strict=True):
        if letter not in chosen:
            call[name] = np.ascontiguousarray(call[name].real)
    assert_close(mamba1.selective_scan_step(**call), golden.selective_scan_step(**call))


@pytest.mark.parametrize("threshold", [0, 1 << 30])
def test_slots_name_states_and_padding_has_none(monkeypatch, threshold):
    monkeypatch.setattr("ssmref.cpu.toolkit.threads.SERIAL", threshold)
    call = step_inputs(np.random.default_rng(20))
    meant = golden.selective_scan_step(**call)
    assert_close(mamba1.selective_scan_step(**call), meant)


def test_a_step_of_several_pieces():
    rng = np.random.default_rng(21)
    sizes = {"channels": 1100, "groups": 11, "state": 3, "initial_state": False}
    call = step_of(selective_scan_inputs(rng, length=1, **sizes), 0)
    call["state"] = rng.standard_normal((2, 1100, 3))
    assert_close(mamba1.selective_scan_step(**call), golden.selective_scan_step(**call))
