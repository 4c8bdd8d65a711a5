"""Serving and snapshots on the CPU: each token once, all rows together."""

from itertools import pairwise
from typing import Any

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
from support.exact import cast
from support.mirror import each

from ssmref.cpu import caches
from ssmref.golden import caches as golden

CLOSE = 1e-11
OPTIONS = ["bias", "D", "dt_bias", "dt_limit", "mask", "accepted"]


def rng():
    return np.random.default_rng(6)


def plain(**sizes) -> dict[str, Any]:
    """Return a call whose rows start from zeros and write their own slots."""
    call = serve_inputs(rng(), slots=6, **sizes)
    batch = len(call["xBC"])
    return {**call, "read": np.full(batch, -1), "write": np.arange(batch)}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 999),
    batch=st.integers(0, 4),
    length=st.integers(0, 8),
    heads=st.sampled_from([(1, 1), (4, 2), (3, 3)]),
    width=st.integers(1, 5),
    dropped=st.sets(st.sampled_from(OPTIONS)),
)
def test_serve_is_that_of_golden(seed, batch, length, heads, width, dropped):
    draw, (heads, groups) = np.random.default_rng(seed), heads
    sizes = {"batch": batch, "length": length, "width": width}
    call = serve_example(draw, **sizes, heads=heads, groups=groups)
    nowhere = draw.uniform(size=batch) < 0.2
    call["read"] = draw.integers(-3, 7, batch)
    call["write"] = np.where(nowhere, -1, draw.permutation(7)[:batch])
    if "mask" in dropped:
        dropped = dropped | {"accepted"}
    call = {name: value for name, value in call.items() if name not in dropped}
    assert_close(caches.serve(**call), golden.serve(**call), CLOSE)


@pytest.mark.parametrize("options", [{}, {"mask": np.array([[1], [0], [1], [0]])}])
@pytest.mark.parametrize("slots", [[5, 0, 2, 1], [5, -1, 2, 1], [5, 0, 2, -1]], ids=str)
def test_decoding_is_that_of_golden(monkeypatch, slots, options):
    """A slot that is not there is skipped where the row is padding, and else zeros."""
    call = serve_example(rng(), length=1)
    del call["mask"], call["accepted"]
    call |= {"read": np.array(slots), "write": np.array(slots), **options}
    counted = Counted(caches.ssd)
    monkeypatch.setattr(caches, "ssd", counted)
    assert_close(caches.serve(**call), golden.serve(**call), CLOSE)
    in_pool = min(slots) >= 0 or ("mask" in options and slots[0] >= 0 and slots[2] >= 0)
    assert (not counted.tokens) == in_pool


def test_a_token_that_is_not_accepted_is_not_decoded_in_place():
    call = dict(plain(length=1), read=np.arange(4), accepted=np.array([1, 0, 1, 0]))
    assert_close(caches.serve(**call), golden.serve(**call), CLOSE)
    call |= {"read": np.array([0, 5, 2, 3]), "mask": np.array([[1], [0], [1], [0]])}
    call["accepted"] = call["mask"][:, 0]
    assert_close(caches.serve(**call), golden.serve(**call), CLOSE)


class Counted:
    """`ssd` with a record of how many tokens each call has."""

    def __init__(self, function):
        self.function, self.tokens = function, []

    def __call__(self, x, *args, **kwargs):
        self.tokens.append(x.shape[1])
        return self.function(x, *args, **kwargs)


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({}, [36]),
        ({"mask": np.tile([0, 1, 1, 0, 1, 1, 1, 0, 1], (4, 1))}, [24]),
        ({"accepted": np.array([0, 9, 2, 4])}, [15, 21]),
        ({"accepted": np.array([9, 9, 9, 9])}, [36]),
    ],
)
def test_each_token_is_computed_once_whatever_the_batch(monkeypatch, options, tokens):
    counted = Counted(caches.ssd)
    monkeypatch.setattr(caches, "ssd", counted)
    caches.serve(**plain(), **options)
    assert counted.tokens == tokens


def test_nan_in_a_token_stays_in_its_row_and_after():
    call = dict(plain(), read=np.array([5, -1, 4, 3]))
    before, _ = caches.serve(**call)
    call["xBC"][1, 4] = np.nan
    y, state = caches.serve(**call)
    assert np.all(np.isnan(y[1, 4:]))
    assert np.all(np.isnan(state.ssm[1]))
    # Around NaN, chunks are computed in another order.
    assert_close(y[1, :4], before[1, :4], CLOSE)
    assert np.array_equal(y[[0, 2, 3]], before[[0, 2, 3]])
    assert not np.any(np.isnan(state.ssm[[0, 2, 3, 4, 5]]))
    assert not np.any(np.isnan(state.conv[[0, 2, 3, 4, 5]]))


@pytest.mark.parametrize("name", ["xBC", "dt"])
def test_nan_in_padding_is_not_seen(name):
    call = dict(plain(), mask=np.tile([0, 1, 1, 0, 1, 1, 1, 0, 0], (4, 1)))
    expected = caches.serve(**call)
    call[name][call["mask"] == 0] = np.nan
    assert_close(caches.serve(**call), expected, 0)


