"""What the machine can do: memory, multiply-adds, matrix products, exponentials.

Each rate is measured with the threads that the ops get, by NumPy alone where there is
no C compiler; the method is part of the rate. Bandwidths count three arrays per triad
``a = b + s c``, without what caches read in order to write.
"""

import ctypes
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .contender import UnavailableError
from .environment import last_cache_bytes
from .measure import in_turn
from .yardsticks.compile import library
from .yardsticks.scan import empty_aligned

REPEATS = 7
# A triad of NumPy goes block by block, so that its intermediate result stays cached.
_BLOCK = 2**16
_GEMM_SIZES = (512, 1024, 2048)
_IN_CACHE = 4096
# A sample of a rate that needs no memory takes about so long.
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Rate:
    """Repeated measurements of one rate, in units per second."""

    name: str
    unit: str
    method: str
    samples: tuple[float, ...]

    @property
    def best(self) -> float:
        """The highest of the samples: what the machine can do."""
        return max(self.samples)

    @property
    def median(self) -> float:
        """The middle of the samples: what it usually does."""
        return statistics.median(self.samples)


Rates = dict[str, Rate]


@dataclass(frozen=True)
class Probe:
    """A call that does so much `work` of a kind: its time tells a rate."""

    name: str
    unit: str
    method: str
    work: float
    call: Callable[[], object]

    def rate(self, repeats: int) -> Rate:
        """Return the rate of so many calls, after one that warms up."""
        self.call()
        speeds = (self.work / _seconds(self.call) for _ in range(repeats))
        return Rate(self.name, self.unit, self.method, tuple(speeds))


def measure(
    threads: int,
    *,
    repeats: int = REPEATS,
    triad_bytes: int | None = None,
    gemm_sizes: tuple[int, ...] = _GEMM_SIZES,
    seconds: float = _SAMPLE_SECONDS,
    dtypes: tuple[str, ...] = ("float32", "float64"),
) -> Iterator[Rate]:
    """Yield every rate that can be measured here, products in these dtypes.

    Each array of the triad is four times the largest cache unless it is said.
    """
    size = triad_bytes or 4 * last_cache_bytes()
    yield from _triads(threads, repeats, size)
    for dtype in map(np.dtype, dtypes):
        yield _gemm(dtype, repeats, gemm_sizes)
        for probe in multiply_adds(dtype, threads, seconds=seconds):
            yield probe.rate(repeats)
    yield _exp_numpy(threads, repeats, seconds)
    yield from _exp_c(threads, repeats, seconds)
    yield from _exp_own(threads, repeats, seconds)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _long_enough(call: Callable[[int], object], seconds: float) -> int:
    """Return how many loops take so long even at the better of two tries."""
    loops = 1
    while min(_seconds(partial(call, loops)) for _ in range(2)) < seconds:
        loops *= 2
    return loops


def _triads(threads: int, repeats: int, size: int) -> Iterator[Rate]:
    """Yield the bandwidth with plain stores, and past the caches where C can."""
    yield triad("triad", size, threads).rate(repeats)
    try:
        program = library("rates.c").triad_streaming
    except UnavailableError:
        return
    count, (a, b, c) = _vectors(size, 3)
    call = partial(program, *_arguments(a, b, c, threads))
    if call():
        method = "C, stores past the caches"
        yield Probe("triad_streaming", "B/s", method, 12 * count, call).rate(repeats)


def triad(name: str, size: int, threads: int, copies: int = 1) -> Probe:
    """Return a triad of arrays of so many bytes, with plain stores.

    `copies` of what is read take turns within a call, and all are written to the same
    memory: so do the inputs of a step, and its results, which are dropped.
    """
    count, (a, *read) = _vectors(size, 1 + 2 * copies)
    pairs = zip(read[::2], read[1::2], strict=True)
    try:
        program = library("rates.c").triad
    except UnavailableError:
        pool, method = ThreadPoolExecutor(threads), "NumPy, block by block"
        calls = [_numpy_triad(a, b, c, threads, pool) for b, c in pairs]
    else:
        method = "C"
        calls = [partial(program, *_arguments(a, b, c, threads)) for b, c in pairs]
    return Probe(name, "B/s", method, 12 * count * copies, in_turn(calls))


def _vectors(size: int, number: int) -> tuple[int, list[np.ndarray]]:
    """Return arrays of about so many bytes that were written, and their length."""
    count = max(size // 4 // 16, 1) * 16
    made = [empty_aligned((count,)) for _ in range(number)]
    for array in made:
        array.fill(1)
    return count, made


def _arguments(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, threads: int
) -> tuple[Any, ...]:
    """Return what the triads in C take."""
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (a, b, c)]
    return (*pointers, ctypes.c_float(0.5), ctypes.c_long(a.size), threads)


