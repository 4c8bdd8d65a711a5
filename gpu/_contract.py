"""What the ops promise about their arguments: as golden, for arrays on the GPU."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ssmref.contract import Library, at_least, choose, heads_per_group

from ._arrays import adopted
from ._cupy import cupy, device_count

P = ParamSpec("P")
R = TypeVar("R")

CUPY = Library("CuPy", lambda: cupy().ndarray)


class NoDoublePrecisionError(TypeError, NotImplementedError):
    """A wrong dtype, and no mistake: there are no kernels in double precision."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that do not fit the annotations of `function`, before a launch.

    Arrays of other libraries on the current GPU are taken by DLPack. Raises TypeError
    for what is no array, lies in host memory or has a wrong dtype; ValueError for an
    array on another GPU, for a shape, for bounds and slots that cannot be; ImportError
    without CuPy and RuntimeError without a GPU.
    """
    strict = CUPY.checked(function)
    names = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        device_count()
        device = cupy().cuda.runtime.getDevice()
        here = [adopted(n, v, device) for n, v in zip(names, args, strict=False)]
        named = {n: adopted(n, v, device) for n, v in kwargs.items()}
        try:
            return strict(*here, *args[len(names) :], **named)  # pyright: ignore[reportCallIssue]
        except TypeError as error:
            if any(map(_is_double, (*here, *named.values()))):
                raise NoDoublePrecisionError(str(error)) from error
            raise

    return wrapper


def _is_double(value: Any) -> bool:
    """Return whether an array, or one of a state, is in double precision."""
    if hasattr(value, "_fields"):
        return any(map(_is_double, value))
    return getattr(value, "dtype", None) in (np.float64, np.complex128)


__all__ = ["at_least", "checked", "choose", "heads_per_group"]
