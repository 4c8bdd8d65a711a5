"""Blocks, parts and softmaxes of attention: what the cases of the suite cannot see."""

import numpy as np
import pytest

from ssmref.conformance.testing import cases, check
from ssmref.cpu import _attention_kernels as kernels
from ssmref.cpu import _attention_step as step
from ssmref.cpu.attention import AttentionState, attention, attention_step
from ssmref.cpu.toolkit.kernels import kernel
from ssmref.golden import attention as golden


def inputs(
    length, *, cached=0, heads=4, groups=2, headdim=20, dtype: type = np.float64
):
    rng = np.random.default_rng(length)
    q = rng.standard_normal((2, length, heads, headdim))
    k, v = rng.standard_normal((2, 2, length + cached, groups, headdim))
    state = AttentionState(k[:, :cached].astype(dtype), v[:, :cached].astype(dtype))
    new = (q, k[:, cached:], v[:, cached:])
    return tuple(a.astype(dtype) for a in new), state


# Around the blocks of 64 queries and keys, with and without a cache.
SIZES = [(1, 0), (63, 0), (64, 0), (65, 0), (130, 0), (64, 64), (65, 63), (2, 127)]


@pytest.mark.parametrize(("length", "cached"), SIZES)
@pytest.mark.parametrize("rotary_dim", [0, 6])
def test_blocks_join_without_a_seam(length, cached, rotary_dim):
    arguments, state = inputs(length, cached=cached)
    options = {"rotary_dim": rotary_dim, "initial_state": state}
    y, final = attention(*arguments, **options)
    options["initial_state"] = golden.AttentionState(*state)
    expected, cache = golden.attention(*arguments, **options)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(final.k, cache.k, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(final.v, cache.v)


def test_every_block_of_queries_is_run_once():
    bounds = np.array([0, 0, 1, 65, 65 + 3 * 64, 65 + 7 * 64])
    pairs = kernels._pairs(bounds)
    found = [(s, block) for s, *two in pairs.tolist() for block in two if block >= 0]
    blocks = -(-np.diff(bounds) // 64)
    assert sorted(found) == [(s, b) for s, n in enumerate(blocks) for b in range(n)]


def test_pairs_of_blocks_cost_the_same():
    pairs = kernels._pairs(np.array([0, 8 * 64]))
    assert {a + b for _, a, b in pairs.tolist()} == {7}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("argument", ["k", "v"])
def test_later_keys_and_values_reach_no_earlier_query(argument, value):
    (q, k, v), _ = inputs(100)
    (k if argument == "k" else v)[0, 70] = value
    y, _ = attention(q, k, v)
    with np.errstate(invalid="ignore"):
        expected, _ = golden.attention(q, k, v)
    assert np.isfinite(y[0, :70]).all()
    assert np.isfinite(y[1]).all()
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected))


def test_scores_of_minus_infinity_have_no_weight():
    (q, k, v), _ = inputs(100)
    q, k = np.abs(q), np.abs(k)
    k[:, :80] = -np.inf
    y, _ = attention(q, k, v)
    with np.errstate(invalid="ignore"):
        expected, _ = golden.attention(q, k, v)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)
    assert np.isnan(y[:, :80]).all()
    assert np.isfinite(y[:, 80:]).all()


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
@pytest.mark.parametrize("cached", [0, 5, 64, 300])
def test_parts_of_a_cache_join(parts, cached):
    (q, k, v), state = inputs(1, cached=cached)
    room = tuple(np.full((2, cached + 1, *a.shape[2:]), np.nan) for a in (k, v))
    for array, new in zip(room, (k, v), strict=True):
        array[:, -1] = new[:, 0]
    old = tuple(np.ascontiguousarray(a) for a in state)
    y = step.attend_token_in_parts(q[:, 0], old, room, 0.3, 2, parts)
    expected, cache = golden.attention_step(
        *(q[:, 0], k[:, 0], v[:, 0]), golden.AttentionState(*state), scale=0.3
    )
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(room[0], cache.k)
    np.testing.assert_array_equal(room[1], cache.v)


@pytest.mark.parametrize("size", [1, 7, 8, 16, 33])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_what_they_say(size, dtype):
    rng = np.random.default_rng(size)
    keys = rng.standard_normal(3 + 4 * 2 * size).astype(dtype)
    queries = rng.standard_normal(6 * size).astype(dtype)
    out, expected = np.zeros(6 * 5, dtype), np.zeros(6 * 5, dtype)
    arguments = (5, keys, 3, queries, 4, 2, 3, size)
    _scores(out, *arguments)
    step._plain_scores(expected, *arguments)
    np.testing.assert_allclose(out, expected, rtol=0, atol=50 * np.finfo(dtype).eps)
    assert not out.reshape(6, 5)[:, 4].any()


@kernel
def _scores(out, step_, keys, at, queries, count, groups, share, size):
    step.scores(out, step_, keys, at, queries, count, groups, share, size)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_threads_gives_the_same_bits(count, use_threads):
    arguments, _ = inputs(300, dtype=np.float32)
    expected, _ = attention(*arguments)
    use_threads(count)
    y, _ = attention(*arguments)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("case", cases("attention.attention"), ids=str)
def test_cases(case):
    check(attention, case, "float32", required=True)


@pytest.mark.parametrize("case", cases("attention.attention_step"), ids=str)
def test_cases_of_the_step(case):
    check(attention_step, case, "float32", required=True)
