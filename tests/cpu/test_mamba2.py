"""Chunks, heads of work items and pieces of time: what the cases cannot see."""

from typing import Any

import numpy as np
import pytest
from numba import config, get_num_threads
from support.compare import assert_close
from support.fast_paths import workspace
from support.mamba2_inputs import part, ssd_example, ssd_inputs

from ssmref.conformance.testing import cases, check
from ssmref.cpu import _chunks as chunks
from ssmref.cpu import _mamba2_pieces as pieces
from ssmref.cpu._mamba2_pieces import CHUNK, SHORTEST
from ssmref.cpu.mamba2 import ssd, ssd_step
from ssmref.cpu.toolkit.kernels import kernel
from ssmref.golden import mamba2 as golden

COMPILED = not vars(config)["DISABLE_JIT"]
compiled = pytest.mark.skipif(not COMPILED, reason="too slow without a compiler")


def example(length=CHUNK + 5, dtype: Any = np.float64, **sizes) -> Any:
    call = ssd_example(np.random.default_rng(length), length=length, **sizes)
    return {k: v.astype(dtype) if hasattr(v, "astype") else v for k, v in call.items()}


# Chunks: around their ends, vectors that heads do not fill


LENGTHS = [1, 3, 4, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 17]


@pytest.mark.parametrize("length", LENGTHS if COMPILED else LENGTHS[:4])
@pytest.mark.parametrize("headdim", [1, 16, 21])
def test_chunks_join_without_a_seam(length, headdim):
    call = example(length, headdim=headdim)
    assert_close(ssd(**call), golden.ssd(**call))


@pytest.mark.parametrize("state", [1, 15, 16, 40])
def test_every_coordinate_of_the_state_counts(state):
    call = example(state=state, headdim=3)
    assert_close(ssd(**call), golden.ssd(**call))


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wide_heads_of_many_chunks(dtype):
    sizes = {"heads": 4, "groups": 2, "headdim": 80, "state": 96, "batch": 1}
    call = example(300, **sizes)
    expected = golden.ssd(**call)
    found = ssd(**example(300, dtype, **sizes))
    limit = 2e-6 if dtype == np.float32 else 1e-13
    assert_close(tuple(f.astype(float) for f in found), expected, limit)


# NaN and infinity: where the definition has them, and nowhere else


def same_where_not_finite(call):
    with np.errstate(all="ignore"):
        expected, found = golden.ssd(**call), ssd(**call)
    for f, e in zip(found, expected, strict=True):
        finite = np.isfinite(e)
        np.testing.assert_array_equal(f[~finite], e[~finite])
        assert_close(f[finite], e[finite])
        assert not finite.all()


# Decays whose product over a chunk is 0, while each of them is not.
VANISHING = -50.0


@pytest.mark.parametrize("rate", [-0.5, VANISHING])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("argument", ["x", "dt", "B", "C", "z"])
def test_one_number_spreads_as_in_golden(argument, value, rate):
    call = example(CHUNK + 40, batch=1, heads=4, groups=2)
    call["dt_limit"], call["A"][:] = (0.0, np.inf), rate
    call[argument][0, 30, 1, ...] = np.abs(call[argument][0, 30, 1, ...])
    call[argument][(0, 30, 1, *(0,) * (call[argument].ndim - 3))] = value
    with np.errstate(all="ignore"):
        expected, found = golden.ssd(**call)[0], ssd(**call)[0]
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    assert_close(found[finite], expected[finite])


def test_later_tokens_and_other_heads_do_not_see_nan():
    call = ssd_inputs(np.random.default_rng(0), length=20)
    clean, _ = ssd(**call)
    call["x"][0, 10, 2, 3] = np.nan
    y, state = ssd(**call)
    wrong = np.isnan(y)
    assert wrong[0, 10:, 2, 3].all()
    assert wrong.sum() == 10
    assert np.isnan(state).sum() == state.shape[-1]
    assert_close(y[~wrong], clean[~wrong])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_state_that_is_not_finite_stays_so_however_far_it_decays(value):
    call = ssd_inputs(np.random.default_rng(0), length=3 * CHUNK)
    call["A"][:] = VANISHING
    call["initial_state"] = np.zeros((2, 6, 5, 4))
    call["initial_state"][1, 2, 3, 1] = value
    same_where_not_finite(call)


def test_token_that_meets_an_infinite_step_is_as_in_golden():
    call = ssd_inputs(np.random.default_rng(0), length=20)
    call["dt"][1, 5, 3] = np.inf
    same_where_not_finite(call)


@pytest.mark.parametrize("rate", [3.0, 9.0, -800.0])
def test_decays_may_grow_and_vanish(rate):
    call = ssd_inputs(np.random.default_rng(2), length=60)
    call["A"][1], call["dt"][:, ::7] = rate, 0.0
    assert_close(ssd(**call), golden.ssd(**call))


