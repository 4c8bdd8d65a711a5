"""Modules and launches, as CuPy's: what a driver would refuse is refused here."""

import ctypes
import functools
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import build
from .arrays import ndarray
from .memory import overrun
from .settings import current

PLAIN_SHARED = 48 * 1024
GRID = (2**31 - 1, 65535, 65535)
BLOCK = (1024, 1024, 64)
SCALARS = {
    np.dtype(kind): code
    for kind, code in {
        np.bool_: "b1",
        np.int32: "i4",
        np.uint32: "u4",
        np.int64: "i8",
        np.uint64: "u8",
        np.float32: "f4",
        np.complex64: "c8",
    }.items()
}
# What an array may hold where a kernel declares a pointer to one of these.
POINTEES = {
    "f4": ("float32", "complex64"),
    "c8": ("complex64",),
    "bf16": ("bfloat16",),
    "f2": ("float16",),
    "i4": ("int32",),
    "u4": ("uint32", "int32"),
    "i8": ("int64",),
    "u8": ("uint64", "int64"),
    "b1": ("bool",),
}


class CompileException(Exception):  # noqa: N818 (CuPy's name)
    """The text of the compiler, as CuPy's exception of this name."""


class CUDARuntimeError(RuntimeError):
    """A launch that a driver would refuse."""


class KernelFault(RuntimeError):  # noqa: N818 (a fault of the kernel)
    """What the host runtime has found: kernel line, block and thread."""


class Dim3(ctypes.Structure):
    """As uint3 in runtime.h."""

    _fields_ = [(name, ctypes.c_uint) for name in "xyz"]


class Launch(ctypes.Structure):
    """As Launch in runtime.h."""

    _fields_ = [
        ("grid", Dim3),
        ("block", Dim3),
        ("shared", ctypes.c_uint64),
        ("resident", ctypes.c_uint32),
        ("greedy", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("patience", ctypes.c_uint64),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("body", ctypes.c_void_p),
        ("message", ctypes.c_char * 1024),
        ("switches", ctypes.c_uint64),
    ]


# The runtime knows one launch at a time.
_ONE_AT_A_TIME = threading.Lock()


class Function:
    """A kernel; CuPy's RawKernel."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        signature = library[f"ssm_signature_{name}"]
        signature.restype = ctypes.c_char_p
        self.name = name
        self.max_dynamic_shared_size_bytes = PLAIN_SHARED
        self._parameters = signature().decode().split()
        self._bound = library[f"ssm_bound_{name}"]() or 1024
        self._entry = library[f"ssm_launch_{name}"]

    @property
    def max_threads_per_block(self) -> int:
        """By the kernel's launch bounds."""
        return self._bound

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: tuple, *, shared_mem=0
    ) -> None:
        self._check(grid, block, shared_mem)
        values = self._values(args)
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        launch = _launch(grid, block, shared_mem)
        launch.arguments = pointers
        with _ONE_AT_A_TIME:
            failed = self._entry(ctypes.byref(launch))
        if failed:
            raise KernelFault(f"{self.name}: {launch.message.decode()}")
        self._check_arrays(args)

    def _check(self, grid: Sequence[int], block: Sequence[int], shared: int) -> None:
        _check_sizes("grid", grid, GRID)
        _check_sizes("block", block, BLOCK)
        if math.prod(block) > self._bound:
            raise CUDARuntimeError(
                f"{self.name}: a block of {math.prod(block)} threads; the kernel "
                f"is compiled for {self._bound} at most"
            )
        granted = min(self.max_dynamic_shared_size_bytes, current().shared_limit)
        if shared > granted:
            raise CUDARuntimeError(
                f"{self.name}: {shared} bytes of shared memory; {granted} are granted"
            )

    def _values(self, args: tuple) -> list[Any]:
        """Return the arguments as the kernel reads them, or raise TypeError."""
        if len(args) != len(self._parameters):
            raise TypeError(
                f"{self.name} has {len(self._parameters)} parameters, not {len(args)}"
            )
        codes = enumerate(zip(self._parameters, args, strict=True))
        return [_value(f"{self.name}, argument {i}", *pair) for i, pair in codes]

    def _check_arrays(self, args: tuple) -> None:
        for i, value in enumerate(args):
            if isinstance(value, ndarray) and (side := overrun(value._host)):
                raise KernelFault(f"{self.name} wrote {side} its array argument {i}")


