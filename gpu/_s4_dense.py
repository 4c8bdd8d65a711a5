"""A_bar of S4 as a dense real matrix, in double precision: for its powers.

Rows and columns are real and imaginary parts of the states, one after the other, as
complex numbers lie in memory. Matrices are few and small beside the work of a scan.
"""

import numpy as np

from ._cupy import cupy
from ._diagonal import Power, raised
from ._types import Array


def dense(dt: Array, A: Array, P: Array) -> Array:
    """Return A_bar, (channels, 2 state, 2 state): see `kernels/s4_system.cu`.

    The inner matrix is eliminated without exchanges: where Re A < 0, or without ranks,
    none is needed.
    """
    cp, (channels, state) = cupy(), A.shape
    half = dt.astype(np.float64)[:, None] / 2
    A, P = A.astype(np.complex128), P.astype(np.complex128).swapaxes(0, 1)
    E = 1 / (1 - half * A)
    F = 2 * E[:, None] * P.conj()
    inner = half[:, None] * cp.real(cp.matmul(F, P.swapaxes(1, 2)))
    G = cp.matmul(_inverse(inner + cp.eye(P.shape[1])).swapaxes(1, 2), E[:, None] * P)
    left, right = _as_real(2 * half[:, None] * G), _as_real(F.conj())
    matrix = -cp.matmul(left.swapaxes(1, 2), right)
    size, decay = 2 * state, (1 + half * A) * E
    flat = matrix.reshape(channels, size * size)
    step = 2 * (size + 1)
    for place, part in ((0, decay.real), (size + 1, decay.real), (size, decay.imag)):
        flat[:, place::step] += part
    flat[:, 1::step] -= decay.imag
    return matrix


def dense_power(dt: Array, A: Array, P: Array) -> Power:
    """Return the powers of A_bar as `s4_carry_dense` reads them, transposed."""

    def power(exponent: int) -> Array:
        found = raised(dense(dt, A, P), exponent, cupy().matmul)
        return cupy().ascontiguousarray(found.swapaxes(1, 2).astype(np.float32))

    return power


def truncated(dt: Array, A: Array, C: Array, P: Array, length: int) -> Array:
    """Return ``(I - A_bar^length)^T C``, complex."""
    cp = cupy()
    row = _as_real(C.astype(np.complex128).conj())[:, None]
    kept, square = row, dense(dt, A, P)
    while length:
        if length % 2:
            kept = cp.matmul(kept, square)
        length //= 2
        square = cp.matmul(square, square) if length else square
    left = cp.ascontiguousarray((row - kept)[:, 0])
    return left.view(np.complex128).conj().astype(np.complex64)


def _as_real(z: Array) -> Array:
    """Return complex numbers as real and imaginary parts, one after the other."""
    return cupy().ascontiguousarray(z).view(np.float64)


def _inverse(matrix: Array) -> Array:
    """Return the inverses of small matrices, by Gauss and Jordan."""
    cp, size = cupy(), matrix.shape[-1]
    identity = cp.broadcast_to(cp.eye(size), matrix.shape)
    rows = cp.concatenate([matrix, identity], axis=2)
    for k in range(size):
        pivot = rows[:, k] / rows[:, k, k][:, None]
        rows = rows - rows[:, :, k][:, :, None] * pivot[:, None]
        rows[:, k] = pivot
    return rows[:, :, size:]