def test_nan_in_a_rejected_draft_does_not_reach_the_state():
    call = dict(plain(), accepted=np.array([3, 9, 0, 5]))
    _, expected = caches.serve(**call)
    call["xBC"][0, 3:], call["dt"][3, 5:] = np.nan, np.nan
    y, state = caches.serve(**call)
    assert_close(state, expected, 0)
    assert np.all(np.isnan(y[0, 3:]))
    assert not np.any(np.isnan(y[0, :3]))


def test_nan_in_a_slot_that_nobody_reads_stays_there():
    call = plain()
    call["state"].ssm[5], call["state"].conv[5] = np.nan, np.nan
    y, state = caches.serve(**call)
    assert not np.any(np.isnan(y))
    for part in state:
        assert np.all(np.isnan(part[5]))
        assert not np.any(np.isnan(part[:5]))


def test_no_rows_and_no_slots_are_enough():
    """Golden's answer too where a pool is empty: nothing to read, nothing to write."""
    call = plain(batch=2)
    empty = each(lambda part: part[:0], call["state"])
    call |= {"state": empty, "write": np.full(2, -1)}
    assert_close(caches.serve(**call), golden.serve(**call), CLOSE)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    sequences=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4
    ),
    block=st.integers(1, 7),
    example=st.sampled_from([snapshots_inputs, snapshots_example]),
)
def test_snapshots_are_those_of_golden(seed, sequences, block, example):
    lengths, position = zip(*sequences, strict=True)
    sizes = {"lengths": lengths, "position": position, "block": block}
    call = example(np.random.default_rng(seed), **sizes)
    assert_close(caches.snapshots(**call), golden.snapshots(**call), CLOSE)


@pytest.mark.parametrize("at", range(14))
def test_split_prefill_finds_the_same_snapshots(at):
    """A scheduler may stop anywhere: blocks do not start anew."""
    call = snapshots_inputs(rng(), lengths=(13,), position=(6,), block=5)
    parts, h = [], rng().standard_normal((1, 6, 2, 5))
    whole = caches.snapshots(**call, initial_state=h)
    for first, stop in pairwise((0, at, 13)):
        part = {n: call[n][:, first:stop] for n in ("x", "dt", "B")}
        part |= {"cu_seqlens": np.array([0, stop - first])}
        part |= {"position": call["position"] + first, "initial_state": h}
        parts.append(caches.snapshots(**{**call, **part}))
        x, dt, B = (part[n] for n in ("x", "dt", "B"))
        _, h = caches.ssd(x, dt, call["A"], B, B, initial_state=h)
    assert len(whole) == 2
    assert_close(np.concatenate(parts), whole, CLOSE)


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, CLOSE), (np.float32, 1e-5)])
def test_many_blocks_carry_the_state_along(dtype, limit):
    sizes = {"lengths": (300, 41), "position": (5, 0), "block": 3}
    call = snapshots_inputs(rng(), **sizes)
    call["A"] = call["A"] / 100  # the first tokens are still in the last states
    found = caches.snapshots(**cast(call, dtype))
    assert found.shape[0] == 100 + 13
    assert_close(cast(found, np.float64), golden.snapshots(**call), limit)


def test_snapshots_of_long_blocks_are_not_those_of_their_ends_alone():
    """The decay of a whole block is small, not zero: what was before counts."""
    call = snapshots_inputs(rng(), lengths=(8,), position=(0,), block=4)
    h = rng().standard_normal((1, 6, 2, 5))
    with_state = caches.snapshots(**call, initial_state=h)
    assert np.all(np.abs(with_state - caches.snapshots(**call)).max((1, 2, 3)) > 1e-3)


def test_nan_reaches_later_snapshots_of_its_sequence_and_head_only():
    call = snapshots_inputs(rng(), lengths=(12, 8), position=(0, 0), block=4)
    expected = caches.snapshots(**call)
    call["x"][0, 5, 2] = np.nan
    found = caches.snapshots(**call)
    assert np.all(np.isnan(found[1:3, 2]))
    found[1:3, 2] = expected[1:3, 2]
    assert_close(found, expected, 0)


def test_what_overflows_is_no_warning():
    """The decay of a growing state is infinite after a block, as in the recurrence."""
    call = snapshots_inputs(rng(), lengths=(8,), position=(0,), block=4)
    call["A"], call["dt"] = np.full(6, 400.0), np.ones_like(call["dt"])
    with np.errstate(all="ignore"):
        expected = golden.snapshots(**call)
    found = caches.snapshots(**call)
    assert np.array_equal(np.isfinite(found), np.isfinite(expected))


@pytest.mark.parametrize(
    ("function", "example"),
    [(caches.serve, serve_example), (caches.snapshots, snapshots_example)],
    ids=["serve", "snapshots"],
)
def test_threads_and_runs_agree(function, example, thread_counts):
    call = example(rng())
    for _ in thread_counts:
        found = function(**call)
        assert_close(function(**call), found, 0)
        assert_close(found, getattr(golden, function.__name__)(**call), CLOSE)