def _numpy_triad(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, threads: int, pool: Executor
) -> Callable[[], object]:
    """Return a triad on threads of Python: NumPy lets go of the interpreter."""
    parts = [
        range(start, stop, _BLOCK)
        for start, stop in zip(*_bounds(a.size, threads), strict=True)
    ]
    stops = _bounds(a.size, threads)[1]

    def part(number: int) -> None:
        product = np.empty(_BLOCK, a.dtype)
        for start in parts[number]:
            own = slice(start, min(start + _BLOCK, stops[number]))
            scaled = product[: own.stop - start]
            np.multiply(c[own], np.float32(0.5), out=scaled)
            np.add(b[own], scaled, out=a[own])

    return lambda: list(pool.map(part, range(threads)))


def _bounds(count: int, threads: int) -> tuple[list[int], list[int]]:
    edges = [count * i // threads for i in range(threads + 1)]
    return edges[:-1], edges[1:]


def _gemm(dtype: np.dtype, repeats: int, sizes: tuple[int, ...]) -> Rate:
    """Return the rate of square products, at the size where it is best."""
    found = (product(dtype, n).rate(repeats) for n in sizes)
    return max(found, key=lambda rate: rate.best)


def product(dtype: np.dtype, n: int) -> Probe:
    """Return a product of square matrices by NumPy's library."""
    a, b = np.ones((n, n), dtype), np.ones((n, n), dtype)
    call = partial(np.matmul, a, b, np.empty((n, n), dtype))
    method = f"numpy.matmul, {n} x {n}"
    return Probe(f"gemm_{dtype}", "FLOP/s", method, 2.0 * n**3, call)


def multiply_adds(
    dtype: np.dtype, threads: int, *, loops: int = 0, seconds: float = 0.0
) -> Iterator[Probe]:
    """Yield independent multiply-adds in registers, two operations each.

    They take so many loops, of 8 or 16 cycles, or so many seconds.
    """
    try:
        function = getattr(library("rates.c"), f"multiply_adds_{dtype}")
    except UnavailableError:
        return
    function.restype = ctypes.c_double
    function.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p]
    escape = np.zeros(1, dtype)

    def call(loops: int) -> float:
        return function(loops, threads, escape.ctypes.data)

    loops = loops or _long_enough(call, seconds)
    work = threads * call(loops)
    name, method = f"fma_{dtype}", "C, 16 sums in registers"
    yield Probe(name, "FLOP/s", method, work, partial(call, loops))


def _exp_numpy(threads: int, repeats: int, seconds: float) -> Rate:
    x = np.linspace(-20, 0, _IN_CACHE, dtype=np.float32)

    def call(loops: int) -> object:
        def part(_: int) -> None:
            y = np.empty_like(x)
            for _ in range(loops):
                np.exp(x, out=y)

        return _run(part, threads)

    loops = _long_enough(call, seconds)
    work, method = float(threads * loops * x.size), "numpy.exp, float32"
    return Probe("exp_numpy", "1/s", method, work, partial(call, loops)).rate(repeats)


def _run(part: Callable[[int], None], threads: int) -> object:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(part, range(threads)))


def _exp_c(threads: int, repeats: int, seconds: float) -> Iterator[Rate]:
    """Yield the rate of the polynomial that the C kernels use."""
    try:
        function = library("rates.c").exponentials
    except UnavailableError:
        return
    x = np.linspace(-20, 0, _IN_CACHE, dtype=np.float32)
    y = np.empty_like(x)
    function.argtypes = [*[ctypes.c_void_p] * 2, *[ctypes.c_long] * 2, ctypes.c_int]

    def call(loops: int) -> object:
        return function(x.ctypes.data, y.ctypes.data, x.size, loops, threads)

    loops = _long_enough(call, seconds)
    work, method = float(threads * loops * x.size), "C, degree 5, float32"
    yield Probe("exp_c", "1/s", method, work, partial(call, loops)).rate(repeats)


def _exp_own(threads: int, repeats: int, seconds: float) -> Iterator[Rate]:
    """Yield the rate of the exponential of our kernels, where Numba is installed."""
    try:
        kernel = _own_kernel()
    except (ImportError, AttributeError):
        return
    x = np.linspace(-20, 0, _IN_CACHE, dtype=np.float32)
    y = np.empty((threads, x.size), np.float32)

    def call(loops: int) -> object:
        return kernel(x, y, loops)

    loops = _long_enough(call, seconds)
    work, method = float(threads * loops * x.size), "ssmref.cpu, float32"
    yield Probe("exp_cpu", "1/s", method, work, partial(call, loops)).rate(repeats)


def _own_kernel() -> Any:
    """Return a loop over the exponential of `ssmref.cpu`, compiled for this process."""
    numba = import_module("numba")
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        raise ImportError("Numba does not compile")
    exp = import_module("ssmref.cpu.toolkit.elementary").exp

    @numba.njit(parallel=True)
    def kernel(x, y, loops):
        for thread in numba.prange(len(y)):
            for loop in range(loops):
                shift = np.float32(loop % 2)  # so that no pass is the one before
                for i in range(x.size):
                    y[thread, i] = exp(x[i] + shift)

    return kernel
