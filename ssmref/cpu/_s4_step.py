"""One token of S4.

Limit: memory. A step reads A, B, C, P and the state and writes the state. Its system,
some 50 operations per number, is found for one channel at a time and stays in the
first-level cache for all rows of the batch.
"""

import numpy as np

from ._diagonal_step import dot, turn
from ._s4_system import DECAY, DRIVE, RANKS, READ, SINGULAR, fill_system
from .toolkit.items import Item, for_each
from .toolkit.kernels import kernel


def step(u, dt, A, B, C, D, P, state, rows):
    """Return y and the new states; all complex arrays have parts side by side.

    D may be empty. Raises ValueError where a system is singular.
    """
    new, y = state.copy(), np.zeros_like(u)
    exists = np.zeros(len(A), np.bool_)
    work = (100 + 15 * len(u)) * A.size
    arguments = (u, y, dt, A, B, C, D, P, state, new, rows, exists)
    for_each(_step, len(A), work, u.dtype, *arguments)
    if not exists.all():
        raise ValueError(SINGULAR)
    return y, new


@Item
def _step(u, y, dt, A, B, C, D, P, state, new, rows, exists, channel):
    """Advance one channel of every row that has a slot, if its system exists."""
    ranks, size = len(P), A.shape[1]
    S = np.empty((RANKS + 2 * ranks, 2, size // 2))
    exists[channel] = fill_system(dt, A, B, C, P, channel, S)
    M = np.empty(((4 + 2 * ranks) * size), u.dtype)
    _interleave(S, M, size)
    old, out, sums = state.ravel(), new.ravel(), np.empty(ranks)
    for i in range(len(rows)):
        if rows[i] >= 0:
            at = (rows[i] * len(A) + channel) * size
            for r in range(ranks):
                sums[r] = dot(M, (4 + ranks + r) * size, old, at, size)
            _ = turn(M, 0, size, old, at, out, at, u[i, channel], size)
            for r in range(ranks):
                g = M[(4 + r) * size : (5 + r) * size]
                _subtract(out[at : at + size], g, sums[r])
            y[i, channel] = dot(M, 3 * size, out, at, size)
            if len(D):
                y[i, channel] += D[channel] * u[i, channel]


@kernel
def _interleave(S, M, size):
    """Fill the planes of `turn`, then G, and conjugated F, of each rank."""
    ranks = (len(S) - RANKS) // 2
    for n in range(size // 2):
        re, im = 2 * n, 2 * n + 1
        M[re] = M[im] = S[DECAY, 0, n]
        M[size + re], M[size + im] = -S[DECAY, 1, n], S[DECAY, 1, n]
        M[2 * size + re], M[2 * size + im] = S[DRIVE, 0, n], S[DRIVE, 1, n]
        M[3 * size + re], M[3 * size + im] = S[READ, 0, n], -S[READ, 1, n]
        for r in range(ranks):
            g, f = (4 + r) * size, (4 + ranks + r) * size
            M[g + re], M[g + im] = S[RANKS + r, 0, n], S[RANKS + r, 1, n]
            row = S[RANKS + ranks + r]
            M[f + re], M[f + im] = row[0, n], -row[1, n]


@kernel
def _subtract(x, g, factor):
    """Subtract a multiple of g."""
    for i in range(len(x)):
        x[i] -= g[i] * factor