def test_impulse_is_not_held_up_by_the_smallest_number():
    call = ssd_inputs(np.random.default_rng(0), length=CHUNK - 1)
    call = {k: v.astype(np.float32) for k, v in call.items()}
    call["A"][:], call["dt"][:] = -10.0, 1.0
    call["x"][:, 0], call["x"][:, 1:] = 1e10, 0.0
    assert not ssd(**call)[0][:, 15:].any()


# Division: heads of an item, pieces of time, threads


def arguments(call) -> Any:
    """Return what `ssd` hands to the pieces."""
    found = []
    original = pieces.scan_sequences

    def keep(*given):
        found.extend(given)
        return original(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssmref.cpu.mamba2.scan_sequences", keep)
        _ = ssd(**call)
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_number_of_pieces_agrees_with_one(count, dtype):
    given = arguments(example(4 * CHUNK + 7 if COMPILED else 70, dtype, batch=1))
    whole = pieces.scan_in_pieces(*given, heads=2, count=1)
    split = pieces.scan_in_pieces(*given, heads=2, count=count)
    assert_close(split, whole, 2e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("heads", [1, 2])
def test_heads_of_an_item_change_no_bit(heads):
    given = arguments(example(70, heads=6, groups=2))
    for a, b in zip(
        pieces.scan_in_pieces(*given, heads=heads, count=1),
        pieces.scan_in_pieces(*given, heads=3, count=1),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [-1.0, VANISHING, -1000.0])
def test_pieces_pass_on_what_is_not_finite(rate, value):
    call = ssd_inputs(np.random.default_rng(0), length=3 * CHUNK, batch=1)
    call["A"][:] = rate
    call["x"][0, 5, 1, 2] = value
    with np.errstate(all="ignore"):
        given = arguments(call)
        whole, split = (pieces.scan_in_pieces(*given, heads=1, count=n) for n in (1, 3))
    assert not np.isfinite(whole[0]).all()
    for a, b in zip(split, whole, strict=True):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
        np.testing.assert_array_equal(a[~np.isfinite(a)], b[~np.isfinite(b)])


def test_packs_in_pieces_are_packs():
    lengths = [0, CHUNK + 3, 1, 0, 2 * CHUNK, 7]
    call = example(sum(lengths), batch=1)
    call["cu_seqlens"] = np.cumsum([0, *lengths])
    states = np.random.default_rng(0).standard_normal((6, 6, 5, 4))
    call["initial_state"] = states
    expected = golden.ssd(**call)
    assert_close(ssd(**call), expected)
    y, state = pieces.scan_in_pieces(*arguments(call), heads=2, count=3)
    assert_close((y[None], state), expected)
    np.testing.assert_array_equal(state[[0, 3]], states[[0, 3]])


def test_pieces_are_whole_chunks_and_cover_everything():
    bounds = np.array([0, 5, 5, 5 + 7 * CHUNK + 3])
    found = pieces.pieces_of(bounds, 3)
    tokens = [t for start, stop in found.tolist() for t in range(start, stop)]
    assert tokens == list(range(bounds[-1]))
    assert {int(n) % CHUNK for n in np.diff(found)[6:8, 0]} == {0}


@pytest.mark.skipif(get_num_threads() < 2, reason="two threads are needed")
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_threads_agree_and_repeat(count, use_threads):
    call = example(2 * SHORTEST if COMPILED else 60, batch=1, heads=2, groups=1)
    one = ssd(**call)
    use_threads(count)
    found, again = ssd(**call), ssd(**call)
    assert_close(found, one, 1e-13)
    for a, b in zip(found, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("sequences", "length", "heads", "expected"),
    [
        (1, 8192, 24, (6, 1)),  # a quarter of the heads each
        (4, 100, 6, (6, 1)),  # one sequence each
        (1, 8192, 1, (1, 4)),  # nothing but time to divide
        (1, 100, 1, (1, 1)),  # too short for that
        (1, 0, 6, (2, 1)),
    ],
)
def test_division_fills_four_threads(monkeypatch, sequences, length, heads, expected):
    sizes = {"batch": 1, "heads": heads, "groups": 1, "headdim": 64, "state": 128}
    call = example(1, np.float32, **sizes)
    bounds = np.arange(sequences + 1) * length
    tokens = arguments(call)[0]
    monkeypatch.setattr(pieces, "threads", lambda: 4)
    monkeypatch.setattr("ssmref.cpu.toolkit.threads.threads", lambda: 4)
    assert pieces.division(tokens, bounds) == expected


@compiled
def test_memory_does_not_grow_with_length():
    lengths = 20 * CHUNK, 80 * CHUNK
    calls = (example(length, np.float32, batch=1) for length in lengths)
    short, long = (workspace(ssd, call) for call in calls)
    assert long < short + 10_000


def test_strided_tokens_are_taken_as_they_are():
    call = example(30)
    wide = np.repeat(call["x"], 2, axis=3)
    assert_close(ssd(**{**call, "x": wide[..., ::2]}), ssd(**call), 0.0)


# The parts of a chunk


@kernel
def weigh(weights, size, scores, high, low, i, count, rise):
    chunks._weigh(weights, size, scores, high, low, i, count, rise)


@kernel
def bounds_of(enter, leave, high, low, count, rise):
    chunks._bound_decays(enter, leave, high, low, count, rise)


def sums(size, dtype):
    exact = np.cumsum(-np.random.default_rng(1).uniform(0, 9, size))
    exact[20:] -= 1e8  # differences of rounded sums would be off by 8
    high = exact.astype(dtype)
    return exact, high, (exact - high).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("i", "count"), [(0, 3), (0, 4), (20, 24), (28, 32)])
def test_weights_are_scores_times_decays(i, count, dtype):
    exact, high, low = sums(32, dtype)
    scores = np.random.default_rng(2).standard_normal(32 * 32).astype(dtype)
    scores[np.triu_indices(32, 1)[0] * 32 + np.triu_indices(32, 1)[1]] = np.nan
    weights = np.full(4 * 32, 7, dtype)
    weigh(weights, 32, scores, high, low, i, count, 0.0)
    found = weights.reshape(4, 32)[: count - i, :count]
    rows = slice(i, count)
    decay = np.exp2(np.minimum(exact[rows, None] - exact[:count], 0.0))
    expected = np.tril(scores.reshape(32, 32)[rows, :count] * decay, i)
    np.testing.assert_allclose(
        found, expected, rtol=1e-5 if dtype == np.float32 else 1e-7
    )


def test_no_decay_is_above_the_rise_however_large_the_sums():
    rounded = []
    for base in -1e17 - 16 * np.arange(40.0):
        exact = base + 32 * (np.arange(32) >= 16)
        high = exact.astype(np.float32)
        low = (exact - high).astype(np.float32)
        weights = np.zeros(4 * 32, np.float32)
        ones = np.ones(32 * 32, np.float32)
        weigh(weights, 32, ones, high, low, 16, 20, 32.0)
        assert weights.max() <= 2.0**32
        rounded.append(np.diff(high + low.astype(float)).max())
    assert max(rounded) > 127  # 32, were it not for the rounding of `low`


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 7, 16, 31])
def test_micro_kernels_say_what_they_say_in_numpy(count, dtype):
    _, high, low = sums(32, dtype)
    found, expected = np.zeros((2, 2, 32), dtype)
    enter, leave = found
    bounds_of(enter, leave, high, low, count, 0.0)
    chunks._plain_bounds(expected[0], expected[1], high, low, count, 0.0)
    np.testing.assert_allclose(
        found[:, :count], expected[:, :count], rtol=4 * np.finfo(dtype).eps
    )


