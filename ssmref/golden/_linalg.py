"""Dense linear algebra in every precision; LAPACK stops at float64."""

import math

import numpy as np


def solve(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return x with ``A x = b``; matrices are on the last two axes of both.

    Gaussian elimination with partial pivoting. Raises ValueError for a singular A.
    """
    size = A.shape[-1]
    batch = np.broadcast_shapes(A.shape[:-2], b.shape[:-2])
    A = np.broadcast_to(A, (*batch, size, size))
    b = np.broadcast_to(b, (*batch, *b.shape[-2:]))
    rows = np.concatenate([A, b], axis=-1)
    rows = _eliminate(rows.reshape(math.prod(batch), size, size + b.shape[-1]))
    return _substitute(rows[:, :, :size], rows[:, :, size:]).reshape(b.shape)


def _eliminate(rows: np.ndarray) -> np.ndarray:
    """Make the left square of ``rows (batch, size, size + columns)`` triangular."""
    each = np.arange(len(rows))
    for k in range(rows.shape[1]):
        pivot = k + np.argmax(np.abs(rows[:, k:, k]), axis=1)
        rows[each, pivot], rows[:, k] = rows[:, k].copy(), rows[each, pivot]
        if np.any(rows[:, k, k] == 0):
            raise ValueError("the matrix of a linear system is singular")
        factor = rows[:, k + 1 :, k] / rows[:, k, k, None]
        rows[:, k + 1 :] -= factor[:, :, None] * rows[:, None, k]
    return rows


def _substitute(upper: np.ndarray, x: np.ndarray) -> np.ndarray:
    for k in reversed(range(upper.shape[1])):
        x[:, k] -= np.einsum("bj,bjc->bc", upper[:, k, k + 1 :], x[:, k + 1 :])
        x[:, k] /= upper[:, k, k, None]
    return x
