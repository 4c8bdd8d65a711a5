"""What fast paths of several models are held to, and how their calls are made."""

import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from support.mirror import arrays_of, each


def close(found: Any, expected: Any, limit: float = 1e-12) -> None:
    """Compare with the largest number that is expected."""
    size = np.abs(expected).max(initial=1e-30)
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit * size)


def agree(found: tuple, expected: tuple, limit: float = 1e-12) -> None:
    """Compare outputs and all parts of states, and their dtypes."""
    pairs = zip(arrays_of(found), arrays_of(expected), strict=True)
    for own, other in pairs:
        assert own.dtype == other.dtype
        close(own, other, limit)


def same(found: tuple, expected: tuple) -> None:
    """Compare outputs and all parts of states, bit by bit."""
    for own, other in zip(arrays_of(found), arrays_of(expected), strict=True):
        np.testing.assert_array_equal(own, other)


def cast(call: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Return a call with its floating arrays, also those of states, in a precision."""
    kinds = {"f": dtype, "c": np.result_type(dtype, 1j)}
    return each(lambda a: a.astype(kinds.get(a.dtype.kind, a.dtype)), call)


def threads_agree_and_runs_repeat(
    function: Callable, call: dict[str, Any], counts: Iterable[int], limit: float
) -> None:
    """Hold all numbers of threads to one result, and runs to the same bits."""
    results = []
    for _ in counts:
        results.append(function(**call))
        same(function(**call), results[-1])
    assert results
    for result in results[1:]:
        agree(result, results[0], limit)


def workspace(function: Callable, call: dict[str, Any]) -> int:
    """Return the peak of what a call allocates, in bytes, less its results."""
    results = function(**call)  # compiled by now
    tracemalloc.start()
    try:
        function(**call)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak - sum(array.nbytes for array in arrays_of(results))
