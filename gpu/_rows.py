"""Rows of arrays as kernels walk over them: their steps, and numbers per access."""

from ._arrays import VECTOR_BYTES, aligned, ready
from ._cupy import cupy, limit
from ._types import FLOAT32, Array


def packed(array: Array, axes: int) -> Array:
    """Return `array` if its last `axes` axes lie as in C order, else a copy that does.

    The axes before them may have any strides.
    """
    expected = array.itemsize
    for size, stride in _outward(array.shape[-axes:], array.strides[-axes:]):
        if size > 1 and stride != expected:
            return ready(array)
        expected *= size
    return array


def by_row(array: Array) -> tuple[Array, int]:
    """Return an array whose rows (along its first axis) are packed, and their step.

    The step is in elements; None has none. A slice of a wider projection is taken as it
    is.
    """
    if array is None:
        return None, 0
    array = packed(array, array.ndim - 1)
    return array, array.strides[0] // array.itemsize


def collapsed(array: Array) -> tuple[Array, int]:
    """Return an array whose rows along the last axis have one step, and that step."""
    array = packed(array, 1)
    step = expected = None
    for size, stride in _outward(array.shape[:-1], array.strides[:-1]):
        if size == 1:
            continue
        if expected is not None and stride != expected:
            return ready(array), array.shape[-1]
        step = stride if step is None else step
        expected = stride * size
    return array, (step or 0) // array.itemsize


def _outward(shape: tuple[int, ...], strides: tuple[int, ...]) -> list:
    return list(zip(shape, strides, strict=True))[::-1]


def in_vectors(count: int, *arrays: Array | None) -> bool:
    """Return whether all rows can be accessed by `count` numbers at a time.

    These are the rows along the last axis, which has to be packed; an access is as wide
    as that many numbers, at most 16 bytes.
    """
    return all(array is None or _fits(count, array) for array in arrays)


def _fits(count: int, array: Array) -> bool:
    unit = min(VECTOR_BYTES, count * array.itemsize)
    steps = [
        s for size, s in _outward(array.shape[:-1], array.strides[:-1]) if size > 1
    ]
    whole = array.shape[-1] % count == 0
    return whole and all(place % unit == 0 for place in (array.data.ptr, *steps))


def per_token(array: Array | None) -> Array | None:
    """Return an array whose tokens are packed; batch and time may have any strides."""
    return None if array is None else packed(array, array.ndim - 2)


def steps_of(array: Array | None) -> tuple[int, int]:
    """Return the strides of batch and time, in elements."""
    if array is None:
        return 0, 0
    batch, time = (stride // array.itemsize for stride in array.strides[:2])
    return batch, time


def vectors(*arrays: Array | None) -> bool:
    """Return whether rows of a token are aligned vectors."""
    given = [array for array in arrays if array is not None]
    return aligned(*given) and all(
        a.shape[-1] * a.itemsize % VECTOR_BYTES == 0 for a in given
    )


def flat(array: Array | None) -> Array | None:
    """Return a parameter in C order as one row, or None."""
    return None if array is None else ready(array).reshape(-1)


def next_state(state: Array, slots: Array | None) -> Array:
    """Return an array for the next states: with slots, a copy of all of them."""
    if slots is None:
        return cupy().empty(state.shape, FLOAT32)
    return cupy().array(state, FLOAT32, order="C")


def whole(indices: Array | None) -> Array | None:
    """Return bounds, slots or positions as kernels take them: int64, packed."""
    return None if indices is None else ready(indices.astype("int64", copy=False))


def power_of_two(least: int, most: int = 2**31) -> int:
    """Return the smallest power of two that is at least `least`, 1 to `most`."""
    return min(1 << max(least - 1, 0).bit_length(), most)


def processors() -> int:
    """Return how many multiprocessors the current GPU has."""
    return limit(cupy().cuda.runtime.getDevice(), "MultiProcessorCount")


def lanes_of(size: int, vec: int) -> int:
    """Return how many lanes of a warp share a row of a state: 4 to 32."""
    return max(power_of_two(-(-size // vec), 32), 4)
