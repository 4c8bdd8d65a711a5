"""Memory of the device: poisoned, aligned no better than promised, with zones around.

CuPy's memory begins at a multiple of 512 bytes; kernels may rely on 16 at most, and on
none for what a user sliced. After each launch the zones around its arrays are checked;
under AddressSanitizer they cannot be touched in the first place.
"""

import ctypes
import math
from typing import Any

import numpy as np

from .settings import current

ZONE = 512
UNTOUCHED = 0xA5
POISON = 0xFF  # NaN in every format, -1 as an integer


class Allocation(np.ndarray):
    """Bytes: an array in the middle, zones that are nobody's around it."""

    start: int
    size_inside: int

    def zones(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what lies before and behind the array."""
        whole = self.view(np.ndarray)
        return whole[: self.start], whole[self.start + self.size_inside :]


def allocate(shape: tuple[int, ...], dtype: np.dtype, offset: int = 0) -> np.ndarray:
    """Return an array of poison, `offset` bytes behind a multiple of 16."""
    size = math.prod(shape) * dtype.itemsize
    whole = Allocation(2 * ZONE + 64 + offset + size, np.uint8)
    # A multiple of 16 and of no more.
    whole.start = ZONE + (16 - ZONE - whole.ctypes.data) % 64 + offset
    whole.size_inside = size
    whole[...] = POISON
    for zone in whole.zones():
        zone[...] = UNTOUCHED
        if current().mode == "asan":
            _forbid(zone)
    return np.ndarray(shape, dtype, whole, whole.start)


def _forbid(zone: np.ndarray) -> None:
    poison = ctypes.CDLL(None).__asan_poison_memory_region
    poison.argtypes = ctypes.c_void_p, ctypes.c_size_t
    poison(zone.ctypes.data, zone.size)


def overrun(array: np.ndarray) -> str:
    """Say on which side of its allocation somebody wrote; "" if nobody did.

    What NumPy made, as the sum of two arrays, has no zones.
    """
    base: Any = array
    while base is not None and not isinstance(base, Allocation):
        base = getattr(base, "base", None)
    if base is None or current().mode == "asan":
        return ""
    before, beyond = ((zone != UNTOUCHED).any() for zone in base.zones())
    return "before" if before else "beyond" if beyond else ""