def _check_sizes(what: str, sizes: Sequence[int], limits: tuple[int, ...]) -> None:
    if not 1 <= len(sizes) <= 3 or any(
        not 0 < size <= most for size, most in zip(sizes, limits, strict=False)
    ):
        raise CUDARuntimeError(f"{what} is {tuple(sizes)}; the limits are {limits}")


def _launch(grid: Sequence[int], block: Sequence[int], shared: int) -> Launch:
    settings = current()
    return Launch(
        grid=Dim3(*grid, *(1,) * (3 - len(grid))),
        block=Dim3(*block, *(1,) * (3 - len(block))),
        shared=shared,
        resident=settings.resident,
        greedy=settings.seed != 0,
        seed=settings.seed,
        patience=settings.patience,
    )


def _value(where: str, code: str, value: Any) -> Any:
    """Return an argument in memory: the address of an array, or a number's bytes."""
    if code.startswith("*"):
        return _address(where, code[1:], value)
    found = SCALARS.get(value.dtype) if isinstance(value, np.generic) else None
    if found != code:
        raise TypeError(
            f"{where} is {type(value).__name__} {value!r}; the kernel declares {code}"
        )
    return (ctypes.c_char * value.nbytes).from_buffer_copy(value.tobytes())


def _address(where: str, code: str, value: Any) -> ctypes.c_void_p:
    if value is None:
        return ctypes.c_void_p(0)
    if not isinstance(value, ndarray):
        raise TypeError(f"{where} is {type(value).__name__}; the kernel needs an array")
    dtypes = POINTEES.get(code)
    if dtypes and value._host.dtype.name not in dtypes:
        raise TypeError(
            f"{where} is of {value._host.dtype}; the kernel reads {' or '.join(dtypes)}"
        )
    return ctypes.c_void_p(value._host.ctypes.data)


class RawModule:
    """Kernels from a text, compiled when the first one is asked for."""

    def __init__(
        self, *, code: str, options: Sequence[str] = (), backend: str = "nvrtc"
    ) -> None:
        if backend != "nvrtc":
            raise ValueError(f"backend is {backend!r}; kernels are for 'nvrtc'")
        self.code = code
        self.options = tuple(map(_host_option, options))

    def get_function(self, name: str) -> Function:
        """Return a kernel by name; compile the module before, if need be."""
        library, names = self._library()
        if name not in names:
            raise CUDARuntimeError(f"named symbol not found: {name}; there are {names}")
        return Function(library, name)

    def compile(self) -> None:
        """Compile the module for the current settings."""
        self._library()

    def _library(self) -> tuple[ctypes.CDLL, list[str]]:
        try:
            return _loaded(self.code, self.options, current().mode)
        except build.HostCompileError as error:
            raise CompileException(str(error)) from error


@functools.cache
def _loaded(code: str, options: tuple[str, ...], mode: str) -> tuple:
    library = ctypes.CDLL(str(build.library(code, options, mode)))
    library.ssm_names.restype = ctypes.c_char_p
    return library, library.ssm_names().decode().split()


def _host_option(option: str) -> str:
    """Return what g++ calls an option of NVRTC; kernels have no others."""
    if option.startswith(("-D", "-std=")):
        return option
    if option in ("--fmad=false", "-fmad=false"):
        return "-ffp-contract=off"
    raise ValueError(f"the option {option!r} means nothing here")
