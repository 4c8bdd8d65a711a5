"""What the scan and its step do alike with their arguments."""

from typing import Any

import numpy as np

from ._types import Array

# Numbers of a channel's state: what a warp has registers for, a block room for B and C.
MOST_NUMBERS = 512


def state_count(A: Array, kind: Any) -> int:
    """Return how many states a channel has; raise ValueError where kernels cannot."""
    state, most = A.shape[1], MOST_NUMBERS // numbers_of(kind)
    if not 0 < state <= most:
        raise ValueError(
            f"A has {state} states; as {kind.__name__} it needs 1 to {most}"
        )
    return state


def numbers_of(kind: Any) -> int:
    """Return how many real numbers one number of a state is."""
    return 2 if kind == np.complex64 else 1


def is_complex(X: Array | None) -> bool:
    """Return whether an array is given and complex."""
    return X is not None and X.dtype.kind == "c"


def parts(X: Array) -> Array:
    """Return complex numbers as pairs of real ones; the last axis is contiguous."""
    return X.view(np.float32) if is_complex(X) else X


def in_one_type(B: Array, C: Array, kind: Any, dtype: np.dtype) -> tuple[Array, Array]:
    """Return B and C as kernels read them, for states of `kind`.

    Complex for complex states. A real state is read with 2 Re C where C is complex:
    then both are float32, else of `dtype`, that of u.
    """
    if kind == np.complex64:
        return _complex(B), _complex(C)
    if is_complex(C):
        C, dtype = 2 * C.real, np.dtype(np.float32)
    return B.astype(dtype, copy=False), C.astype(dtype, copy=False)


def _complex(X: Array) -> Array:
    real = X if is_complex(X) else X.astype(np.float32, copy=False)
    return real.astype(np.complex64, copy=False)


def contiguous(x: Array, axis: int = -1) -> bool:
    """Return whether neighbours along an axis are neighbours in memory."""
    return x.shape[axis] <= 1 or x.strides[axis] == x.itemsize
