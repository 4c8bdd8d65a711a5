"""Halves of blocks on the CPU."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import erfc, mp, sqrt
from support import laws
from support.blocks_inputs import (
    mlp_inputs,
    s4_block_inputs,
    s4_block_step_example,
)
from support.compare import assert_close
from support.exact import DIGITS, numbers

from ssmref.cpu import _blocks_kernels as kernels
from ssmref.cpu import blocks
from ssmref.golden import blocks as golden

CLOSE = 1e-11


def rng():
    return np.random.default_rng(1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(0, 3),
    length=st.integers(0, 5),
    channels=st.integers(1, 6),
    inner=st.integers(0, 6),
)
def test_mlp_is_that_of_golden(seed, **sizes):
    call = mlp_inputs(np.random.default_rng(seed), **sizes)
    assert_close(blocks.mlp_block(**call), golden.mlp_block(**call), CLOSE)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(0, 3),
    length=st.integers(0, 9),
    channels=st.integers(1, 3),
    state=st.integers(1, 5),
)
def test_s4_block_is_that_of_golden(seed, **sizes):
    call = s4_block_inputs(np.random.default_rng(seed), **sizes)
    assert_close(blocks.s4_block(**call), golden.s4_block(**call), CLOSE)


def test_laws_of_sequences():
    call = s4_block_inputs(rng())
    laws.assert_split(blocks.s4_block, call, ["u"], 3)
    laws.assert_steps(blocks.s4_block, blocks.s4_block_step, call, ["u"])
    packed = s4_block_inputs(rng(), batch=1, length=8, rows=4)
    laws.assert_packed(blocks.s4_block, packed, ["u"], [0, 3, 3, 7, 8])


def activated(x):
    y = x.copy()
    kernels.activate(y)
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_has_all_digits_also_in_its_left_tail(dtype):
    x = np.concatenate([np.linspace(-8, 8, 501), [1e-30, -1e-30]]).astype(dtype)
    with mp.workdps(DIGITS):
        found = numbers(activated(x).astype(np.float64))
        exact = [v * erfc(-v / sqrt(2)) / 2 for v in numbers(x.astype(np.float64))]
        pairs = zip(found, exact, strict=True)
        error = [float(abs(y - e) / max(abs(e), 1e-300)) for y, e in pairs]
    # Half a unit of x / sqrt(2) is x^2 / 2 units of the exponential in the tail.
    assert np.all(error <= np.finfo(dtype).eps * (3 + x.astype(np.float64) ** 2))


def test_padding_stays_zero_whatever_the_bias():
    call = s4_block_step_example(rng())
    call["u"][1] = np.nan
    y, state = blocks.s4_block_step(**call)
    assert call["slots"].tolist() == [4, -1, 1]
    assert not np.any(y[1])
    assert np.all(np.isfinite(y))
    assert np.array_equal(state[[0, 2, 3, 5]], call["state"][[0, 2, 3, 5]])


def test_what_is_not_finite_stays_in_its_token():
    call = mlp_inputs(rng())
    before, _ = blocks.mlp_block(**call)
    for wrong in (np.nan, np.inf):
        call["hidden"][1, 3, 0] = wrong
        y, _ = blocks.mlp_block(**call)
        assert np.all(np.isnan(y[1, 3]))
        y[1, 3] = before[1, 3]
        assert np.array_equal(y, before)


def test_later_tokens_do_not_see_numbers_that_are_not_theirs():
    call = s4_block_inputs(rng())
    before, _ = blocks.s4_block(**call)
    call["u"][0, 4, 2] = np.nan
    y, _ = blocks.s4_block(**call)
    assert np.all(np.isnan(y[0, 4:]))
    y[0, 4:] = before[0, 4:]
    assert np.array_equal(y, before)