# The step


def test_step_after_step_is_the_scan():
    call = example(6)
    y, final = ssd(**call)
    state = call.pop("initial_state")
    for t in range(6):
        y_t, state = ssd_step(**part(call, t), state=state)
        assert_close(y_t, y[:, t], 1e-13)
    assert_close(state, final, 1e-13)


@pytest.mark.parametrize("state", [1, 16, 37, 128])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_step_of_any_width(state, dtype):
    call = part(example(1, dtype, state=state), 0)
    call["state"] = call.pop("initial_state")
    limit = 2e-6 if dtype == np.float32 else 1e-14
    assert_close(ssd_step(**call), golden.ssd_step(**call), limit)


def test_step_contains_nan_in_its_row_and_head():
    call = part(example(1), 0)
    call["state"] = call.pop("initial_state")
    call["state"][1, 2, 3, 1] = np.nan
    y, state = ssd_step(**call)
    assert np.argwhere(np.isnan(y)).tolist() == [[1, 2, 3]]
    assert np.argwhere(np.isnan(state)).tolist() == [[1, 2, 3, 1]]


def test_step_leaves_other_slots_and_its_argument_alone():
    call = part(example(1), 0)
    call.pop("initial_state")
    pool = np.random.default_rng(0).standard_normal((5, 6, 5, 4))
    before = pool.copy()
    y, state = ssd_step(**call, state=pool, slots=np.array([3, -1]))
    np.testing.assert_array_equal(pool, before)
    np.testing.assert_array_equal(state[[0, 1, 2, 4]], before[[0, 1, 2, 4]])
    assert not y[1].any()
    assert y[0].all()
    assert not np.array_equal(state[3], before[3])


@pytest.mark.parametrize("case", cases("mamba2.ssd"), ids=str)
def test_cases(case):
    check(ssd, case, "float32", required=True)


@pytest.mark.parametrize("case", cases("mamba2.ssd_step"), ids=str)
def test_cases_of_the_step(case):
    check(ssd_step, case, "float32", required=True)
