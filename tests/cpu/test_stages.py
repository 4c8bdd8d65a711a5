"""Stages on the CPU: golden's, and those that our own ops mean."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compare import assert_close
from support.exact import cast
from support.stages_inputs import (
    EXAMPLES,
    scan_stages_example,
    siso_stages_example,
    ssd_stages_example,
)

from ssmref.cpu import stages
from ssmref.cpu.mamba1 import selective_scan
from ssmref.cpu.mamba2 import ssd
from ssmref.cpu.mamba3 import siso
from ssmref.golden import stages as golden

CLOSE = 1e-11
MAKERS: dict[str, Any] = {n.removeprefix("stages."): f for n, f in EXAMPLES.items()}


def rng():
    return np.random.default_rng(10)


def plain(result):
    """Return stages, and states among them, as plain tuples."""
    if isinstance(result, tuple):
        return tuple(plain(part) for part in result)
    return result


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    length=st.integers(0, 11),
    chunk=st.integers(1, 6),
    from_zero=st.booleans(),
)
def test_stages_are_those_of_golden(name, seed, length, chunk, from_zero):
    call = MAKERS[name](np.random.default_rng(seed), length=length)
    if "chunk_size" in call:
        call["chunk_size"] = chunk
    if from_zero:
        call["initial_state"] = None
    found, expected = getattr(stages, name)(**call), getattr(golden, name)(**call)
    assert found._fields == expected._fields
    for field in found._fields:
        own, other = plain(getattr(found, field)), plain(getattr(expected, field))
        assert_close(own, other, CLOSE)


@pytest.mark.parametrize("name", MAKERS)
def test_float32_is_near_float64(name):
    call = MAKERS[name](rng(), length=50)
    found = getattr(stages, name)(**cast(call, np.float32))
    exact = getattr(golden, name)(**call)
    for field in found._fields:
        single, double = (plain(getattr(r, field)) for r in (found, exact))
        if field == "final_state" and name == "siso_stages":
            single, double = single[1:], double[1:]  # the angle counts modulo 2 pi
        assert_close(cast(single, np.float64), double, 1e-5)


def without(call, *names):
    return {name: value for name, value in call.items() if name not in names}


TOKENS = ("u", "x", "dt", "A", "B", "C", "trap", "angles")


def until(call, stop):
    """Return the call on the first tokens."""
    given = [n for n in TOKENS if n in call and call[n].ndim > 2]
    return {**call, **{n: call[n][:, :stop] for n in given}}


def test_states_that_enter_are_those_of_ssd_before():
    call = ssd_stages_example(rng(), length=11)
    found = stages.ssd_stages(**call)
    assert_close((found.y, found.final_state), ssd(**without(call, "chunk_size")))
    for c in range(4):
        before = without(until(call, 3 * c), "chunk_size")
        assert_close(found.entering_states[:, c], ssd(**before)[1], CLOSE)


def test_chunk_states_are_those_of_the_chunk_alone():
    call = ssd_stages_example(rng())
    found = stages.ssd_stages(**call)
    alone = {n: call[n][:, 3:6] for n in ("x", "dt", "B", "C")}
    alone = {**without(call, "chunk_size", "initial_state"), **alone}
    assert_close(found.chunk_states[:, 1], ssd(**alone)[1], CLOSE)


def test_all_states_of_the_scan_are_those_after_their_tokens():
    call = scan_stages_example(rng())
    found = stages.selective_scan_stages(**call)
    for t in (0, 4, 8):
        _, state = selective_scan(**until(call, t + 1))
        assert_close(found.states[:, t], state, CLOSE)


def test_states_that_enter_are_those_of_siso_with_the_token_before():
    """In full weight: the state after one more token of nothing, not yet decayed."""
    call = siso_stages_example(rng(), length=8)
    found = stages.siso_stages(**call)
    for c in (1, 2):
        start = 3 * c
        _, state = siso(**without(until(call, start), "chunk_size"))
        early = found.scale[:, :, start - 1] - found.gamma[:, :, start - 1]
        before = state.v[..., None] * state.k[:, 0, :, None]
        expected = state.ssm + early[..., None, None] * before
        assert_close(found.entering_states[:, c], expected, CLOSE)


FIELDS = {  # what a wrong token 4 of head 1 reaches, from which chunk of 3 tokens on
    "ssd_stages": {"chunk_states": slice(1, 2), "entering_states": slice(2, None)},
    "siso_stages": {"entering_states": slice(2, None)},
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_head_and_after(name, wrong):
    call = MAKERS[name](rng(), length=9)
    before = getattr(stages, name)(**call)
    call["x"][0, 4, 1] = wrong
    with np.errstate(all="ignore"):
        expected = getattr(golden, name)(**call)
    found = getattr(stages, name)(**call)
    for field, reached in FIELDS[name].items():
        own, other = getattr(found, field), getattr(before, field).copy()
        assert not np.any(np.isfinite(own[0, reached, 1]))
        other[0, reached, 1] = own[0, reached, 1]
        np.testing.assert_array_equal(own, other)
        finite = np.isfinite(getattr(expected, field))
        assert np.array_equal(np.isfinite(own), finite)


def test_a_state_that_is_forgotten_at_once_makes_no_nan():
    """An exponent of minus infinity is a decay of 0, not a difference of infinities."""
    call = siso_stages_example(rng(), length=9)
    call["A"][0, 4, 1] = -np.finfo(np.float64).max
    call["dt"][0, 4, 1] = 2.0
    with np.errstate(all="ignore"):
        expected = golden.siso_stages(**call)
    found = stages.siso_stages(**call)
    assert np.all(np.isfinite(found.entering_states))
    assert_close(found.entering_states, expected.entering_states, CLOSE)
