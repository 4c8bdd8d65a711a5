"""The micro-kernels of Mamba-3 against what they say in NumPy, on odd sizes."""

import numpy as np
import pytest

from ssmref.cpu import _mamba3_advance as step
from ssmref.cpu import _mamba3_chunks as chunks
from ssmref.cpu import _mamba3_halves as halves
from ssmref.cpu import _mamba3_rows as rows
from ssmref.cpu import _mamba3_turns as turns
from ssmref.cpu.toolkit.kernels import kernel
from ssmref.golden.layers import rotary

DTYPES = [np.float32, np.float64]


@kernel
def weigh_rows(
    memory, weights, scores, high, low, scale, gamma, size, i, count, ranks, rise
):
    chunks._weigh(
        memory, weights, scores, high, low, scale, gamma, size, i, count, ranks, rise
    )


@kernel
def bound_decays(memory, enter, leave, high, low, scale, count, rise):
    chunks._bound_decays(memory, enter, leave, high, low, scale, count, rise)


@kernel
def weigh(memory, half, now, before, exponents, count):
    rows.weigh(memory, half, now, before, exponents, count)


@kernel
def copy(out, at, s, source, s_at, s_step, m, n):
    rows.copy(out, at, s, source, s_at, s_step, m, n)


@kernel
def spread(memory, to, x, at, s, weight, tokens, ranks, width):
    return rows.spread(memory, to, x, at, s, weight, tokens, ranks, width)


@kernel
def collect(y, at, s, memory, own, weight, tokens, ranks, width):
    rows.collect(y, at, s, memory, own, weight, tokens, ranks, width)


@kernel
def normalise(out, at, weight, w_at, m, width, eps):
    rows.normalise(out, at, weight, w_at, m, width, eps)


@kernel
def gate(memory, own, z, at, s, weight, tokens, ranks, width):
    rows.gate(memory, own, z, at, s, weight, tokens, ranks, width)


@kernel
def to_halves(out, at, source, s_at, s_step, m, state, pairwise):
    halves.to_halves(out, at, source, s_at, s_step, m, state, pairwise)


@kernel
def from_halves(out, at, s, source, s_at, m, state, pairwise):
    halves.from_halves(out, at, s, source, s_at, m, state, pairwise)


@kernel
def from_angles(out, at, angle, a_at, count):
    turns.from_angles(out, at, angle, a_at, count)


@kernel
def to_angles(angle, a_at, source, at, count):
    turns.to_angles(angle, a_at, source, at, count)


@kernel
def rotate(
    memory, out, raw, plane, bias, at, parts, half, angles, a_at, a_step, tokens, ranks,
    state, count,
):  # fmt: skip
    turns.measure(memory, parts, half, angles, a_at, a_step, tokens, count)
    turns.rotate(memory, out, raw, plane, bias, at, parts, tokens, ranks, state, count)


def plain_rotate(
    memory, out, raw, plane, bias, at, parts, half, angles, a_at, a_step, tokens, ranks,
    state, count,
):  # fmt: skip
    turns._plain_measure(memory, parts, half, angles, a_at, a_step, tokens, count)
    turns._plain_rotate(
        memory, out, raw, plane, bias, at, parts, tokens, ranks, state, count
    )


@kernel
def advance(
    new, old, at, memory, factors, keys, queries, out, ranks, width, depth, decay
):
    step.advance(
        new, old, at, memory, factors, keys, queries, out, ranks, width, depth, decay,
        0,
    )  # fmt: skip


def numbers(dtype, count=4000, seed=0):
    return np.random.default_rng(seed).standard_normal(count).astype(dtype)


def agree(function, plain, *arguments):
    """Assert that both do the same to the first argument, and to nothing else of it."""
    own, other = arguments[0].copy(), arguments[0].copy()
    found, meant = function(own, *arguments[1:]), plain(other, *arguments[1:])
    scale = float(np.max(np.abs(other), initial=1.0, where=np.isfinite(other)))
    limit = 40 * np.finfo(own.dtype).eps * scale
    np.testing.assert_allclose(own, other, rtol=0, atol=limit)
    assert not np.array_equal(own, arguments[0])
    if meant is not None:
        np.testing.assert_equal(found == 0, meant == 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 7, 8, 16, 17, 37])
