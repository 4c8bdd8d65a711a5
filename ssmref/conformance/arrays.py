"""Arrays of other libraries from and to NumPy, without importing any by default."""

import functools
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from .precision import dtype_of


class NotProvidedError(Exception):
    """The candidate does not offer what a case needs."""


def to_numpy(value: Any) -> np.ndarray:
    """Return what a library calls an array as a NumPy array of the same dtype.

    Tensors of torch may need gradients, lie on a device, or be of bfloat16, which NumPy
    knows by ``ml_dtypes`` alone; arrays of cupy are copied from their device. All
    others come by ``__array__`` or, failing that, by DLPack.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_torch(torch, value)
    if hasattr(value, "__cuda_array_interface__"):
        return value.get()
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def _from_torch(torch: Any, tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        bits = tensor.contiguous().view(torch.int16)
        return bits.numpy().view(dtype_of("bfloat16"))
    return tensor.numpy()


def converter(to: str | Callable[[np.ndarray], Any] | None) -> Callable:
    """Return the function that makes a library's array of a NumPy array.

    `to` is such a function, the name of a library in `LIBRARIES`, or None for NumPy.
    """
    if to is None:
        return lambda array: array
    if callable(to):
        return to
    if to not in LIBRARIES:
        known = ", ".join(LIBRARIES)
        raise ValueError(f"to is {to!r}; it may be a function or one of: {known}")
    return LIBRARIES[to]


def on_numpy(function: Callable, to: str | Callable[[np.ndarray], Any]) -> Callable:
    """Return a function of a library's arrays as one of NumPy's, outputs as they are.

    `to` is as in `converter`. What `function` does to its arguments is done to those
    of NumPy: a copy on a device must not hide it.
    """
    convert = converter(to)

    @functools.wraps(function)
    def call(*inputs: Any, **options: Any) -> Any:
        theirs = [converted(value, convert) for value in inputs]
        named = {name: converted(value, convert) for name, value in options.items()}
        result = function(*theirs, **named)
        for ours, after in zip(
            (*inputs, *options.values()), (*theirs, *named.values()), strict=True
        ):
            _copy_changes(after, ours)
        return result

    return call


def converted(value: Any, convert: Callable) -> Any:
    """Return an argument with its arrays converted; all else as it is."""
    if hasattr(value, "_fields"):
        return type(value)(*(converted(part, convert) for part in value))
    return convert(value) if isinstance(value, np.ndarray) else value


def _copy_changes(after: Any, ours: Any) -> None:
    if hasattr(ours, "_fields"):
        for part, our_part in zip(after, ours, strict=True):
            _copy_changes(part, our_part)
    elif isinstance(ours, np.ndarray):
        now = to_numpy(after)
        if now.tobytes() != ours.tobytes():
            ours[...] = now


def _to_torch(array: np.ndarray) -> Any:
    torch = import_module("torch")
    if array.dtype.name == "bfloat16":
        return torch.from_dlpack(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_dlpack(array)


def _to_jax(array: np.ndarray) -> Any:
    made = import_module("jax.numpy").asarray(array)
    if array.dtype.kind in "fc" and made.dtype != array.dtype:
        raise NotProvidedError(f"jax has no {array.dtype} without JAX_ENABLE_X64=1")
    return made


def _to_cupy(array: np.ndarray) -> Any:
    cupy = import_module("cupy")
    if array.dtype.name == "bfloat16" and int(cupy.__version__.split(".")[0]) < 14:
        raise NotProvidedError(f"cupy {cupy.__version__} has no bfloat16; 14 has")
    return cupy.asarray(array)


LIBRARIES = {"torch": _to_torch, "jax": _to_jax, "cupy": _to_cupy}
