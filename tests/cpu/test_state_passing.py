"""States passed on, step sizes and decays of stretches, against loops over numbers."""

from itertools import pairwise

import numpy as np
import pytest
from support.compare import assert_close

from ssmref.cpu import _state_passing

DTYPES = [np.float32, np.float64]


def rng():
    return np.random.default_rng(3)


def drawn(dtype, rows, shape, decay_axes):
    states = rng().standard_normal((rows, *shape)).astype(dtype)
    kept = rng().uniform(0.1, 1.1, (rows, *shape[:decay_axes])).astype(dtype)
    return states, kept


def passed_on(states, kept, start, bounds):
    """Return what `carry` makes of the states, one number at a time."""
    states = states.copy()
    for s, (first, last) in enumerate(pairwise(bounds)):
        for row in range(first, last):
            before = states[row - 1] if row > first else start[s]
            for at in np.ndindex(*states.shape[1:]):
                decay = kept[row][at[: kept.ndim - 1]]
                states[row][at] += decay * before[at]
    return states


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "decay_axes"),
    [((3, 2, 5), 1), ((3, 7), 2), ((1, 1, 1), 1), ((1033,), 1), ((3, 1), 1), ((2,), 0)],
)
def test_carry_is_its_loop(dtype, shape, decay_axes):
    states, kept = drawn(dtype, 6, shape, decay_axes)
    bounds = np.array([0, 3, 3, 4, 6])
    start = rng().standard_normal((4, *shape)).astype(dtype)
    expected = passed_on(states, kept, start, bounds)
    before = start.copy()
    _state_passing.carry(states, kept, start, bounds)
    assert_close(states, expected, 4 * np.finfo(dtype).eps)
    assert np.array_equal(start, before)


@pytest.mark.parametrize("decay_axes", [1, 2])
def test_carry_is_the_same_for_any_number_of_threads(thread_counts, decay_axes):
    # More numbers than are worth waking threads for.
    states, kept = drawn(np.float64, 40, (64, 64), decay_axes)
    start, bounds = np.ones((2, 64, 64)), np.array([0, 15, 40])
    results = []
    for _ in thread_counts:
        own = states.copy()
        _state_passing.carry(own, kept, start, bounds)
        results.append(own)
    assert all(np.array_equal(own, results[0]) for own in results)
    assert_close(results[0][15:17], by_hand(states, kept, 15), 1e-15)


def by_hand(states, kept, first):
    """Return the first two states of a sequence that starts from ones."""
    scales = kept.reshape(*kept.shape, *(1,) * (states.ndim - kept.ndim))
    one = states[first] + scales[first]
    return np.stack([one, states[first + 1] + scales[first + 1] * one])


def test_nan_is_passed_on_in_its_sequence_and_number_only():
    states, kept = drawn(np.float32, 6, (3, 5), 1)
    states[1, 2, 4] = np.nan
    _state_passing.carry(
        states, kept, np.zeros((2, 3, 5), np.float32), np.array([0, 4, 6])
    )
    wrong = np.isnan(states)
    assert np.all(wrong[1:4, 2, 4])
    assert np.sum(wrong) == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_sizes_are_new_in_the_dtype_given(dtype):
    dt, bias = np.array([-1, 0.5, 30], dtype), np.array([0.25, -2, 1], dtype)
    assert_close(_state_passing.steps_of(dt, None, False), dt, 0)
    assert not np.shares_memory(_state_passing.steps_of(dt, None, False), dt)
    assert_close(
        _state_passing.steps_of(dt, bias, False, (0.0, 9.0)),
        np.array([0, 0, 9], dtype),
        0,
    )
    smooth = np.array([np.log1p(np.exp(-0.75)), np.log1p(np.exp(-1.5)), 31], dtype)
    found = _state_passing.steps_of(dt, bias, True)
    assert_close(found, smooth, 4 * np.finfo(dtype).eps)
    with pytest.raises(ValueError, match=r"dt_limit is \(2, 1\); it needs"):
        _state_passing.steps_of(dt, bias, True, (2, 1))


def test_decays_of_stretches_are_products_of_the_decays_of_tokens():
    exponents = -rng().uniform(0.1, 1, (7, 3))
    found = _state_passing.decays_of(exponents, np.array([0, 1, 4, 7]))
    decays = np.exp(exponents)
    products = [np.prod(decays[a:b], axis=0) for a, b in ((0, 1), (1, 4), (4, 7))]
    assert_close(found, np.stack(products), 1e-15)


def test_decays_are_summed_in_float64():
    """A sum in float32 would stop growing, and be 2% off, after so many tokens."""
    count = 1 << 18
    exponents = np.full((count, 1), -0.1 / count, np.float32)
    found = _state_passing.decays_of(exponents, np.array([0, count]))
    assert found.dtype == np.float32
    assert_close(found, np.full((1, 1), np.exp(-0.1), np.float32), 1e-7)
