"""What an op returns: names, axes, and one flat dictionary of arrays."""

from functools import cache
from typing import Any, get_args, get_type_hints

import numpy as np

from ..ops import Op, implementation
from .arrays import to_numpy


class MalformedResultError(Exception):
    """The candidate returned something that cannot be compared."""


def flatten(op: Op, result: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a result by the names in ``op.outputs``.

    Raises MalformedResultError where the number of parts differs or a part is no array.
    """
    parts = _leaves(result) if isinstance(result, tuple | list) else [result]
    if len(parts) != len(op.outputs):
        came = _counted(len(parts))
        if parts == [result] and not hasattr(result, "shape"):
            came = "None" if result is None else f"a {type(result).__name__}"
        raise MalformedResultError(
            f"returned {came}; needed are {_counted(len(op.outputs))}: "
            + ", ".join(op.outputs)
        )
    return {
        name: _array(name, part) for name, part in zip(op.outputs, parts, strict=True)
    }


def _counted(count: int) -> str:
    return "1 array" if count == 1 else f"{count} arrays"


def _leaves(result: Any) -> list:
    """Return the parts of tuples and lists; a list of numbers is a part, and wrong."""
    if isinstance(result, tuple | list) and not _numbers(result):
        return [leaf for part in result for leaf in _leaves(part)]
    return [result]


def _numbers(result: Any) -> bool:
    """Return whether this is a list of numbers, or of such lists."""
    if not isinstance(result, list):
        return False
    return all(
        isinstance(part, int | float | complex) or _numbers(part) for part in result
    )


def _array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, tuple | list):
        raise MalformedResultError(f"{name} is a list, not an array")
    try:
        array = to_numpy(value)
    except Exception as error:
        raise MalformedResultError(f"{name} is no array: {error}") from error
    if array.dtype.kind not in "fciu" and array.dtype.name != "bfloat16":
        raise MalformedResultError(f"{name} has dtype {array.dtype}; it needs numbers")
    return array


@cache
def axes(op: Op) -> dict[str, tuple[str, ...]]:
    """Return the axis words of each output, from the annotation of the golden op."""
    golden = implementation(op, "ssmref.golden")
    shapes = _shapes(get_type_hints(golden)["return"])
    return dict(zip(op.outputs, shapes, strict=True))


def _shapes(annotation: Any) -> list[tuple[str, ...]]:
    if hasattr(annotation, "dim_str"):
        return [tuple(annotation.dim_str.split())]
    fields = getattr(annotation, "_fields", None)
    hints = get_type_hints(annotation) if fields else {}
    parts = [hints[f] for f in fields] if fields else get_args(annotation)
    return [shape for part in parts for shape in _shapes(part)]
