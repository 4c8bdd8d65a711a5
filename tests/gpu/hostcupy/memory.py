"""Memory of the device: poisoned, aligned no better than promised, with zones around.

CuPy's memory begins at a multiple of 512 bytes; kernels may rely on 16 at most, and on
none for what a user sliced. After each launch the zones around its arrays are checked;
under AddressSanitizer they cannot be touched in the first place.
"""

import ctypes
import math

import numpy as np

from .settings import current

ZONE = 512
UNTOUCHED = 0xA5
POISON = 0xFF  # NaN in every format, -1 as an integer
NOTE = 16  # bytes at the very end that say where the zones are


def allocate(shape: tuple[int, ...], dtype: np.dtype, offset: int = 0) -> np.ndarray:
    """Return an array of poison, `offset` bytes behind a multiple of 16."""
    size = math.prod(shape) * dtype.itemsize
    whole = np.full(2 * ZONE + 128 + size, UNTOUCHED, np.uint8)
    # A multiple of 16 and of no more.
    start = ZONE + (16 - ZONE - whole.ctypes.data) % 64 + offset
    whole[start : start + size] = POISON
    whole[-NOTE:].view(np.int64)[:] = start, size
    _forbid(whole, start, size)
    return np.ndarray(shape, dtype, whole, start)


def _forbid(whole: np.ndarray, start: int, size: int) -> None:
    if current().mode != "asan":
        return
    poison = ctypes.CDLL(None).__asan_poison_memory_region
    poison.argtypes = ctypes.c_void_p, ctypes.c_size_t
    address = whole.ctypes.data
    poison(address, start)
    poison(address + start + size, whole.size - start - size)


def overrun(array: np.ndarray) -> str:
    """Say on which side of its allocation somebody wrote; "" if nobody did."""
    whole = array.base
    if current().mode == "asan" or not isinstance(whole, np.ndarray):
        return ""
    start, size = whole[-NOTE:].view(np.int64)
    if not (ZONE <= start <= ZONE + 96 and start + size + ZONE <= whole.size):
        return "beyond"
    if (whole[:start] != UNTOUCHED).any():
        return "before"
    return "beyond" if (whole[start + size : -NOTE] != UNTOUCHED).any() else ""
