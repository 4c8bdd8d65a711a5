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


def allocate(shape: tuple[int, ...], dtype: np.dtype, offset: int = 0) -> np.ndarray:
    """Return an array of poison, `offset` bytes behind a multiple of 16."""
    size = math.prod(shape) * dtype.itemsize
    whole = np.full(2 * ZONE + 64 + size, UNTOUCHED, np.uint8)
    skip = (16 - whole.ctypes.data) % 64 + offset
    start = ZONE + skip
    whole[start : start + size] = POISON
    _forbid(whole, start, size)
    inside = whole[start : start + size]
    return inside.view(dtype).reshape(shape) if size else _empty(inside, shape, dtype)


def _empty(place: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.ndarray(shape, dtype, place)


def _forbid(whole: np.ndarray, start: int, size: int) -> None:
    if current().mode != "asan":
        return
    poison = ctypes.CDLL(None).__asan_poison_memory_region
    poison.argtypes = ctypes.c_void_p, ctypes.c_size_t
    address = whole.ctypes.data
    poison(address, start)
    poison(address + start + size, whole.size - start - size)


def whole_of(array: np.ndarray) -> np.ndarray:
    """Return the allocation that an array is a part of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def overrun(array: np.ndarray) -> str:
    """Say on which side of its allocation somebody wrote; "" if nobody did."""
    whole = whole_of(array)
    if current().mode == "asan" or whole.dtype != np.uint8 or whole.size < 2 * ZONE:
        return ""
    if (whole[: ZONE - 64] != UNTOUCHED).any():
        return "before"
    return "beyond" if (whole[-ZONE + 64 :] != UNTOUCHED).any() else ""