def test_rows_are_what_they_say(dtype, width):
    memory, other = numbers(dtype), numbers(dtype, seed=1)
    agree(copy, rows._plain_copy, memory, 3, 50, other, 5, 41, 4, width)
    for given in (other, np.where(np.arange(4000) == 2 + 2 * 90, np.inf, other)):
        sizes = (3, 2, width)
        agree(spread, rows._plain_spread, memory, 5, given, 2, 90, 3000, *sizes)
    agree(collect, rows._plain_collect, other, 7, 95, memory, 11, 3000, 3, 2, width)
    agree(normalise, rows._plain_normalise, memory, 9, other, 4, 5, width, 0.25)
    agree(gate, rows._plain_gate, memory, 13, other, 2, 90, 3000, 3, 2, width)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 8, 16, 33])
def test_weights_are_what_they_say(dtype, count):
    memory = numbers(dtype)
    agree(weigh, rows._plain_weigh, memory, 0, 100, 200, 300, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("state", [2, 6, 14, 16, 32, 34, 70])
@pytest.mark.parametrize("pairwise", [0, 1])
def test_halves_are_what_they_say(dtype, state, pairwise):
    memory, other = numbers(dtype), numbers(dtype, seed=1)
    options = 3, state, pairwise
    agree(to_halves, halves._plain_to_halves, memory, 5, other, 2, 75, *options)
    agree(from_halves, halves._plain_from_halves, memory, 5, 80, other, 2, *options)
    copied, back = np.zeros(300, dtype), np.zeros(300, dtype)
    to_halves(copied, 0, other, 2, 75, *options)
    from_halves(back, 2, 75, copied, 0, *options)
    for r in (2, 77, 152):
        np.testing.assert_array_equal(back[r : r + state], other[r : r + state])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ranks", [1, 3, 4])
@pytest.mark.parametrize("first", [0, 4, 12])
def test_masks_are_what_they_say(dtype, ranks, first):
    memory = np.zeros(4000, dtype)
    high, low, scale, gamma, scores = 0, 64, 128, 192, 256
    sums = np.cumsum(-np.random.default_rng(0).uniform(0, 40, 32))
    memory[high : high + 32] = sums
    memory[low : low + 32] = sums - memory[high : high + 32]
    memory[scale:2000] = numbers(dtype, 2000 - scale)
    count = min(32, (first + 3) // ranks * ranks + ranks)
    places = 3000, scores, high, low, scale, gamma
    whole, other = memory.copy(), memory.copy()
    weigh_rows(whole, *places, 32, first, count, ranks, 0.0)
    chunks._plain_weigh(other, *places, 32, first, count, ranks, 0.0)
    for r in range(3000, 3000 + 4 * 32, 32):
        own, meant = (m[r : r + count] for m in (whole, other))
        np.testing.assert_allclose(own, meant, rtol=1e-5, atol=1e-36)
        assert np.any(own)
    unseen = (first // ranks + 1) * ranks
    assert not np.any(whole[3000 + unseen : 3000 + count])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 5, 32])
def test_decays_are_what_they_say(dtype, count):
    memory = np.zeros(400, dtype)
    memory[:count] = np.cumsum(-np.random.default_rng(0).uniform(0, 40, count))
    memory[100 : 100 + count] = numbers(dtype, count) / 1e7
    memory[150 : 150 + count] = numbers(dtype, count, 1)
    own, other = memory.copy(), memory.copy()
    bound_decays(own, 200, 300, 0, 100, 150, count, 0.0)
    chunks._plain_bound_decays(other, 200, 300, 0, 100, 150, count, 0.0)
    for part in (slice(200, 200 + count), slice(300, 300 + count)):
        np.testing.assert_allclose(own[part], other[part], rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 15, 16, 20])
