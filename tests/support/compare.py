"""The one comparison of the tests. It fails closed and is itself tested."""

from typing import Any

import numpy as np

# Rounding of float64 between two golden forms of one function.
FORMS = 1e-12


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return ``max |actual - expected| / max(|expected|, 1e-300)``; NaN if any."""
    if expected.size == 0:
        return 0.0
    size = float(np.max(np.abs(expected)))
    return float(np.max(np.abs(actual - expected)) / max(size, 1e-300))


def assert_close(actual: Any, expected: Any, limit: float = FORMS) -> None:
    """Assert equal structure, shapes, dtypes, and an error of at most `limit`."""
    __tracebackhide__ = True
    if isinstance(expected, tuple):
        assert isinstance(actual, tuple)
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_close(a, e, limit)
        return
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{actual.shape} != {expected.shape}"
    assert actual.dtype == expected.dtype, f"{actual.dtype} != {expected.dtype}"
    assert np.all(np.isfinite(expected)), "the expected values are not finite"
    found = error(actual, expected)
    assert found <= limit, f"error {found:.3g} is above {limit:.3g}"
