"""The discrete system of S4, diagonal plus low rank, for some channels.

With ``M = diag(A) - sum_r P[r] P[r]*`` on completed vectors, ``h = dt/2``,
``E = (1 - h A)^-1`` and Woodbury's identity for the inverse of ``I - h M``::

    x[t] = a x[t-1] - sum_s G[s] Re(F[s] x[t-1]) + b u[t]        a = (1 + h A) E
    F[s] = 2 conj(P[s]) E               G = dt E P S
    S = (I + h Re(F P))^-1              b = dt E B - h G Re(F B)

for one of each conjugate pair; products of rows and columns are sums over the state.
All in double precision.
"""

import numpy as np

from ._diagonal_step import combine, dot, scale_planes, split
from ._discretize import discretize
from .toolkit.kernels import inner, kernel, use_wide_vectors
from .toolkit.rows import scale_rows

# Rows of a system: a, b and 2 c, then G and F of each rank; parts on the axis after.
DECAY, DRIVE, READ, RANKS = 0, 1, 2, 3
SINGULAR = "the matrix of a linear system is singular"


def rows_of_system(ranks: int) -> int:
    """Return how many rows of complex numbers a system has."""
    return RANKS + 2 * ranks


@inner
def fill_systems(dt, A, B, C, P, first, last, exists, S):
    """Fill S (rows, 2, channels times state, or more) for channels; say which exist.

    A, B, C (channels, 2 state) and P (ranks, channels, 2 state) have their parts side
    by side.
    """
    ranks, count, state = len(P), last - first, A.shape[1] // 2
    own = slice(first * A.shape[1], last * A.shape[1])
    work, steps = np.empty((4 + 4 * ranks, S.shape[2])), np.empty(count)
    x, E = work[0:2], work[2:4]
    for d in range(count):
        steps[d] = dt[first + d]
    split(A.ravel()[own], x[0], x[1])
    scale_planes(work.ravel(), 0, S.shape[2], steps, state)
    discretize(x, S[DECAY], E, False)
    split(C.ravel()[own], S[READ, 0], S[READ, 1])
    _scale(S[READ].ravel(), 2.0)
    split(B.ravel()[own], x[0], x[1])
    _multiply(E[0], E[1], x[0], x[1], 1.0, S[DRIVE, 0], S[DRIVE, 1])
    for r in range(ranks):
        p, low, F = work[4 + 4 * r :], work[6 + 4 * r :], S[RANKS + ranks + r]
        split(P[r].ravel()[own], p[0], p[1])
        _multiply(E[0], E[1], p[0], p[1], 1.0, low[0], low[1])
        _multiply(E[0], E[1], p[0], p[1], -1.0, F[0], F[1])
        _scale(F.ravel(), 2.0)
    sums, factors = (
        np.empty((ranks, 2 * ranks + 1)),
        np.empty((ranks + 1, ranks, count)),
    )
    for d in range(count):
        exists[first + d] = _couple(S, work, ranks, d * state, state, steps[d], sums)
        for r in range(ranks):
            for s in range(ranks):
                factors[s, r, d] = steps[d] * sums[r, ranks + s]
            factors[ranks, r, d] = -steps[d] / 2 * sums[r, 2 * ranks]
    _apply(S, work, ranks, steps, factors, state)


@inner
def _couple(S, work, ranks, at, state, dt, sums):
    """Solve for one channel what couples the ranks; return whether that exists."""
    flat, planes, size = S.ravel(), work.ravel(), work.shape[1]
    for r in range(ranks):
        F = (RANKS + ranks + r) * 2 * size + at
        for s in range(ranks):
            p = (4 + 4 * s) * size + at
            sums[r, s] = dt / 2 * _real(flat, F, planes, p, size, state)
            sums[r, ranks + s] = 0.0
        sums[r, r] += 1.0
        sums[r, ranks + r] = 1.0
        sums[r, 2 * ranks] = _real(flat, F, planes, at, size, state)
    return _solve(sums)


@inner
def _real(row, r_at, v, v_at, plane, state):
    """Return the real part of the product of a row and a column."""
    real = dot(row, r_at, v, v_at, state)
    return real - dot(row, r_at + plane, v, v_at + plane, state)


@inner
def _apply(S, work, ranks, steps, factors, state):
    """Find G from ``E P``, and b from ``E B`` and that."""
    flat, planes, size, count = S.ravel(), work.ravel(), work.shape[1], len(steps)
    all_factors = factors.ravel()
    for part in range(2):
        for r in range(ranks):
            source = (6 + 4 * r + part) * size
            for s in range(ranks + 1):
                row = DRIVE if s == ranks else RANKS + s
                target = (2 * row + part) * size
                keep = 1 if r > 0 or s == ranks else 0
                combine(
                    *(flat, target, keep, planes, source, all_factors),
                    *((s * ranks + r) * count, count, state),
                )
        target = (2 * DRIVE + part) * size
        _ = scale_rows(flat, target, state, flat, target, state, steps, 0, count, state)


@inner
def _multiply(x_re, x_im, v_re, v_im, sign, re, im):
    """Find the product of x and v, or of x and conjugated v where the sign is -1."""
    _product(x_re, v_re, x_im, v_im, -sign, re)
    _product(x_im, v_re, x_re, v_im, sign, im)


@inner
def _product(a, b, c, d, sign, total):
    use_wide_vectors()
    for n in range(len(total)):
        total[n] = a[n] * b[n] + sign * (c[n] * d[n])


@inner
def _scale(x, factor):
    use_wide_vectors()
    for n in range(len(x)):
        x[n] *= factor


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
        fill_systems(dt, A, A, A, P, d, d + 1, exists, S)
        fill_dense(S, dense[d])
