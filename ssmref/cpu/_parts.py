"""What kernels of complex systems get: real views and aligned arrays."""

from typing import Any

import numpy as np

from ._arguments import ready
from ._lanes import kernel

# Bytes of a line of the caches: a vector that lies on two of them is read twice.
LINE = 64


def optional(array: np.ndarray | None, like: np.ndarray, *shape: int) -> np.ndarray:
    """Return `array` ready for a kernel, or an empty (0, *shape) if there is none."""
    return np.empty((0, *shape), like.dtype) if array is None else ready(array)


def parts(array: np.ndarray) -> np.ndarray:
    """Return the real and imaginary parts side by side, ready for a kernel."""
    return ready(array).view(np.real(array).dtype)


def planes(array: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
    """Return (2, *shape): a plane of real and one of imaginary parts."""
    return np.stack([np.real(array), np.imag(array)]).astype(dtype, copy=False)


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return zeros that begin with a line of the caches."""
    size, item = int(np.prod(shape)), np.dtype(dtype).itemsize
    room = np.zeros(size + LINE // item, dtype)
    first = -room.ctypes.data % LINE // item
    return room[first : first + size].reshape(shape)


@kernel
def vectors_like(array, size):
    """Return `size` zeros of the type of an array: `aligned` for kernels."""
    room = np.zeros(size + LINE // array.itemsize, array.dtype)
    first = -room.ctypes.data % LINE // array.itemsize
    return room[first : first + size]
