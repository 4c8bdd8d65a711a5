"""How much memory a call takes at its peak, inside of the process that makes it.

Two figures that know nothing of each other. `tracemalloc` counts exactly what is
allocated through Python: arrays of NumPy, and those of compiled kernels, because Numba
takes the memory of its arrays from Python's allocator
(``_nrt_python.memsys_use_cpython_allocator``), on all threads. The system counts the
pages that were touched, by whomever.
"""

import ctypes
import gc
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def measured_call(
    call: Callable[[], Any] | None,
) -> tuple[Any, dict[str, Any]]:
    """Make one call; return its result and the peaks while it was made.

    ``traced`` are bytes by tracemalloc. ``peak`` is the resident high-water mark;
    ``before`` what was resident before where the mark can be set back, else None: then
    another process has to say what is resident without the call. Without a call these
    are all that is measured.
    """
    gc.collect()
    _give_back_free_memory()
    pool = gpu_pool_bytes()
    before = resident_bytes() if reset_peak() else None
    tracemalloc.start()
    try:
        result = call() if call else None
        traced = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    peak = peak_resident_bytes()
    used = None if pool is None else (gpu_pool_bytes() or 0) - pool
    return result, {"traced": traced, "before": before, "peak": peak, "gpu_pool": used}


def reset_peak() -> bool:
    """Set the high-water mark back to what is resident; return whether that works."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def resident_bytes() -> int | None:
    """Return what is resident now, None where the system does not say."""
    return _status("VmRSS:")


def peak_resident_bytes() -> int | None:
    """Return the most that was resident, None where the system does not say."""
    return _status("VmHWM:") or _highest()


def _status(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(name))
    return next((1024 * int(kilobytes) for kilobytes in found), None)


def _highest() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _give_back_free_memory() -> None:
    """Let the C library return what is free, so that taking it again is seen."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def gpu_pool_bytes() -> int | None:
    """Return what CuPy's pool holds, None where CuPy is not loaded."""
    cupy = sys.modules.get("cupy")
    return None if cupy is None else int(cupy.get_default_memory_pool().total_bytes())
