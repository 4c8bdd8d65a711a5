"""Causal softmax attention: its forms agree, and it is what it says."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attention_inputs import EXAMPLES, attention_inputs, cache
from support.compare import assert_close
from support.exact import cast

from ssmref.golden.attention import (
    AttentionState,
    attention,
    attention_blocked,
    attention_quadratic,
    attention_step,
)

FORMS = {
    "recurrence": attention,
    "quadratic": attention_quadratic,
    "blocked": attention_blocked,
}
ROTARY = [
    {},
    {"rotary_dim": 8},
    {"rotary_dim": 4, "interleaved": True, "rotary_base": 100.0, "scale": 0.7},
]
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def rng():
    return np.random.default_rng(7)


def steps(q, k, v, *, initial_state, **options):
    """Return what a loop of `attention_step` gives."""
    outputs, state = (
        [np.zeros((*q.shape[:1], 0, q.shape[2], v.shape[3]))],
        initial_state,
    )
    for t in range(q.shape[1]):
        y, state = attention_step(q[:, t], k[:, t], v[:, t], state, **options)
        outputs.append(y[:, None])
    return np.concatenate(outputs, axis=1), state


def test_two_tokens_known_answer():
    # Weights softmax([0, ln 3]) = 1/4, 3/4 on values 8 and 4.
    q, k = np.ones((1, 2, 1, 1)), np.array([0.0, np.log(3)]).reshape(1, 2, 1, 1)
    v = np.array([8.0, 4.0]).reshape(1, 2, 1, 1)
    assert_close(attention(q, k, v)[0].ravel(), np.array([8.0, 5.0]), 1e-15)


def test_one_token_returns_its_value():
    call = attention_inputs(rng(), length=1)
    expected = np.repeat(call["v"], 2, axis=2)
    assert_close(attention(**call)[0], expected, 1e-15)


def test_equal_keys_average_the_values_so_far():
    call = attention_inputs(rng(), heads=3)
    call["k"][:] = call["k"][:, :1]
    count = np.arange(1, 8)[:, None, None]
    assert_close(attention(**call)[0], np.cumsum(call["v"], axis=1) / count)


@pytest.mark.parametrize("options", ROTARY)
@pytest.mark.parametrize("cached", [None, 0, 1, 4])
@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 17, 33])
def test_forms_agree(length, cached, options):
    call = attention_inputs(rng(), length=length) | options
    if cached is not None:
        call["initial_state"] = cache(rng(), cached=cached)
    expected = attention(**call)
    assert_close(attention_quadratic(**call), expected)
    for block_size in (1, 3, 16, 64):
        assert_close(attention_blocked(**call, block_size=block_size), expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(0, 20),
    cached=st.integers(0, 5),
    groups=st.sampled_from([(1, 1), (4, 1), (4, 2), (6, 3), (6, 6)]),
    block_size=st.integers(1, 30),
    rotary_dim=st.sampled_from([0, 2, 6]),
)
def test_forms_agree_anywhere(seed, length, cached, groups, block_size, rotary_dim):
    random, (heads, kv_heads) = np.random.default_rng(seed), groups
    call = attention_inputs(
        random, length=length, heads=heads, kv_heads=kv_heads, headdim=6
    )
    state = cache(random, cached=cached, kv_heads=kv_heads, headdim=6)
    call |= {"initial_state": state, "rotary_dim": rotary_dim}
    expected = attention(**call)
    assert_close(attention_quadratic(**call), expected)
    assert_close(attention_blocked(**call, block_size=block_size), expected)
    assert_close(steps(**call), expected)


@pytest.mark.parametrize("options", ROTARY)
def test_scan_is_step_loop(options):
    call = attention_inputs(rng()) | {"initial_state": cache(rng()), **options}
    assert_close(steps(**call), attention(**call))


@each_form
@pytest.mark.parametrize("split", [0, 1, 6, 7])
def test_split_with_carried_cache_is_whole(form, split):
    call = attention_inputs(rng())
    options = {"rotary_dim": 6, "interleaved": True}
    first, state = form(**{n: x[:, :split] for n, x in call.items()}, **options)
    rest = {n: x[:, split:] for n, x in call.items()}
    second, state = form(**rest, **options, initial_state=state)
    joined = np.concatenate([first, second], axis=1), state
    assert_close(joined, form(**call, **options))


@each_form
@pytest.mark.parametrize("bounds", [[0, 7], [0, 3, 3, 7], [0, 0, 1, 5, 7, 7]])
def test_pack_is_separate_sequences(form, bounds):
    call = attention_inputs(rng(), batch=1)
    cu_seqlens = np.array(bounds)
    y, state = form(**call, rotary_dim=4, cu_seqlens=cu_seqlens)
    for start, stop in pairwise(bounds):
        one = form(**{n: x[:, start:stop] for n, x in call.items()}, rotary_dim=4)
        packed = (y[:, start:stop], AttentionState(*(s[:, start:stop] for s in state)))
        assert_close(packed, one, 0.0)
    assert y.shape[1] == state.k.shape[1] == state.v.shape[1] == 7


@each_form
def test_output_is_causal(form):
    call = attention_inputs(rng())
    before, _ = form(**call)
    later = {n: x.copy() for n, x in call.items()}
    for x in later.values():
        x[:, 4:] += 1
    after, _ = form(**later)
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert np.all(after[:, 4:] != before[:, 4:])


@each_form
def test_consecutive_heads_share_a_key_and_value_head(form):
    call = attention_inputs(rng())
    repeated = {n: np.repeat(call[n], 2, axis=2) for n in "kv"}
    assert_close(form(**call | repeated)[0], form(**call)[0], 0.0)


def test_default_scale_is_the_root_of_headdim():
    call = attention_inputs(rng(), headdim=6)
    assert_close(attention(**call, scale=6**-0.5), attention(**call))


def test_rotated_scores_depend_on_distance_only():
    call = attention_inputs(rng())
    # Three zero keys with zero values: they shrink an output, equally in all parts.
    zeros = AttentionState(np.zeros((2, 3, 3, 8)), np.zeros((2, 3, 3, 5)))
    ratio = attention(**call, rotary_dim=8, initial_state=zeros)[0]
    ratio = ratio / attention(**call, rotary_dim=8)[0]
    assert_close(ratio, np.broadcast_to(ratio[..., :1], ratio.shape))
    assert np.all((ratio > 0) & (ratio < 1))


def test_large_scores_do_not_overflow():
    call = attention_inputs(rng())
    call["q"] *= 1e4
    expected = attention(**call)
    assert np.all(np.isfinite(expected[0]))
    assert_close(attention_quadratic(**call), expected)
    assert_close(attention_blocked(**call, block_size=2), expected)


@each_form
def test_linear_in_values(form):
    call = attention_inputs(rng())
    other = attention_inputs(np.random.default_rng(1))["v"]
    total = form(**call | {"v": call["v"] - 2 * other})[0]
    assert_close(total, form(**call)[0] - 2 * form(**call | {"v": other})[0])


@each_form
@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float32, 1e-5), (np.longdouble, 1e-14)]
)
def test_precision_is_that_of_the_arguments(form, dtype, limit):
    call = EXAMPLES["attention.attention"](rng())
    y, state = form(**cast(call, dtype))
    assert {y.dtype, state.k.dtype, state.v.dtype} == {np.dtype(dtype)}
    assert_close(
        cast((y, *state), np.float64), (form(**call)[0], *form(**call)[1]), limit
    )


@each_form
def test_arguments_are_not_modified(form):
    call = EXAMPLES["attention.attention"](rng())
    form(**call)
    same = EXAMPLES["attention.attention"](rng())
    for name in ("q", "k", "v", "initial_state"):
        assert_close(call[name], same[name], 0.0)


CALL = attention_inputs(rng())
STEP = EXAMPLES["attention.attention_step"](rng())


@each_form
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": CALL["k"][:, :5]}, r"k has shape \(2, 5, 3, 8\).*length = 7 from q"),
        ({"v": CALL["v"][:, :, :2]}, r"v has shape .*kv_heads = 3 from k"),
        ({"q": CALL["q"][..., :4]}, r"k has shape .*headdim = 4 from q"),
        ({"q": CALL["q"][:, :, :4]}, "k has 3 groups.*divide 4"),
        ({"rotary_dim": 3}, "rotary_dim is 3; it needs to be even"),
        ({"rotary_dim": 10}, "rotary_dim is 10; .*at most headdim = 8"),
        ({"rotary_dim": -2}, "rotary_dim is -2"),
        ({"initial_state": cache(rng(), batch=3)}, r"initial_state.k has shape \(3, 4"),
        ({"cu_seqlens": np.array([0, 7])}, "packed sequences need batch 1"),
    ],
)
def test_wrong_values_are_refused(form, changes, message):
    with pytest.raises(ValueError, match=message):
        form(**CALL | changes)


def test_pack_with_a_cache_is_refused():
    call = attention_inputs(rng(), batch=1)
    state, bounds = cache(rng(), batch=1), np.array([0, 7])
    with pytest.raises(ValueError, match="initial_state is given with cu_seqlens"):
        attention(**call, initial_state=state, cu_seqlens=bounds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": CALL["q"].astype(int)}, "q has dtype int64"),
        ({"v": CALL["v"].astype(np.float32)}, "v has dtype float32, but q has"),
        ({"initial_state": tuple(cache(rng()))}, r"needs to be AttentionState\(k, v\)"),
    ],
)
def test_wrong_types_are_refused(changes, message):
    with pytest.raises(TypeError, match=message):
        attention(**CALL | changes)


def test_step_refuses_a_cache_of_another_size():
    wrong: dict[str, Any] = {**STEP, "state": cache(rng(), headdim=6)}
    with pytest.raises(ValueError, match=r"state.k has shape \(2, 4, 3, 6\)"):
        attention_step(**wrong)


def test_block_size_is_positive():
    with pytest.raises(ValueError, match="block_size is 0; it needs to be at least 1"):
        attention_blocked(**CALL, block_size=0)
