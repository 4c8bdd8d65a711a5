"""Judge ops on inputs of a test's own, as the suite judges them on its cases.

Golden in extended precision is the truth; scale and limit are those of the suite.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from emulated import on_numpy, to_device, to_host
from support.mirror import arrays_of

from ssmref.conformance.cases.case import Case
from ssmref.conformance.precision import dtype_of, per_token, rounded
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import PASSED, Verdict
from ssmref.ops import OPS, implementation

DTYPES = ("float32", "bfloat16", "float16")


def verdict_on(
    function: Callable, op: str, call: dict[str, Any], dtype: str = "float32"
) -> Verdict:
    """Return what the suite says of a function of NumPy arrays on these arguments."""
    case = Case(op, "random", "here", "", lambda _: dict(call))
    return verify_case(function, case, dtype_of(dtype))


def assert_right(
    op: str,
    call: dict[str, Any],
    dtype: str = "float32",
    function: Callable | None = None,
) -> None:
    """Assert that the op of `ssmref.gpu`, or a function in its place, passes."""
    __tracebackhide__ = True
    found = verdict_on(function or ours(op), op, call, dtype)
    assert found.status == PASSED, f"{found.message} {found.findings}"


def ours(op: str) -> Callable:
    """Return an op of `ssmref.gpu` as a function of NumPy arrays."""
    return on_numpy(device_op(op))


def device_op(op: str) -> Callable:
    """Return an op of `ssmref.gpu`."""
    return implementation(OPS[op], "ssmref.gpu")


def on_device(op: str, call: dict[str, Any], dtype: str = "float32") -> dict[str, Any]:
    """Return arguments on the device, rounded as for a case in `dtype`."""
    narrow = rounded(call, dtype_of(dtype), per_token(OPS[op]))
    return {name: to_device(value) for name, value in narrow.items()}


def numbers(result: Any) -> list[np.ndarray]:
    """Return the arrays of a result on the host, in a precision that NumPy knows."""
    return [array.astype(np.float64) for array in arrays_of((to_host(result),))]


def assert_same(one: Any, other: Any) -> None:
    """Assert that two results on the device have the same numbers."""
    __tracebackhide__ = True
    found, expected = numbers(one), numbers(other)
    assert found
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
