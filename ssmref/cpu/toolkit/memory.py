"""Memory that begins with a line of the caches: no vector lies on two of them."""

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from .kernels import inner, stay_small

# Bytes of a line.
LINE = 64


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return zeros that begin with a line."""
    size = math.prod(shape)
    return _from_line(np.zeros(_room(size, np.dtype(dtype)), dtype), size).reshape(
        shape
    )


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return numbers, yet to be written, that begin with a line."""
    size = math.prod(shape)
    return _from_line(np.empty(_room(size, np.dtype(dtype)), dtype), size).reshape(
        shape
    )


@inner
def new_zeros(size, like):
    """Return `size` zeros of the dtype of an array: `aligned_zeros` for kernels."""
    stay_small()
    return _from_line(np.zeros(_room(size, like), like.dtype), size)


@inner
def new_numbers(size, like):
    """Return `size` numbers of the dtype of an array: `aligned_empty` for kernels."""
    stay_small()
    return _from_line(np.empty(_room(size, like), like.dtype), size)


@register_jitable
def _room(size, like):
    """Return how many numbers hold `size` from a line on, wherever they begin."""
    return size + LINE // like.itemsize


@register_jitable
def _from_line(room, size):
    """Return `size` numbers of `room` from its first line on."""
    first = -room.ctypes.data % LINE // room.itemsize
    return room[first : first + size]
