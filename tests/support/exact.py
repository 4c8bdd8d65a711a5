"""Exact conversion between NumPy and mpmath: what tests of equations at 50 digits use.

Nothing here computes: an array becomes nested lists of mpf or mpc and back to an
error, so that the equations stand in plain Python in the test.
"""

from typing import Any

import numpy as np
import pytest
from mpmath import mpc, mpf

DIGITS = 50
# Rounding of a few hundred operations in each precision.
LIMITS = {np.dtype(np.float64): 1e-13, np.dtype(np.longdouble): 1e-17}
DTYPES = [
    np.float64,
    pytest.param(
        np.longdouble,
        marks=pytest.mark.skipif(
            bool(np.finfo(np.longdouble).eps > 1e-18),
            reason="longdouble is too short here",
        ),
    ),
]


def numbers(array: Any) -> Any:
    """Return the numbers of a float64 or complex128 array in nested lists."""
    if np.ndim(array):
        return [numbers(x) for x in array]
    return mpc(array) if np.iscomplexobj(array) else mpf(float(array))


def cast(value: Any, dtype: type) -> Any:
    """Return arrays, also in tuples and dicts, in the precision of `dtype`."""
    if isinstance(value, dict):
        return {name: cast(x, dtype) for name, x in value.items()}
    if isinstance(value, tuple):
        parts = [cast(x, dtype) for x in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.inexact):
        return value
    return value.astype(np.result_type(dtype, 1j) if value.dtype.kind == "c" else dtype)


def assert_exact(found: Any, exact: Any) -> None:
    """Assert that an array, or each of a tuple, is within the limit of its dtype."""
    __tracebackhide__ = True
    if isinstance(found, tuple):
        for array, nested in zip(found, exact, strict=True):
            assert_exact(array, nested)
        return
    limit = LIMITS[np.finfo(found.dtype).dtype]
    assert worst(found, exact) <= limit


def worst(found: np.ndarray, exact: list) -> float:
    """Return ``max |found - exact| / max |exact|``; shapes have to agree."""
    expected = np.array(exact, dtype=object)
    assert found.shape == expected.shape, f"{found.shape} != {expected.shape}"
    pairs = zip(found.ravel(), expected.ravel(), strict=True)
    difference = max(abs(_exactly(value) - e) for value, e in pairs)
    return float(difference / max(abs(e) for e in expected.ravel()))


def _exactly(value: Any) -> Any:
    """Convert a number of any precision exactly: its float64, then the rest."""
    if np.iscomplexobj(value):
        return mpc(_exactly(value.real), _exactly(value.imag))
    high = float(value)
    return mpf(high) + mpf(float(value - type(value)(high)))
