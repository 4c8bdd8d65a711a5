"""What is rounded to the dtype of a case, and what eps is.

A float32 or float64 case has every array in that dtype. A bfloat16 or float16 case is
one of mixed precision, as kernels run it: what comes per token is in the low dtype,
parameters and states are in float32, and so is every state that comes out. Its eps is
that of the low dtype, for all outputs: products of a low dtype's matrices are allowed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any, get_args, get_type_hints

import numpy as np

from ..ops import Op, implementation

DTYPES = ("float64", "float32", "bfloat16", "float16")
# TF32 has 10 bits behind the point, and the range of float32, in which it is stored.
TF32, EPS_OF_TF32 = "tf32", 2.0**-10
# What a verdict may be given in.
PRECISIONS = (*DTYPES, TF32)
# The ops that are products of tiles, for which tensor cores have TF32. In other ops,
# and in the stages of these, nothing excuses the loss of 13 bits.
MULTIPLYING = ("mamba2.ssd", "mamba3.siso", "mamba3.mimo", "attention.attention")

_TF32: ContextVar[bool] = ContextVar("float32 is judged as TF32", default=False)


def dtype_of(name: str) -> np.dtype:
    """Return a dtype by its name; bfloat16 is that of ml_dtypes, TF32 is in float32."""
    if name == TF32:
        name = "float32"
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def is_low(dtype: np.dtype) -> bool:
    """Return whether `dtype` is one of mixed precision."""
    return dtype.itemsize == 2


def wide(dtype: np.dtype) -> np.dtype:
    """Return the dtype of parameters and states in a case of `dtype`."""
    return np.dtype(np.float32) if is_low(dtype) else dtype


@contextmanager
def tf32() -> Iterator[None]:
    """Judge float32 cases, here, by what TF32 can: candidates said they multiply so.

    Nothing else changes: arguments and outputs are in float32. A result that passes
    only here is one in TF32, and has to be called that.
    """
    token = _TF32.set(True)
    try:
        yield
    finally:
        _TF32.reset(token)


@contextmanager
def judged_as(name: str) -> Iterator[np.dtype]:
    """Judge here by the precision of this name; gives the dtype of the arrays."""
    with tf32() if name == TF32 else nullcontext():
        yield dtype_of(name)


def name_of(dtype: np.dtype) -> str:
    """Return what a verdict is called that is given, here, on arrays of `dtype`."""
    return TF32 if _TF32.get() and dtype.name == "float32" else dtype.name


def eps_and_tiny(dtype: np.dtype) -> tuple[float, float]:
    """Return the spacing of numbers at 1 and the smallest normal number."""
    if name_of(dtype) == TF32:
        return EPS_OF_TF32, float(np.finfo(dtype).tiny)
    if dtype.name == "bfloat16":
        return 2.0**-7, 2.0**-126
    limits = np.finfo(dtype)
    return float(limits.eps), float(limits.tiny)


@cache
def per_token(op: Op) -> frozenset[str]:
    """Return the arguments that come per token: a row of them for each row of batch."""
    golden = implementation(op, "ssmref.golden")
    hints = get_type_hints(golden)
    return frozenset(
        name
        for name, hint in hints.items()
        if any(_starts_with_batch(kind) for kind in (get_args(hint) or (hint,)))
        and name != "return"
    )


def _starts_with_batch(kind: Any) -> bool:
    return getattr(kind, "dim_str", "").split()[:1] in (["batch"], ["*batch"])


def rounded(
    arguments: dict[str, Any], dtype: np.dtype, low: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the arguments with floating arrays in `dtype`, also those of states.

    In mixed precision only the arguments in `low` are; the others are in float32.
    """
    return {
        name: _to(value, dtype if name in low else wide(dtype))
        for name, value in arguments.items()
    }


def _to(value: Any, dtype: np.dtype) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_to(part, dtype) for part in value))
    if not isinstance(value, np.ndarray) or value.dtype.kind in "iub":
        return value
    if np.iscomplexobj(value):
        return value.astype(np.result_type(wide(dtype), np.complex64))
    return value.astype(dtype)
