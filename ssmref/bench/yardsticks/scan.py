"""The selective scan in C as contenders: the kernel that ours is measured against.

``yardstick:c`` is the best that this CPU can run and writes to one array again and
again, as C programs do; ``yardstick:c:fresh`` returns a new array from each call, as
every other contender does. A is transposed and scaled, and all inputs are copied to
where cache lines begin, outside of the time: the kernel at its best.
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..contender import Contender, Outputs, UnavailableError
from ..environment import isa
from .compile import library

STATE = 16
LANES = {"avx512": 16, "avx2": 8}
_NEEDS = {"avx512": {"avx512f"}, "avx2": {"avx2", "fma"}}
_ALIGNMENT = 64
_FLOATS = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")


def contenders(threads: int) -> tuple[Contender, ...]:
    """Return the kernels; whether they run here shows when they are prepared."""
    return (
        _contender("yardstick:c", threads, "", fresh=False),
        _contender("yardstick:c:fresh", threads, "", fresh=True),
        _contender("yardstick:c:avx512", threads, "avx512", fresh=False),
        _contender("yardstick:c:avx2", threads, "avx2", fresh=False),
    )


def best_variant() -> str:
    """Return the widest kernel that this CPU runs, or raise UnavailableError."""
    fitting = [name for name, needs in _NEEDS.items() if needs <= set(isa())]
    if not fitting:
        raise UnavailableError("the C kernels need AVX2 and FMA")
    return fitting[0]


def empty_aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 array that starts on a cache line: streaming stores need it."""
    count = int(np.prod(shape))
    raw = np.empty(count * 4 + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + count * 4].view(np.float32).reshape(shape)


def _on_a_line(array: np.ndarray) -> np.ndarray:
    """Return a copy that starts on a cache line.

    NumPy puts large arrays 16 bytes past one: then each load of these kernels touches
    two lines, and they take several times as long.
    """
    copy = empty_aligned(array.shape)
    copy[...] = array
    return copy


def _contender(name: str, threads: int, variant: str, *, fresh: bool) -> Contender:
    def prepare(arguments: Mapping[str, Any]) -> Callable[[], np.ndarray]:
        kind = variant or best_variant()
        _refuse(arguments, kind)
        return _call(_kernel(kind), arguments, threads, fresh)

    kept = "a new array per call" if fresh else "writes to one array"
    note = f"A prepared and inputs aligned outside of the time; {kept}"
    return Contender(name, "mamba1.selective_scan", prepare, _outputs, note=note)


def _outputs(y: np.ndarray) -> Outputs:
    return {"y": y}


def _kernel(variant: str) -> Any:
    if not _NEEDS[variant] <= set(isa()):
        raise UnavailableError(f"this CPU has no {variant}")
    kernel = library(f"selective_scan_{variant}.c").selective_scan
    kernel.argtypes = [_FLOATS] * 7 + [ctypes.c_long] * 3 + [ctypes.c_int]
    kernel.restype = None
    return kernel


def _refuse(arguments: Mapping[str, Any], variant: str) -> None:
    """Raise UnavailableError for what the kernels lack."""
    extra = set(arguments) - {"u", "dt", "A", "B", "C", "D"}
    if extra or "D" not in arguments:
        raise UnavailableError("the C kernels take u, dt, A, B, C and D, no more")
    u, A = arguments["u"], arguments["A"]
    if u.dtype != np.float32 or A.dtype != np.float32:
        raise UnavailableError("the C kernels are for float32")
    if A.shape[1] != STATE or A.shape[0] % LANES[variant]:
        raise UnavailableError(
            f"the C kernel needs a state of {STATE} and channels in multiples of "
            f"{LANES[variant]}; A has {A.shape}"
        )
    if arguments["B"].ndim != 3:
        raise UnavailableError("the C kernels have no groups and no constant B and C")


def _call(
    kernel: Any, arguments: Mapping[str, Any], threads: int, fresh: bool
) -> Callable[[], np.ndarray]:
    u, dt, A, B, C, D = (_on_a_line(arguments[n]) for n in _NAMES)
    rates = np.ascontiguousarray(A.T * np.float32(np.log2(np.e)))
    own = empty_aligned(u.shape)

    def call() -> np.ndarray:
        y = empty_aligned(u.shape) if fresh else own
        kernel(u, dt, rates, B, C, D, y, *u.shape, threads)
        return y

    return call


_NAMES = ("u", "dt", "A", "B", "C", "D")
