"""Arrays of the stand-in: NumPy's inside, and as unwilling to mix with NumPy's as CuPy.

It is no subclass of NumPy's array: on a GPU, `numpy.asarray` of an array raises, and so
it does here.
"""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .memory import allocate
from .settings import current

SCALARS = (bool, int, float, complex, np.generic)
KEYS = (int, slice, type(None), type(Ellipsis), np.integer, list, bool)

# Methods and properties that are NumPy's on the array inside.
VALUES = ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides")
VIEWS = ("T", "imag", "real")
METHODS = (
    *("all", "any", "argmax", "argmin", "clip", "conj", "copy", "cumprod", "cumsum"),
    *("diagonal", "dot", "flatten", "max", "mean", "min", "nonzero", "prod", "ravel"),
    *("repeat", "reshape", "squeeze", "sum", "swapaxes", "take", "transpose", "view"),
)


class Pointer:
    """Where an array begins, as CuPy's ``array.data``."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


class Device:
    """The one device, 0."""

    id = 0

    def __init__(self, device: int | None = None) -> None:
        if device not in (None, 0):
            raise ValueError(f"there is one device here, 0, not {device}")

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: the device is the current one already."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return 0

    def __int__(self) -> int:
        return 0

    def synchronize(self) -> None:
        """Do nothing: a launch has ended when it returns."""

    @property
    def compute_capability(self) -> str:
        """As "90", by the settings."""
        return current().compute_capability

    @property
    def attributes(self) -> dict[str, int]:
        """Those that the ops ask for, by the settings."""
        return {
            "MaxSharedMemoryPerBlock": 49152,
            "MaxSharedMemoryPerBlockOptin": current().shared_limit,
            "MaxThreadsPerBlock": 1024,
            "MultiProcessorCount": current().processors,
            "WarpSize": 32,
        }


class ndarray(NDArrayOperatorsMixin):  # noqa: N801 (CuPy's name)
    """An array on the device."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        self._host = allocate(_shape(shape), np.dtype(dtype))

    @property
    def data(self) -> Pointer:
        """The address of the first element."""
        return Pointer(self._host.ctypes.data)

    @property
    def device(self) -> Device:
        """The device that it is on."""
        return Device()

    def __getattr__(self, name: str) -> Any:
        if name in VALUES:
            return getattr(self._host, name)
        if name in VIEWS:
            return outside(getattr(self._host, name))
        if name in METHODS:
            return functools.partial(on_host(getattr(np.ndarray, name)), self)
        raise AttributeError(f"an array on the device has no {name!r} here")

    def get(self) -> np.ndarray:
        """Return a copy as NumPy's."""
        return np.array(self._host, order="C")

    def set(self, array: np.ndarray) -> None:
        """Overwrite with an array of NumPy of the same shape and dtype."""
        if array.dtype != self.dtype or array.shape != self.shape:
            raise ValueError(
                f"{array.dtype}{array.shape} into {self.dtype}{self.shape}"
            )
        self._host[...] = array

    def fill(self, value: Any) -> None:
        """Overwrite with one number."""
        self._host.fill(inside(value))

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> "ndarray":
        """Return the array in another dtype."""
        if not copy and self.dtype == np.dtype(dtype):
            return self
        with np.errstate(over="ignore", invalid="ignore"):  # a GPU does not warn
            return outside(self._host.astype(dtype, order=order))  # type: ignore[arg-type]

    def tolist(self) -> Any:
        """Return Python numbers, after a copy to the host."""
        return self._host.tolist()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        return self._host.item()

    def __getitem__(self, key: Any) -> "ndarray":
        return outside(self._host[_key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[_key(key)] = inside(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator["ndarray"]:
        return map(outside, self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __repr__(self) -> str:
        return repr(self._host)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()`"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any):
        options = {name: inside(value) for name, value in options.items()}
        with np.errstate(all="ignore"):
            return outside(getattr(ufunc, method)(*map(inside, inputs), **options))

    def __array_function__(self, function: Callable, _: Any, args: Any, kwargs: Any):
        return on_host(function)(*args, **kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: Any) -> Any:
        return self._host.__dlpack__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = self._host.__array_interface__
        return {**interface, "version": 3, "stream": None}


def _shape(shape: Any) -> tuple[int, ...]:
    return (operator.index(shape),) if isinstance(shape, int) else tuple(shape)


def _key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(map(_key, key))
    if isinstance(key, ndarray):
        return key._host
    if isinstance(key, KEYS):
        return key
    raise IndexError(f"an array on the GPU is not indexed by {type(key).__name__}")


def inside(value: Any) -> Any:
    """Return what NumPy computes with; its own arrays are refused, as by CuPy."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, list | tuple):
        return type(value)(map(inside, value))
    return value


def outside(result: Any) -> Any:
    """Return results of NumPy as arrays on the device."""
    if isinstance(result, list | tuple):
        return type(result)(map(outside, result))
    if not isinstance(result, np.ndarray | np.generic):
        return result
    made = object.__new__(ndarray)
    made._host = np.asarray(result)
    return made


def on_host(function: Callable) -> Callable:
    """Return a function of NumPy as one of arrays on the device."""

    def call(*args: Any, **kwargs: Any) -> Any:
        options = {name: inside(value) for name, value in kwargs.items()}
        with np.errstate(all="ignore"):
            return outside(function(*map(inside, args), **options))

    return call


def on_device(
    host: Any, dtype: Any = None, order: str = "C", offset: int = 0
) -> ndarray:
    """Copy what NumPy makes an array of to the device, `offset` elements further."""
    array = np.asarray(host, dtype)
    if order in "KA" and array.flags.f_contiguous and not array.flags.c_contiguous:
        return on_device(array.T, offset=offset).T  # type: ignore[attr-defined]
    made = object.__new__(ndarray)
    made._host = allocate(array.shape, array.dtype, offset * array.dtype.itemsize)
    made._host[...] = array
    return made
