"""The discrete system of S4, diagonal plus low rank, for one channel.

With ``M = diag(A) - sum_r P[r] P[r]*`` on completed vectors, ``h = dt/2``,
``E = (1 - h A)^-1`` and Woodbury's identity for the inverse of ``I - h M``::

    x[t] = a x[t-1] - sum_s G[s] Re(F[s] x[t-1]) + b u[t]        a = (1 + h A) E
    F[s] = 2 conj(P[s]) E               G = dt E P S
    S = (I + h Re(F P))^-1              b = dt E B - h G Re(F B)

for one of each conjugate pair; products of rows and columns are sums over the state.
All in double precision.
"""

import numpy as np

from ._discretize import discretize
from .toolkit.kernels import inner, kernel

# Rows of a system: a, b and 2 c, then G and F of each rank; parts on the axis after.
DECAY, DRIVE, READ, RANKS = 0, 1, 2, 3
SINGULAR = "the matrix of a linear system is singular"


def rows_of_system(ranks: int) -> int:
    """Return how many rows of complex numbers a system has."""
    return RANKS + 2 * ranks


@inner
def fill_system(dt, A, B, C, P, d, S):
    """Fill S (rows, 2, state) for channel d; return whether it exists.

    A, B, C (channels, 2 state) and P (ranks, channels, 2 state) have their parts
    side by side.
    """
    ranks, state = len(P), A.shape[1] // 2
    h = np.float64(dt[d]) / 2
    z, E = np.empty((2, state)), np.empty((2, state))
    for n in range(state):
        z[0, n], z[1, n] = 2 * h * A[d, 2 * n], 2 * h * A[d, 2 * n + 1]
        S[READ, 0, n], S[READ, 1, n] = 2.0 * C[d, 2 * n], 2.0 * C[d, 2 * n + 1]
    discretize(z, S[DECAY], E, False)
    V, inner = np.empty((ranks + 1, 2, state)), np.zeros((ranks, 2 * ranks + 1))
    for r in range(ranks):
        _times(E, P[r, d], V[r], 1.0)
        _times(E, P[r, d], S[RANKS + ranks + r], -1.0)
    _times(E, B[d], V[ranks], 1.0)
    for r in range(ranks):
        for s in range(ranks):
            inner[r, s] = h * _real(S[RANKS + ranks + r], P[s, d])
        inner[r, r] += 1.0
        inner[r, ranks + r] = 1.0
        inner[r, 2 * ranks] = _real(S[RANKS + ranks + r], B[d])
    exists = _solve(inner)
    for part in range(2):
        for n in range(state):
            b = 2 * h * V[ranks, part, n]
            for s in range(ranks):
                g = 0.0
                for r in range(ranks):
                    g += V[r, part, n] * inner[r, ranks + s]
                S[RANKS + s, part, n] = 2 * h * g
                b -= 2 * h * h * V[s, part, n] * inner[s, 2 * ranks]
            S[DRIVE, part, n] = b
    return exists


@inner
def _times(E, v, product, sign):
    """Find ``E v``, or ``2 E conj(v)`` where the sign is -1."""
    factor = 1.0 if sign > 0 else 2.0
    for n in range(E.shape[1]):
        re, im = factor * v[2 * n], factor * sign * v[2 * n + 1]
        product[0, n] = E[0, n] * re - E[1, n] * im
        product[1, n] = E[0, n] * im + E[1, n] * re


@inner
def _real(row, v):
    """Return the real part of the product of a row and a column."""
    total = 0.0
    for n in range(row.shape[1]):
        total += row[0, n] * v[2 * n] - row[1, n] * v[2 * n + 1]
    return total


@inner
def _solve(rows):
    """Replace the columns behind the left square by its inverse times them.

    Gauss and Jordan with partial pivoting; returns False for a singular matrix.
    """
    size, columns = rows.shape
    for k in range(size):
        pivot = k
        for i in range(k + 1, size):
            if abs(rows[i, k]) > abs(rows[pivot, k]):
                pivot = i
        if rows[pivot, k] == 0:
            return False
        for j in range(columns):
            rows[k, j], rows[pivot, j] = rows[pivot, j], rows[k, j]
        for i in range(size):
            factor = rows[i, k] / rows[k, k]
            for j in range(columns if i != k else 0):
                rows[i, j] -= factor * rows[k, j]
    for k in range(size):
        factor = rows[k, k]
        for j in range(columns):
            rows[k, j] /= factor
    return True


@inner
def fill_dense(S, dense):
    """Fill A_bar as a real matrix on real, then imaginary parts of the state."""
    state, ranks = S.shape[2], (len(S) - RANKS) // 2
    for i in range(2 * state):
        for j in range(2 * state):
            total = 0.0
            for s in range(ranks):
                g = S[RANKS + s, i // state, i % state]
                f = S[RANKS + ranks + s, j // state, j % state]
                total -= g * f if j < state else -g * f
            dense[i, j] = total
    for n in range(state):
        re, im = S[DECAY, 0, n], S[DECAY, 1, n]
        dense[n, n] += re
        dense[state + n, state + n] += re
        dense[n, state + n] -= im
        dense[state + n, n] += im


def dense_of(dt, A, P):
    """Return A_bar of each channel as a real matrix: see `fill_dense`.

    A and P have parts side by side. Raises ValueError where it does not exist.
    """
    size = A.shape[1]
    dense, exists = np.zeros((len(A), size, size)), np.zeros(len(A), np.bool_)
    _fill_all(dt, A, P, dense, exists)
    if not exists.all():
        raise ValueError(SINGULAR)
    return dense


@kernel
def _fill_all(dt, A, P, dense, exists):
    S = np.empty((RANKS + 2 * len(P), 2, A.shape[1] // 2))
    for d in range(len(A)):
        exists[d] = fill_system(dt, A, A, A, P, d, S)
        fill_dense(S, dense[d])
