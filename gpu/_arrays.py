"""Arrays on the GPU: where they come from, and what a kernel can do with them."""

from collections.abc import Callable, Sequence
from typing import Any

from ._cupy import cupy
from ._types import Array

# Kinds of devices in DLPack whose memory kernels reach: CUDA, and CUDA managed.
REACHABLE = (2, 13)
# The widest load of a thread.
VECTOR_BYTES = 16


def adopted(name: str, value: Any, device: int) -> Any:
    """Return what is an array on the GPU as CuPy's, without a copy; else `value`.

    An array of another library comes by DLPack, ordered after the work of that
    library's stream. Raises TypeError for an array in host memory, ValueError for one
    on another GPU than `device`.
    """
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = zip(value._fields, value, strict=True)  # pyright: ignore[reportAttributeAccessIssue]
        return type(value)(*(adopted(f"{name}.{f}", v, device) for f, v in parts))
    return _adopted(name, value, device)


def _adopted(name: str, value: Any, device: int) -> Any:
    if not isinstance(value, cupy().ndarray):
        if not hasattr(value, "__dlpack_device__"):
            return value
        value = _from_dlpack(name, value)
    if value.device.id != device:
        raise ValueError(
            f"{name} is on GPU {value.device.id}; the current one is {device}: call "
            f"with cupy.cuda.Device({value.device.id})"
        )
    return value


def _from_dlpack(name: str, value: Any) -> Array:
    kind = type(value)
    what = f"{name} is a {kind.__module__}.{kind.__name__}"
    if value.__dlpack_device__()[0] not in REACHABLE:
        raise TypeError(
            f"{what} in host memory; it needs to be a CuPy array, or an array on the "
            "GPU of a library that speaks DLPack"
        )
    try:
        return cupy().from_dlpack(value)
    # What other libraries raise is theirs: a tensor that needs gradients, a dtype.
    except Exception as error:
        raise TypeError(f"{what} that DLPack cannot hand over: {error}") from error


def ready(array: Array) -> Array:
    """Return `array` in C order: itself where it is, else a copy."""
    return cupy().ascontiguousarray(array)


def fresh(state: Array | None, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return a new array for a kernel to write on: a copy of `state`, zeros if None."""
    if state is None:
        return cupy().zeros(shape, dtype)
    return cupy().array(state, dtype, order="C")


def map_state(function: Callable[[Array], Array], state: Any) -> Any:
    """Apply `function` to an array, or to each array of a named tuple of arrays."""
    if isinstance(state, tuple):
        return type(state)(*map(function, state))
    return function(state)


def strides(array: Array) -> tuple[int, ...]:
    """Return the strides of an array in elements, as kernels count."""
    return tuple(stride // array.itemsize for stride in array.strides)


def aligned(*arrays: Array | None) -> bool:
    """Return whether rows of all arrays can be loaded by 16 bytes at a time.

    That is: the last axis is contiguous, and every row begins at a multiple of 16
    bytes. A kernel that cannot know needs another variant.
    """
    return all(array is None or _rows_aligned(array) for array in arrays)


def _rows_aligned(array: Array) -> bool:
    steps: Sequence[int] = [
        stride
        for size, stride in zip(array.shape[:-1], array.strides[:-1], strict=True)
        if size > 1
    ]
    contiguous = array.shape[-1] <= 1 or array.strides[-1] == array.itemsize
    return contiguous and all(
        place % VECTOR_BYTES == 0 for place in (array.data.ptr, *steps)
    )
