"""Micro-kernels of the selective scan against what they say in NumPy."""

import functools

import numba
import numpy as np
import pytest
from numba.core import config

from ssmref.cpu import _mamba1_tiles as tiles
from ssmref.cpu import _mamba1_wide_tiles as wide_tiles
from ssmref.cpu._mamba1_decay import MODERATE, decay_of
from ssmref.cpu._mamba1_step import _plain_step, _step
from ssmref.cpu.toolkit.kernels import lane_count, micro_kernel, vector_bits
from ssmref.cpu.toolkit.memory import aligned_zeros

compiled = pytest.mark.skipif(
    bool(vars(config)["DISABLE_JIT"]), reason="micro-kernels are their plain meaning"
)
DTYPES = (np.float32, np.float64)
CLOSE = {np.float32: 2e-6, np.float64: 1e-14}


@functools.cache
def in_numba(function):
    """Return a compiled function that hands its arguments to a micro-kernel."""
    return numba.njit(lambda *arguments: function(*arguments))


def agree(function, plain, arguments, dtype):
    """Run both on copies; assert that they leave the same in all arrays."""
    copies = [
        [x.copy() if isinstance(x, np.ndarray) else x for x in arguments]
        for _ in range(2)
    ]
    in_numba(function)(*copies[0])
    plain(*copies[1])
    for ours, meant in zip(*copies, strict=True):
        if isinstance(ours, np.ndarray):
            np.testing.assert_allclose(ours, meant, rtol=0, atol=20 * CLOSE[dtype])


def _plain_decay(x, y, count):
    y[:count] = np.exp2(x[:count])


@micro_kernel(_plain_decay)
def _decays(lanes, x, y, count):
    one = lanes.builder.udiv(count, count.type(lanes.count))

    def body(i, _):
        place = lanes.builder.mul(i, count.type(lanes.count))
        lanes.store(decay_of(lanes.load(x, place)), y, place)
        return []

    lanes.loop(one, [], body)


@compiled
def test_decays_are_within_three_units_of_the_last_place():
    x = np.linspace(-MODERATE, MODERATE, 1 << 20).astype(np.float32)
    x = np.concatenate([x, -np.geomspace(1e-30, 2, 1 << 20).astype(np.float32)])
    y = np.empty_like(x)
    in_numba(_decays)(x, y, x.size)
    true = np.exp2(x.astype(np.float64))
    error = np.abs(y - true) / np.spacing(true.astype(np.float32))
    assert np.max(error) <= 3


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_decay_of_no_time_is_one(dtype):
    x = np.zeros(16, dtype)
    x[1] = -0.0
    y = np.empty_like(x)
    in_numba(_decays)(x, y, 16)
    assert np.all(y == 1)


# Micro-kernels and what they mean


def rows(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype).reshape(-1)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("softplus", "skip"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("fewer", [0, 3])
def test_begin(dtype, softplus, skip, fewer):
    rng, one = np.random.default_rng(0), lane_count(dtype)
    buffers = [rows(rng, dtype, 7, one) for _ in range(3)]
    inputs = [rows(rng, dtype, 9, 40) for _ in range(2)]
    bias, D = rows(rng, dtype, 40), rows(rng, dtype, 40)
    top = np.zeros(one, dtype)
    place, channels = 40 + 5, one - fewer
    given = [*inputs, place, 40, 7, bias, D, 5, channels, softplus, skip]
    ours, meant = ([x.copy() for x in (top, *buffers)] for _ in range(2))
    in_numba(tiles.begin)(*ours, *given)
    tiles._plain_begin(*meant, *given)
    for a, b in zip(ours, meant, strict=True):
        a, b = (x.reshape(-1, one)[:, :channels] for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=20 * CLOSE[dtype])


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gated", [0, 1])
@pytest.mark.parametrize("fewer", [0, 3])
def test_end(dtype, gated, fewer):
    rng, one = np.random.default_rng(0), lane_count(dtype)
    out, z, y = (
        rows(rng, dtype, 9, 40),
        rows(rng, dtype, 9, 40),
        rows(rng, dtype, 7, one),
    )
    arguments = out, 40 + 5, 40, 7, y, one - fewer, z, gated, 0
    agree(tiles.end, tiles._plain_end, arguments, dtype)


@compiled
@pytest.mark.skipif(vector_bits() != 512, reason="vectors are no lines of the caches")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gated", [0, 1])
def test_end_past_the_caches(dtype, gated):
    rng, one = np.random.default_rng(0), lane_count(dtype)
    out, again = (aligned_zeros((9 * 3 * one,), dtype) for _ in range(2))
    z, y = rows(rng, dtype, 9, 3 * one), rows(rng, dtype, 7, one)
    options = one, 3 * one, 7, y, one, z, gated, 1
    in_numba(tiles.end)(out, *options)
    tiles._plain_end(again, *options)
    assert np.any(again)
    np.testing.assert_allclose(out, again, rtol=0, atol=20 * CLOSE[dtype])


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_add_up(dtype):
    rng, one = np.random.default_rng(0), lane_count(dtype)
    arguments = np.zeros(one, dtype), rows(rng, dtype, 7, one), 5
    agree(tiles.add_up, tiles._plain_add_up, arguments, dtype)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("moderate", [0, 1])
@pytest.mark.parametrize("states", [1, 8, 19])
def test_advance(dtype, moderate, states):
    rng, one, tokens = np.random.default_rng(0), lane_count(dtype), 7
    h, A = rows(rng, dtype, 20, one), -np.abs(rows(rng, dtype, 20, one))
    dt, dx, y = (rows(rng, dtype, tokens, one) for _ in range(3))
    B, C = rows(rng, dtype, tokens, 2 * states), rows(rng, dtype, tokens, 3 * states)
    fetched = [h, h, h, h, 0, 0, 1, 0]
    arguments = (
        *(h, A, one, states, np.abs(dt), dx, y, tokens),
        *(B, states, 2 * states, C, 0, 3 * states, moderate, *fetched),
    )
    agree(tiles.advance, tiles._plain_advance, arguments, dtype)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_advance_with_vectors(dtype, constant, kind):
    rng, one = np.random.default_rng(0), lane_count(dtype)
    states, tokens, parts = 5, 7, 2
    h, A = rows(rng, dtype, parts, states, one), rows(rng, dtype, parts, states, one)
    dt, dx, y = (rows(rng, dtype, tokens, one) for _ in range(3))
    B, C = (rows(rng, dtype, parts, states, tokens, one) for _ in range(2))
    steps = (one, 0) if constant else (tokens * one, one)
    arguments = (
        *(h, -np.abs(A), 0, states, np.abs(dt), dx, y, tokens),
        *(B, 0, *steps, C, 0, *steps),
    )
    function, plain = (
        getattr(wide_tiles, f"{n}_{kind}") for n in ("advance", "_plain")
    )
    agree(function, plain, arguments, dtype)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("states", [1, 16, 21])
def test_step_of_channels(dtype, states):
    rng, channels = np.random.default_rng(0), 5
    old, A = rows(rng, dtype, 7, states), rows(rng, dtype, 7, states)
    new, y = np.zeros_like(old), np.zeros(channels, dtype)
    dt, dx = rows(rng, dtype, channels), rows(rng, dtype, channels)
    B, C = rows(rng, dtype, 3, states), rows(rng, dtype, 3, states)
    arguments = (
        *(old, new, states, states, A, 2 * states, dt, dx, y, channels, states),
        *(B, states, C, 2 * states),
    )
    agree(_step, _plain_step, arguments, dtype)