def test_angles_become_turns_and_come_back(dtype, count):
    angles = 20 * numbers(dtype, 40)
    memory, plain = np.zeros(100, dtype), np.zeros(100, dtype)
    from_angles(memory, 3, angles, 5, count)
    turns._plain_from_angles(plain, 3, angles, 5, count)
    back, other = np.zeros(40, dtype), np.zeros(40, dtype)
    to_angles(back, 2, memory, 3, count)
    turns._plain_to_angles(other, 2, plain, 3, count)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(back, other, rtol=0, atol=40 * eps)
    own = slice(2, 2 + count)
    assert np.all((back[own] >= 0) & (back[own] <= dtype(2 * np.pi)))
    for f in (np.cos, np.sin):
        meant = f(angles[5 : 5 + count].astype(np.longdouble))
        np.testing.assert_allclose(f(back[own]), meant, rtol=0, atol=40 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_angles_that_are_not_finite_become_nan(dtype):
    angles = np.array([1, np.nan, np.inf, -np.inf, 2], dtype)
    memory, back = np.zeros(10, dtype), np.zeros(5, dtype)
    with np.errstate(invalid="ignore"):
        from_angles(memory, 0, angles, 0, 5)
        to_angles(back, 0, memory, 0, 5)
    np.testing.assert_array_equal(np.isfinite(back), np.isfinite(angles))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("half", [0.5, 1.0, 3.0, 12345.5])
def test_half_turns_and_whole_ones_wrap(dtype, half):
    memory = np.zeros(64, dtype)
    memory[20] = half
    angles = np.full(3, 1000, dtype)  # its tanh is 1
    rotate(memory, 40, 30, 8, 50, 0, 60, 20, angles, 0, 1, 3, 1, 2, 1)
    back = np.zeros(1, dtype)
    to_angles(back, 0, memory, 0, 1)
    assert back[0] == dtype(2 * np.pi * (half % 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize(("state", "count"), [(2, 1), (18, 5), (32, 16), (70, 33)])
def test_rotation_is_what_it_says(dtype, ranks, state, count):
    tokens, plane = 3, 3 * ranks * state + 5
    memory, angles = numbers(dtype, 6000), numbers(dtype, seed=1)
    memory[:200] = 0
    memory[190:193] = [0.01, 0.3, 1.7]
    out, raw, bias = 200, 2000, 4000
    places = out, raw, plane, bias, 0, 5000, 190
    arguments = *places, angles, 7, 50, tokens, ranks, state
    own, other = memory.copy(), memory.copy()
    rotate(own, *arguments, count)
    plain_rotate(other, *arguments, count)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(own[out:], other[out:], rtol=0, atol=100 * eps)
    theta = np.pi * np.cumsum(
        [2 * memory[190 + t] * np.tanh(angles[7 + 50 * t :][:count]) for t in range(3)],
        axis=0,
    )
    keys = memory[raw:][: 3 * ranks * state].reshape(3, ranks, state)
    keys = keys + memory[bias:][: ranks * state].reshape(ranks, state)
    theta = np.repeat(theta[:, None], ranks, axis=1).astype(dtype)
    meant = rotary(keys, theta, pairing="halved").reshape(-1)
    found = own[out:][: len(meant)]
    np.testing.assert_allclose(found, meant, rtol=0, atol=200 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ranks", [1, 3, 4])
@pytest.mark.parametrize(("width", "depth"), [(1, 2), (5, 18), (8, 32), (6, 70)])
def test_advance_is_what_it_says(dtype, ranks, width, depth):
    memory, old = numbers(dtype), numbers(dtype, 1000, 1)
    places = 100, 200, 1500, 3000
    results = []
    for function in (advance, step._plain_advance):
        new, own = np.zeros(1000, dtype), memory.copy()
        function(new, old, 7, own, *places, ranks, width, depth, dtype(0.75))
        results.append((new, own))
    for found, meant in zip(*results, strict=True):
        limit = 200 * np.finfo(dtype).eps
        np.testing.assert_allclose(found, meant, rtol=0, atol=limit)
    new, own = results[0]
    assert not np.any(new[:7])
    assert not np.any(new[7 + width * depth :])
    assert not np.array_equal(own, memory)
