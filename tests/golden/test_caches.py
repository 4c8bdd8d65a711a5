"""Serving and snapshots: what pools, padding, drafts and blocks mean."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.caches_inputs import (
    serve_example,
    serve_inputs,
    snapshots_example,
    snapshots_inputs,
)
from support.compare import assert_close

from ssmref.golden import caches
from ssmref.golden.caches import (
    ServeState,
    serve,
    serve_stepwise,
    snapshots,
    snapshots_blockwise,
)
from ssmref.golden.layers import causal_conv1d
from ssmref.golden.mamba2 import ssd

every_serve = pytest.mark.parametrize("form", [serve, serve_stepwise])
every_snapshot = pytest.mark.parametrize("form", [snapshots, snapshots_blockwise])
PER_ROW = ("xBC", "dt", "mask")


def rng():
    return np.random.default_rng(6)


def plain(**sizes):
    """Return a call whose rows start from zeros and write their own slots."""
    call = serve_inputs(rng(), slots=6, **sizes)
    batch = len(call["xBC"])
    return {**call, "read": np.full(batch, -1), "write": np.arange(batch)}


def tokens(call, first, stop):
    cut = {n: call[n][:, first:stop] for n in PER_ROW if n in call}
    return {**call, **cut}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 999),
    batch=st.integers(1, 4),
    length=st.integers(0, 8),
    heads=st.sampled_from([(1, 1), (4, 2), (3, 3)]),
    width=st.integers(1, 5),
    dropped=st.sets(
        st.sampled_from(["bias", "D", "dt_bias", "dt_limit", "mask", "accepted"])
    ),
)
def test_steps_are_serving(seed, batch, length, heads, width, dropped):
    sizes = {"batch": batch, "length": length, "width": width}
    heads, groups = heads
    draw = np.random.default_rng(seed)
    call = serve_example(draw, **sizes, heads=heads, groups=groups)
    call["read"] = draw.integers(-1, 7, batch)
    slots, nowhere = draw.permutation(7)[:batch], draw.uniform(size=batch) < 0.2
    call["write"] = np.where(nowhere, -1, slots)
    if "mask" in dropped:
        dropped = dropped | {"accepted"}
    call = {k: v for k, v in call.items() if k not in dropped}
    assert_close(serve_stepwise(**call), serve(**call))


@every_serve
def test_fresh_rows_are_convolution_and_ssd(form):
    call = plain(batch=2)
    bias, D = rng().standard_normal(42), rng().standard_normal(6)
    y, state = form(**call, bias=bias, D=D)
    mixed, conv = causal_conv1d(
        call["xBC"], call["weight"], bias=bias, activation="silu"
    )
    x = mixed[..., :12].reshape(2, 9, 6, 2)
    B, C = (mixed[..., i : i + 15].reshape(2, 9, 3, 5) for i in (12, 27))
    y_direct, ssm = ssd(x, call["dt"], call["A"], B, C, D=D)
    assert_close(y, y_direct)
    assert_close((state.conv[:2], state.ssm[:2]), (conv, ssm))


@every_serve
@pytest.mark.parametrize("at", [0, 1, 2, 3, 8, 9])
def test_prefill_then_continuation_is_one_prefill(form, at):
    call = plain()
    y_first, state = form(**tokens(call, 0, at))
    second = {**tokens(call, at, 9), "read": call["write"], "state": state}
    y_second, state = form(**second)
    whole = form(**call)
    assert_close((np.concatenate([y_first, y_second], axis=1), state), whole)


@every_serve
@pytest.mark.parametrize("at", [0, 3, 9])
def test_padding_is_as_if_it_were_not_there(form, at):
    call = dict(plain(), bias=np.ones(42), read=np.array([5, -1, 4, 3]))
    y, state = form(**call)
    garbage = {"xBC": (4, 5, 42), "dt": (4, 5, 6)}
    padded = {
        n: np.insert(call[n], [at] * 5, 9 * np.ones(shape), axis=1)
        for n, shape in garbage.items()
    }
    mask = np.insert(np.ones((4, 9), int), [at] * 5, 0, axis=1)
    y_padded, state_padded = form(**{**call, **padded}, mask=mask)
    real = np.delete(y_padded, slice(at, at + 5), axis=1)
    assert_close((real, state_padded), (y, state))
    assert np.all(y_padded[:, at : at + 5] == 0)
    _, unmasked = form(**{**call, **padded})
    assert not np.allclose(unmasked.ssm, state.ssm)


@every_serve
@pytest.mark.parametrize("kept", [0, 1, 2, 5, 9])
def test_rejected_drafts_leave_no_trace_in_the_state(form, kept):
    call = dict(plain(), read=np.array([5, -1, 4, 3]))
    y, state = form(**call, accepted=np.full(4, kept))
    assert_close(y, form(**call)[0])
    assert_close(state, form(**tokens(call, 0, kept))[1])


@every_serve
def test_accepted_counts_real_tokens(form):
    call = plain(batch=1)
    mask = np.array([[0, 1, 0, 1, 1, 0, 1, 0, 0]])
    _, state = form(**call, mask=mask, accepted=np.array([3]))
    early = np.array([[0, 1, 0, 1, 1, 0, 0, 0, 0]])
    assert_close(state, form(**call, mask=early)[1])


@every_serve
def test_beams_continue_their_parents(form):
    call = dict(plain(), read=np.array([3, 0, 0, 5]))
    y, state = form(**call)
    for row, parent in enumerate((3, 0, 0, 5)):
        one = {n: call[n][row : row + 1] for n in ("xBC", "dt")}
        alone = dict(call, **one, read=np.array([parent]), write=np.array([row]))
        y_alone, state_alone = form(**alone)
        assert_close(y[row], y_alone[0])
        for part, part_alone in zip(state, state_alone, strict=True):
            assert_close(part[row], part_alone[row])


@every_serve
def test_all_slots_are_read_before_any_is_written(form):
    call = dict(plain(batch=2), read=np.array([0, 1]))
    swapped = dict(call, write=np.array([1, 0]))
    (y, state), (y_swapped, exchanged) = form(**call), form(**swapped)
    assert_close(y_swapped, y, 0)
    for part, other in zip(state, exchanged, strict=True):
        assert_close(other[[1, 0]], part[:2], 0)


@every_serve
def test_other_slots_and_shared_prefixes_stay(form):
    call = dict(plain(), read=np.array([5, 5, -1, 5]), write=np.array([0, -1, 2, 4]))
    _, state = form(**call)
    for part, before in zip(state, call["state"], strict=True):
        assert_close(part[[1, 3, 5]], before[[1, 3, 5]], 0)
        for slot in (0, 2, 4):
            assert np.any(part[slot] != before[slot])


@every_serve
@pytest.mark.parametrize("how", ["masked", "no tokens"])
def test_row_without_tokens_copies_its_slot(form, how):
    call = dict(plain(batch=3), read=np.array([4, -1, 2]), write=np.array([0, 1, 2]))
    mask = np.zeros((3, 9), int)
    call = dict(call, mask=mask) if how == "masked" else tokens(call, 0, 0)
    y, state = form(**call)
    assert not np.any(y)
    for part, before in zip(state, call["state"], strict=True):
        assert_close(part[0], before[4], 0)
        assert not np.any(part[1])
        assert_close(part[2:], before[2:], 0)


def test_groups_follow_from_the_channels():
    ssm = np.zeros((1, 6, 2, 5))
    channels = np.arange(12 + 2 * 3 * 5.0)
    x, B, C = caches.split(channels, ssm)
    assert (x.shape, B.shape, C.shape) == ((6, 2), (3, 5), (3, 5))
    assert (x[0, 0], B[0, 0], C[0, 0], C[2, 4]) == (0, 12, 27, 41)


@every_snapshot
def test_snapshots_are_states_of_prefixes_at_absolute_blocks(form):
    call = snapshots_example(rng())
    found = form(**call)
    # Sequences of 7, 0, 3 and 12 tokens after 0, 4, 6 and 3 others, blocks of 4.
    ends = [(0, 0, 4), (2, 7, 9), (3, 10, 11), (3, 10, 15), (3, 10, 19)]
    options = {n: call[n] for n in ("dt_bias", "dt_softplus", "dt_limit")}
    assert len(found) == len(ends)
    for state, (row, first, stop) in zip(found, ends, strict=True):
        x, dt, B = (call[n][:, first:stop] for n in ("x", "dt", "B"))
        start = call["initial_state"][row : row + 1]
        _, h = ssd(x, dt, call["A"], B, B, initial_state=start, **options)
        assert_close(state, h[0])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    sequences=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4
    ),
    block=st.integers(1, 7),
    example=st.sampled_from([snapshots_inputs, snapshots_example]),
)
def test_blocks_are_snapshots(seed, sequences, block, example):
    lengths, position = zip(*sequences, strict=True)
    sizes = {"lengths": lengths, "position": position, "block": block}
    call = example(np.random.default_rng(seed), **sizes)
    found = snapshots(**call)
    counts = [(p + n) // block - p // block for n, p in sequences]
    assert len(found) == sum(counts)
    assert_close(snapshots_blockwise(**call), found)


@every_snapshot
@pytest.mark.parametrize("at", range(14))
def test_split_prefill_finds_the_same_snapshots(form, at):
    """A scheduler may stop anywhere: blocks do not start anew."""
    call = snapshots_inputs(rng(), lengths=(13,), position=(6,), block=5)
    parts, h = [], rng().standard_normal((1, 6, 2, 5))
    whole = form(**call, initial_state=h)
    for first, stop in pairwise((0, at, 13)):
        part = {n: call[n][:, first:stop] for n in ("x", "dt", "B")}
        part |= {"cu_seqlens": np.array([0, stop - first])}
        part |= {"position": call["position"] + first, "initial_state": h}
        parts.append(form(**{**call, **part}))
        x, dt, B = (part[n] for n in ("x", "dt", "B"))
        _, h = ssd(x, dt, call["A"], B, B, initial_state=h)
    assert len(whole) == 2
    assert_close(np.concatenate(parts), whole)


@every_snapshot
def test_local_grid_is_another(form):
    call = snapshots_inputs(rng(), lengths=(7, 12), position=(0, 0))
    moved = dict(call, position=np.array([0, 1]))
    assert not np.allclose(form(**call)[1:3], form(**moved)[1:3])


def test_no_boundary_gives_no_snapshot():
    call = snapshots_inputs(rng(), lengths=(3, 2), position=(0, 1))
    assert snapshots(**call).shape == (0, 6, 2, 5)


def test_state_is_a_pool_of_both_parts():
    call = plain()
    _, state = serve(**call)
    assert isinstance(state, ServeState)
    assert (state.conv.shape, state.ssm.shape) == ((6, 3, 42), (6, 6, 2, 5))
