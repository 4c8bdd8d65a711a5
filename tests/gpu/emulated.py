"""A candidate for the suite: the ops of `ssmref.gpu`, on the host.

Each op takes and returns NumPy arrays under the name by which the suite looks for it,
``mamba1_selective_scan``. An op that `ssmref.gpu` does not have is not here either.
"""

import functools
import inspect
from collections.abc import Callable
from importlib import import_module, util
from typing import Any

import numpy as np
from hostcupy.arrays import ndarray
from hostcupy.module import cupy, installed

from ssmref.ops import OPS, Op

NAMES = {f"{op.module}_{op.function}": op for op in OPS.values()}


def offered() -> list[str]:
    """Return the names of the ops that `ssmref.gpu` has."""
    return [op.name for op in OPS.values() if _function(op) is not None]


def __getattr__(name: str) -> Callable:
    op = NAMES.get(name)
    function = _function(op) if op else None
    if function is None:
        raise AttributeError(name)
    return on_numpy(function)


def _function(op: Op) -> Callable | None:
    module = f"ssmref.gpu.{op.module}"
    if util.find_spec(module) is None:
        return None
    return getattr(import_module(module), op.function, None)


def on_numpy(function: Callable) -> Callable:
    """Return a function of arrays on the device as one of NumPy arrays."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with installed():
            options = {name: to_device(value) for name, value in kwargs.items()}
            return to_host(function(*map(to_device, args), **options))

    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call


def to_device(value: Any) -> Any:
    """Copy an array, or those of a state, to the device."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(to_device, value))
    return cupy.asarray(value) if isinstance(value, np.ndarray) else value


def to_host(result: Any) -> Any:
    """Copy arrays back, in tuples and states as well."""
    if isinstance(result, tuple):
        parts = map(to_host, result)
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    return result.get() if isinstance(result, ndarray) else result
