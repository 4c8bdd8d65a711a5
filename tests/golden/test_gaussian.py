"""The error function and GELU: known values, 50 digits, symmetry, wrong calls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import erf as exact_erf
from mpmath import mpf, sqrt, workdps
from support.compare import assert_close
from support.exact import DIGITS, DTYPES, assert_exact

from ssmref.golden.gaussian import erf, gelu

# Both sides of where the series ends, of where erf is 1, and numbers far from all.
POINTS = [1e-300, 1e-9, 0.25, 1.0, 1.9999999, 2.0, 2.25, 3.5, 5.75, 6.5, 9.99, 11.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [*POINTS, *(-x for x in POINTS)])
def test_erf_at_50_digits(x, dtype):
    """Each number by itself: relative to its own size."""
    found = erf(np.array([x], dtype))
    with workdps(DIGITS):
        assert_exact(found, [exact_erf(mpf(x))])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [*POINTS, *(-x for x in POINTS)])
def test_gelu_at_50_digits(x, dtype):
    """Relative to x: where 1 + erf cancels, gelu is small against it."""
    found = gelu(np.array([x, x], dtype))
    found[0] = x
    with workdps(DIGITS):
        exact = mpf(x) * (1 + exact_erf(mpf(x) / sqrt(2))) / 2
        assert_exact(found, [mpf(x), exact])


def test_known_values():
    """Abramowitz & Stegun, table 7.1; the normal distribution at 1 is 0.8413."""
    assert_close(erf(np.array([0.5])), np.array([0.5204998778130465]))
    assert_close(erf(np.array([2.0])), np.array([0.9953222650189527]))
    assert_close(gelu(np.array([1.0])), np.array([0.8413447460685429]))


def test_gelu_is_not_its_approximation_by_tanh():
    x = np.linspace(-4, 4, 33)
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    difference = np.max(np.abs(gelu(x) - x * (1 + np.tanh(inner)) / 2))
    assert 1e-4 < difference < 1e-3


def test_both_branches_meet_where_one_ends():
    below, above = np.nextafter(2.0, 0), 2.0
    assert_close(erf(np.array([below])), erf(np.array([above])), 1e-15)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(-12, 12))
def test_erf_is_odd_and_gelu_splits_x(x):
    """The two sides of the normal distribution sum to 1."""
    one = np.array([x])
    assert np.array_equal(erf(-one), -erf(one))
    assert np.abs(erf(one)) <= 1
    assert_close(gelu(one) - gelu(-one), one, 1e-14)


def test_erf_rises_everywhere():
    x = np.linspace(-3, 3, 4001)
    assert np.all(np.diff(erf(x)) > 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_far_numbers_are_exact(dtype):
    huge = np.array([-np.finfo(dtype).max, -30, 0, 30, np.finfo(dtype).max], dtype)
    assert np.array_equal(erf(huge), np.array([-1, -1, 0, 1, 1]))
    assert erf(huge).dtype == gelu(huge[1:4]).dtype == dtype
    assert np.array_equal(gelu(huge[1:4]), np.array([0, 0, 30]))
    assert np.isnan(erf(np.array([np.nan], dtype)))


def test_single_precision_is_near_double():
    x = np.linspace(-7, 7, 1001)
    assert_close(erf(x.astype(np.float32)).astype(np.float64), erf(x), 5e-7)
    assert_close(gelu(x.astype(np.float32)).astype(np.float64), gelu(x), 5e-7)


@pytest.mark.parametrize("function", [erf, gelu])
def test_any_shape_and_no_writing(function):
    for shape in [(0,), (4,), (2, 3, 1)]:
        x = np.full(shape, 0.5)
        x.flags.writeable = False
        assert function(x).shape == shape


@pytest.mark.parametrize("function", [erf, gelu])
def test_wrong_dtype_is_refused(function):
    with pytest.raises(TypeError, match="x has dtype int64"):
        function(np.arange(3))
