"""Heads, filters and parts of H3: what the cases of the suite cannot see."""

from typing import Any

import numpy as np
import pytest
from support.fast_paths import (
    agree,
    cast,
    close,
    threads_agree_and_runs_repeat,
    workspace,
)
from support.h3_inputs import h3_inputs

from ssmref.cpu import _h3_kernels as kernels
from ssmref.cpu import _h3_tiles as tiles
from ssmref.cpu.h3 import H3State, h3, h3_step
from ssmref.cpu.toolkit.kernels import kernel, lane_count
from ssmref.golden import h3 as golden

LIMITS = {np.float32: 1e-5, np.float64: 1e-12}
DTYPES = list(LIMITS)


def inputs(length, heads, head_dim, dtype=np.float64, **sizes) -> dict[str, Any]:
    """Return a call of `h3` in a dtype."""
    rng = np.random.default_rng(length + heads + head_dim)
    call = h3_inputs(rng, length=length, heads=heads, head_dim=head_dim, **sizes)
    return cast(call, dtype)


@kernel
def filter_groups(taps, width, keys, out, groups):
    tiles._filter_groups(taps, 3, width, keys, 200, out, 5, groups)


@kernel
def filter_tokens(taps, width, keys, out, groups):
    tiles._filter_tokens(taps, 3, width, keys, 200, out, 5, groups)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("taps", [1, 2, 9])
@pytest.mark.parametrize("group", [tiles.TOKENS, 1])
def test_filter_is_a_sum_over_earlier_keys(group, taps, dtype):
    rng, count = np.random.default_rng(taps), lane_count(dtype)
    weights = rng.standard_normal(3 + taps * count).astype(dtype)
    keys = rng.standard_normal(200 + 20 * count).astype(dtype)
    out, expected = np.zeros(5 + 20 * count, dtype), np.zeros((20, count))
    run = filter_tokens if group == 1 else filter_groups
    run(weights, taps, keys, out, 2)
    for t in range(2 * group):
        for j in range(taps):
            own = keys[200 + (t - j) * count :][:count]
            expected[t] += weights[3 + j * count :][:count] * own
    close(out[5:], expected.ravel(), LIMITS[dtype])


# Around vectors of 8 and 16 lanes, one head and several, stripes, tiles and filters.
SIZES = [
    *[(1, 1, 1, 1), (7, 17, 1, 3), (8, 33, 1, 9), (127, 3, 1, 2), (129, 2, 1, 140)],
    *[(9, 5, 2, 4), (6, 7, 3, 2), (5, 3, 5, 3), (17, 3, 8, 4), (4, 2, 9, 1)],
    *[(3, 1, 16, 2), (130, 1, 17, 3), (2, 140, 1, 2), (11, 20, 7, 2)],
]


@pytest.mark.parametrize(("length", "heads", "head_dim", "taps"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_around_vectors_and_tiles(length, heads, head_dim, taps, dtype):
    call = inputs(length, heads, head_dim, dtype, taps=taps, state=2)
    agree(h3(**call), golden.h3(**call), 10 * LIMITS[dtype])


@pytest.mark.parametrize("head_dim", [1, 3, 8])
def test_every_pair_is_run_once(head_dim):
    for count in (4, 8, 16):
        pairs = kernels.pairs_of(5, head_dim, count)
        assert sorted(pairs[pairs >= 0].tolist()) == list(range(5 * head_dim**2))
        heads = kernels.heads_of(5, head_dim, count)
        own = pairs // head_dim**2
        of_set = np.repeat(heads, len(pairs) // len(heads), axis=0)
        assert (own == of_set)[pairs >= 0].all()


def scan(call, bounds, cuts):
    """Run a pack in so many parts per sequence."""
    q, k, v = (call[name][0] for name in "qkv")
    shift, ssm = call["initial_state"]
    ssm = ssm.reshape(len(ssm), -1, ssm.shape[-1])
    y, *state = kernels.scan(
        *(q, k, v, call["dt"], call["A"], call["B"], call["C"], call["D"]),
        *(call["shift_C"], False, bounds, shift, ssm),
        cuts=cuts,
    )
    return y, state


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "head_dim"), [(18, 1), (3, 3)])
@pytest.mark.parametrize("cuts", [2, 3, 7])
def test_any_number_of_parts_is_the_whole(cuts, heads, head_dim, dtype):
    call = inputs(90, heads, head_dim, dtype, batch=1, rows=5, taps=6)
    bounds = np.array([0, 41, 41, 42, 47, 90])
    found, whole = scan(call, bounds, cuts), scan(call, bounds, 1)
    agree(found, whole, LIMITS[dtype])
    pack = {**call, "cu_seqlens": bounds, "shift_D": None}
    expected, state = golden.h3(**pack)
    close(found[0], expected[0], 10 * LIMITS[dtype])
    close(found[1][0], state.shift, LIMITS[dtype])


def test_threads_agree_and_runs_repeat(thread_counts):
    call = inputs(1100, 3, 2, batch=1, state=2)
    threads_agree_and_runs_repeat(h3, call, thread_counts, 1e-12)


@pytest.mark.parametrize("name", ["k", "v"])
@pytest.mark.parametrize("head_dim", [1, 3])
def test_what_is_not_finite_stays_in_its_head_and_future(head_dim, name):
    call = inputs(139, 20, head_dim)
    clean, clean_state = h3(**call)
    channel = 6 * head_dim + head_dim - 1
    call[name][1, 70, channel] = np.nan
    y, state = h3(**call)
    touched = np.zeros(y.shape, bool)
    own = (
        slice(6 * head_dim, 7 * head_dim)
        if name == "k"
        else slice(channel, channel + 1)
    )
    touched[1, 70:, own] = True
    np.testing.assert_array_equal(y[~touched], clean[~touched])
    assert np.isnan(y[touched]).all()
    state.ssm[1, 6] = clean_state.ssm[1, 6]
    np.testing.assert_array_equal(state.ssm, clean_state.ssm)


def test_queries_that_are_not_finite_reach_their_token_only():
    call = inputs(20, 3, 2)
    clean, _ = h3(**call)
    call["q"][0, 5, 3] = np.nan
    y, _ = h3(**call)
    assert np.isnan(y[0, 5, 2:4]).all()
    y[0, 5, 2:4] = clean[0, 5, 2:4]
    np.testing.assert_array_equal(y, clean)


@pytest.mark.usefixtures("one_thread")
def test_workspace_does_not_grow_with_length():
    short, long = (
        workspace(h3, inputs(length, 4, 1, state=2, batch=1)) for length in (1000, 4000)
    )
    assert long < short + 4000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [1, 3])
def test_step_is_a_sequence_of_one_token(head_dim, dtype):
    call = inputs(1, 9, head_dim, dtype, state=5)
    whole = h3(**call, method="zoh")
    state = call.pop("initial_state")
    token = {**call, **{name: call[name][:, 0] for name in "qkv"}}
    y, new = h3_step(**token, state=state, method="zoh")
    agree((y[:, None], new), whole, LIMITS[dtype])


def test_state_of_another_head_dim_is_refused():
    call = inputs(2, 4, 3)
    shift, ssm = call["initial_state"]
    call["initial_state"] = H3State(shift, ssm[:, :, :2, :2])
    with pytest.raises(ValueError, match=r"ssm has headdim 2; it needs the head_dim 3"):
        h3(**call)
    with pytest.raises(ValueError, match="head_dim is 2 with 4 heads from dt"):
        h3(**{**call, "head_dim": 2})
