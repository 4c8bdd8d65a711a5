"""Ranks, tiles, parts and kernels of S4: what the cases of the suite cannot see."""

from typing import Any

import numpy as np
import pytest
from support.fast_paths import (
    cast,
    close,
    threads_agree_and_runs_repeat,
    workspace,
)
from support.s4_inputs import hippo_system, s4_inputs

from ssmref.cpu import _cauchy as cauchy
from ssmref.cpu import _s4_kernels as kernels
from ssmref.cpu import _s4_sweep as sweeps
from ssmref.cpu import _s4_system as systems
from ssmref.cpu._arguments import parts
from ssmref.cpu.s4 import (
    s4,
    s4_c_tilde,
    s4_convolution,
    s4_kernel,
    s4_kernel_from_tilde,
    s4_step,
)
from ssmref.cpu.toolkit.kernels import kernel, lane_count
from ssmref.golden import s4 as golden

# Every token adds its rounding to all states of a channel.
LIMITS = {np.float32: 1e-4, np.float64: 1e-12}
DTYPES = list(LIMITS)


def inputs(length, channels=5, dtype=np.float64, **sizes) -> dict[str, Any]:
    """Return a call of `s4` in a dtype."""
    rng = np.random.default_rng(length + channels)
    return cast(s4_inputs(rng, length=length, channels=channels, **sizes), dtype)


def system_of(call, *names):
    return {name: call[name] for name in names}


