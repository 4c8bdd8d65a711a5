"""The module that the ops import as `cupy`: only names that CuPy has."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from . import arrays, kernels
from .arrays import Device, ndarray, on_device, on_host, outside
from .settings import current

# What is NumPy's: elementwise functions, reductions, shapes.
FUNCTIONS = """
    abs absolute add all allclose amax amin angle any append arange arctan arctan2
    argmax argmin argsort array_equal array_split atleast_1d atleast_2d bincount
    broadcast_arrays broadcast_to ceil clip concatenate conj conjugate cos cosh
    count_nonzero cumprod cumsum diag diff divide dot einsum exp exp2 expand_dims expm1
    eye flip floor floor_divide full hstack imag inner isclose isfinite isinf isnan
    linspace log log10 log1p log2 logaddexp matmul max maximum mean min minimum mod
    moveaxis multiply nan_to_num negative nonzero ones outer pad power prod ravel real
    reciprocal remainder repeat reshape rint roll searchsorted sign sin sinh sort split
    sqrt square squeeze stack subtract sum swapaxes take tan tanh tensordot tile
    transpose tril triu true_divide trunc vstack where
"""
# What is the same for both.
SHARED = """
    bool_ can_cast complex128 complex64 dtype e finfo float16 float32 float64 floating
    generic iinfo inf int16 int32 int64 int8 integer nan newaxis number pi
    promote_types result_type uint16 uint32 uint64 uint8
"""
FFT = ("fft", "ifft", "rfft", "irfft", "fftfreq", "rfftfreq")


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """Return memory with poison in it."""
    _check_order(order)
    return ndarray(shape, dtype)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """Return zeros."""
    made = empty(shape, dtype, order)
    made.fill(0)
    return made


def empty_like(a: ndarray, dtype: Any = None, shape: Any = None) -> ndarray:
    """Return memory with poison in it, its axes in the order in which `a` has them."""
    if shape is not None:
        return empty(shape, dtype or a.dtype)
    outermost_first = np.argsort([-abs(stride) for stride in a.strides], kind="stable")
    made = empty([a.shape[axis] for axis in outermost_first], dtype or a.dtype)
    return made.transpose(*np.argsort(outermost_first)) if a.ndim else made


def zeros_like(a: ndarray, dtype: Any = None, shape: Any = None) -> ndarray:
    """Return zeros as `a` has them."""
    return full_like(a, 0, dtype, shape)


def ones_like(a: ndarray, dtype: Any = None, shape: Any = None) -> ndarray:
    """Return ones as `a` has them."""
    return full_like(a, 1, dtype, shape)


def full_like(
    a: ndarray, fill_value: Any, dtype: Any = None, shape: Any = None
) -> ndarray:
    """Return one number everywhere, as `a` has its numbers."""
    made = empty_like(a, dtype, shape)
    made.fill(fill_value)
    return made


def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K") -> ndarray:
    """Copy to the device; what comes from NumPy begins where the settings say."""
    if isinstance(obj, ndarray):
        same = dtype is None or obj.dtype == np.dtype(dtype)
        if not copy and same:
            return obj
        return on_device(obj._host, dtype, order)
    return on_device(obj, dtype, order, current().offset)


def asarray(a: Any, dtype: Any = None, order: str = "K") -> ndarray:
    """Return `a` itself where it is on the device."""
    return array(a, dtype, copy=False, order=order)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """Return `a` in C order: itself where it is."""
    a = asarray(a, dtype)
    return a if a.flags.c_contiguous else on_device(a._host)


def asnumpy(a: Any) -> np.ndarray:
    """Copy to NumPy."""
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


class _OnHost:
    """An object that speaks DLPack, as NumPy would take it."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def from_dlpack(x: Any) -> ndarray:
    """Take the memory of an object that says it is on the device."""
    if x.__dlpack_device__()[0] not in (2, 13):
        raise TypeError("CPU arrays cannot be directly imported to CuPy")
    return outside(np.from_dlpack(_OnHost(x.__dlpack__())))


def _check_order(order: str) -> None:
    if order != "C":
        raise ValueError(f"order is {order!r}; only C order is needed here")


class Stream:
    """Everything has happened when a call returns; so streams are all alike."""

    null: "Stream"
    ptr = 0

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.null_stream, self.non_blocking = null, non_blocking

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Do nothing."""


Stream.null = Stream(null=True)


class Event:
    """A moment on the clock of the host."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def record(self, stream: Stream | None = None) -> None:  # noqa: ARG002
        """Note the time."""
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        """Do nothing."""


def get_elapsed_time(start: Event, end: Event) -> float:
    """Return milliseconds between two events."""
    return (end.seconds - start.seconds) * 1e3


def _properties(device: int) -> dict[str, Any]:
    attributes = Device(device).attributes
    return {
        "name": b"host runtime",
        "multiProcessorCount": attributes["MultiProcessorCount"],
        "sharedMemPerBlockOptin": attributes["MaxSharedMemoryPerBlockOptin"],
        "major": int(current().compute_capability[:-1]),
        "minor": int(current().compute_capability[-1]),
    }


def _module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


def _cuda() -> ModuleType:
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=kernels.CUDARuntimeError,
        getDevice=lambda: 0,
        getDeviceCount=lambda: 1,
        getDeviceProperties=_properties,
        deviceSynchronize=lambda: None,
        runtimeGetVersion=lambda: 13000,
        deviceGetPCIBusId=lambda device: f"0000:0{device}:00.0",
    )
    return _module(
        "cupy.cuda",
        Device=Device,
        Event=Event,
        Stream=Stream,
        compiler=_module(
            "cupy.cuda.compiler", CompileException=kernels.CompileException
        ),
        get_current_stream=lambda: Stream.null,
        get_elapsed_time=get_elapsed_time,
        is_available=lambda: True,
        runtime=runtime,
    )


def _cupy() -> ModuleType:
    own = (empty, zeros, empty_like, zeros_like, ones_like, full_like, array, asarray)
    members = {function.__name__: function for function in own}
    return _module(
        "cupy",
        __version__="14.0.0",
        RawModule=kernels.RawModule,
        ascontiguousarray=ascontiguousarray,
        asnumpy=asnumpy,
        cuda=_cuda(),
        fft=_module("cupy.fft", **{n: on_host(getattr(np.fft, n)) for n in FFT}),
        from_dlpack=from_dlpack,
        ndarray=arrays.ndarray,
        **{name: on_host(getattr(np, name)) for name in FUNCTIONS.split()},
        **{name: getattr(np, name) for name in SHARED.split()},
        **members,
    )


cupy = _cupy()


@contextmanager
def installed() -> Iterator[ModuleType]:
    """Let ``import cupy`` find the stand-in."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = cupy
    try:
        yield cupy
    finally:
        del sys.modules["cupy"]
        if before is not None:
            sys.modules["cupy"] = before
