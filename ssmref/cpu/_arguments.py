"""How arguments reach kernels: checked, in one layout, rows as packed sequences."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..contract import Library
from ._outputs import output

checked = Library("NumPy", lambda: np.ndarray).checked


def ready(array: np.ndarray) -> np.ndarray:
    """Return `array` if a kernel takes it as it is, else a copy.

    Kernels are compiled for plain arrays in C order, aligned and writeable; each other
    kind would be compiled anew, or refused.
    """
    if type(array) is np.ndarray and array.flags.carray:
        return array
    return np.array(array, order="C")


def fresh(state: np.ndarray | None, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a new array for a kernel to write on: a copy of `state`, zeros if None."""
    if state is None:
        return np.zeros(shape, dtype)
    return np.array(state, dtype, order="C")


def map_state(function: Callable[[np.ndarray], np.ndarray], state: Any) -> Any:
    """Apply `function` to an array, or to each array of a named tuple of arrays."""
    if isinstance(state, tuple):
        return type(state)(*map(function, state))
    return function(state)


def boundaries(x: np.ndarray, cu_seqlens: np.ndarray | None) -> np.ndarray:
    """Return where sequences begin in the tokens of `flat_tokens`, and the end.

    One more int64 than there are sequences: `cu_seqlens`, or the rows of x if None.
    """
    if cu_seqlens is not None:
        return ready(cu_seqlens.astype(np.int64, copy=False))
    return np.arange(x.shape[0] + 1) * x.shape[1]


def rows_of(slots: np.ndarray | None, batch: int) -> np.ndarray:
    """Return the row of the state that each row of the batch uses; negative: none."""
    if slots is None:
        return np.arange(batch)
    return ready(slots.astype(np.int64, copy=False))


def next_state(state: np.ndarray, slots: np.ndarray | None) -> np.ndarray:
    """Return memory for new states: all are written, or those that slots name."""
    return output(state.shape, state.dtype) if slots is None else state.copy()


def flat_tokens(x: np.ndarray) -> np.ndarray:
    """Join the axes batch and length: (tokens, ...), ready for a kernel."""
    return ready(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def optional(array: np.ndarray | None, like: np.ndarray, *shape: int) -> np.ndarray:
    """Return `array` ready for a kernel, or an empty (0, *shape) if there is none."""
    return np.empty((0, *shape), like.dtype) if array is None else ready(array)


# The type of the parts of complex numbers.
PART = {np.dtype(f"c{2 * size}"): np.dtype(f"f{size}") for size in (4, 8)}


def parts(array: np.ndarray) -> np.ndarray:
    """Return the real and imaginary parts side by side, ready for a kernel."""
    return ready(array).view(PART.get(array.dtype, array.dtype))


def planes(array: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
    """Return (2, *shape): a plane of real and one of imaginary parts."""
    return np.stack([np.real(array), np.imag(array)]).astype(dtype, copy=False)