@kernel
def sweep(W, ranks, X, f, D, U, Y, tokens, states):
    count = len(D)
    new = ranks * count
    sweeps.sweep(
        *(W, 0, ranks, X, 0, states * count, f, 0, new, D, 0, U, Y, 0, tokens, states)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("states", [1, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("ranks", [0, 1, 3])
def test_sweep_is_its_meaning_in_numpy(ranks, states, dtype):
    rng, count = np.random.default_rng(states), lane_count(dtype)
    sizes = (states * (3 + 2 * ranks) * 2, 2 * states, 2 * ranks, 1, 5, 5)
    W, X, f, D, U, Y = (rng.standard_normal(n * count).astype(dtype) for n in sizes)
    W *= 0.3
    own, other = [v.copy() for v in (X, f, Y)], [v.copy() for v in (X, f, Y)]
    sweep(W, ranks, own[0], own[1], D, U, own[2], 5, states)
    plane, new = states * count, ranks * count
    sweeps._plain_sweep(
        *(W, 0, ranks, other[0], 0, plane, other[1], 0, new, D, 0, U, other[2], 0),
        *(5, states),
    )
    for found, expected in zip(own, other, strict=True):
        close(found, expected, LIMITS[dtype])


@pytest.mark.parametrize("ranks", [0, 1, 2, 3])
def test_system_is_the_dense_one(ranks):
    call = inputs(1, 3, ranks=ranks, state=2)
    dense = systems.dense_of(call["dt"], parts(call["A"]), parts(call["P"]))
    x = call["initial_state"][0]
    A_bar, _ = golden._discrete(*(call[name] for name in ("dt", "A", "B", "P")))
    expected = np.einsum("dmn,dn->dm", A_bar, golden.complete(x))[:, :2]
    flat = np.concatenate([x.real, x.imag], axis=1)
    found = np.einsum("dmn,dn->dm", dense, flat)
    close(found[:, :2] + 1j * found[:, 2:], expected)


# Around vectors, stripes, chunks of tokens, and four states at a time.
SIZES = [
    *[(1, 1, 1, 1), (3, 7, 2, 1), (4, 16, 3, 2), (5, 17, 5, 1), (255, 2, 4, 1)],
    *[(256, 3, 1, 3), (257, 3, 2, 1), (6, 130, 2, 1), (9, 5, 6, 0)],
]


@pytest.mark.parametrize(("length", "channels", "state", "ranks"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_around_tiles(length, channels, state, ranks, dtype):
    call = inputs(length, channels, dtype, state=state, ranks=ranks)
    for found, expected in zip(s4(**call), golden.s4(**call), strict=True):
        assert found.dtype == expected.dtype
        close(found, expected, LIMITS[dtype])


def scan(call, bounds, cuts):
    """Run a pack in so many parts per sequence."""
    A, B, C, P = (parts(call[name]) for name in "ABCP")
    return kernels.scan(
        *(call["u"][0], call["dt"], A, B, C, call["D"], P, bounds),
        call["initial_state"],
        cuts=cuts,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("cuts", [2, 3, 7])
def test_any_number_of_parts_is_the_whole(cuts, initial, dtype):
    call = inputs(90, 17, dtype, batch=1, rows=5)
    if not initial:
        call["initial_state"] = call["initial_state"][:0]
    bounds = np.array([0, 41, 41, 42, 47, 90])
    pairs = zip(scan(call, bounds, cuts), scan(call, bounds, 1), strict=True)
    for found, whole in pairs:
        assert found.dtype == whole.dtype
        close(found, whole, LIMITS[dtype])
    pack = {**call, "cu_seqlens": bounds}
    pack["initial_state"] = call["initial_state"] if initial else None
    close(scan(call, bounds, cuts)[0], golden.s4(**pack)[0][0], LIMITS[dtype])


def test_threads_agree_and_runs_repeat(thread_counts):
    call = inputs(3000, 3, batch=1, state=2)
    threads_agree_and_runs_repeat(s4, call, thread_counts, 1e-12)


def test_what_is_not_finite_stays_in_its_channel_and_future():
    call = inputs(269, 20)
    clean, clean_state = s4(**call)
    call["u"][1, 70, 6] = np.nan
    y, state = s4(**call)
    touched = np.zeros(y.shape, bool)
    touched[1, 70:, 6] = True
    np.testing.assert_array_equal(y[~touched], clean[~touched])
    assert np.isnan(y[touched]).all()
    assert np.isnan(state[1, 6]).all()
    state[1, 6] = clean_state[1, 6]
    np.testing.assert_array_equal(state, clean_state)


@pytest.mark.usefixtures("one_thread")
def test_workspace_does_not_grow_with_length():
    short, long = (
        workspace(s4, inputs(length, 16, state=2, batch=1)) for length in (1000, 4000)
    )
    assert long < short + 4000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ranks", [0, 1, 3])
def test_step_is_a_sequence_of_one_token(ranks, dtype):
    call = inputs(1, 37, dtype, ranks=ranks)
    y, state = s4(**call)
    start = call.pop("initial_state")
    found, new = s4_step(**{**call, "u": call["u"][:, 0], "state": start})
    close(found, y[:, 0], LIMITS[dtype])
    close(new, state, LIMITS[dtype])


def test_singular_system_is_refused():
    call = inputs(2, 3, ranks=1, state=1)
    # 1 + h Re(F P) = 0 with E = 1 / (1 - h A) = -1.
    call["dt"][1], call["A"][1], call["P"][0, 1] = 2.0, 2.0, 0.5 + 0.5j
    with pytest.raises(ValueError, match="the matrix of a linear system is singular"):
        s4(**call)
    start = call.pop("initial_state")
    with pytest.raises(ValueError, match="the matrix of a linear system is singular"):
        s4_step(**{**call, "u": call["u"][:, 0], "state": start})


@kernel
def sum_pairs(constants, pairs, s, sums, vectors):
    cauchy._sum_pairs(constants, 3, pairs, s, 2, sums, 5, 70, vectors)


def test_sums_over_pairs_are_their_meaning_in_numpy():
    rng = np.random.default_rng(0)
    constants = rng.uniform(1, 2, 3 + 5 * cauchy.CONSTANTS)
    s, sums = rng.uniform(0, 3, 70), np.zeros(2 * cauchy.PRODUCTS * 70 + 5)
    expected = sums.copy()
    sum_pairs(constants, 5, s, sums, 3)
    cauchy._plain_pairs(constants, 3, 5, s, 2, expected, 5, 70, 3)
    close(sums, expected)
    assert (sums != 0).sum() == 2 * cauchy.PRODUCTS * 3 * lane_count(np.float64)


# The node of Nyquist or none; around the nodes of a tile.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ranks", [0, 1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 3, 254, 255, 256, 257])
def test_kernel_is_the_dense_one(length, ranks, dtype):
    call = inputs(1, 3, dtype, ranks=ranks, state=4)
    system = system_of(call, "dt", "A", "B", "C", "P")
    found = s4_kernel(**system, length=length)
    wide = {n: v.astype(np.result_type(v, np.float64)) for n, v in system.items()}
    expected = golden.s4_kernel_dense(**wide, length=length)
    assert (found.dtype, found.shape) == (dtype, expected.shape)
    close(found, expected, 1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("name", ["legs", "legt", "fourier"])
def test_kernel_of_hippo_keeps_its_digits(name):
    system = hippo_system(name, 16)
    system["A"] = system["A"] - 1e-4
    expected = golden.s4_kernel_dense(**system, length=300)
    close(s4_kernel(**system, length=300), expected, 1e-10)


@pytest.mark.parametrize("length", [0, 1, 7, 64])
def test_c_tilde_is_that_of_golden(length):
    system = system_of(inputs(1), "dt", "A", "C", "P")
    found = s4_c_tilde(**system, length=length)
    close(found, golden.s4_c_tilde(**system, length=length))


def test_kernel_needs_decay_and_a_length():
    system = system_of(inputs(1), "dt", "A", "B", "P")
    system["C_tilde"] = system["B"]
    with pytest.raises(ValueError, match="length is 0; it needs to be at least 1"):
        s4_kernel_from_tilde(**system, length=0)
    system["A"] = 1j * system["A"].imag
    with pytest.raises(ValueError, match="A has real parts >= 0; the kernel needs"):
        s4_kernel_from_tilde(**system, length=4)


@pytest.mark.parametrize("packed", [True, False])
def test_convolution_is_the_recurrence(packed):
    call = inputs(60, 5, batch=1 if packed else 3, rows=4 if packed else None)
    if packed:
        call["cu_seqlens"] = np.array([0, 7, 7, 8, 60])
    for found, expected in zip(s4_convolution(**call), s4(**call), strict=True):
        close(found, expected)
    y, _ = s4_convolution(**{**call, "initial_state": None, "D": None})
    expected, _ = golden.s4(**{**call, "initial_state": None, "D": None})
    close(y, expected)
