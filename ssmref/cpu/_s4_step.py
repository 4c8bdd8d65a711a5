"""One token of S4.

Limit: memory. A step reads A, B, C, P and the state and writes the state. Its system,
some 50 operations per number, is found for some channels at a time and stays in the
first-level cache for all rows of the batch.
"""

import numpy as np

from ._diagonal_step import CHANNELS, dot, turn
from ._s4_system import DECAY, DRIVE, RANKS, READ, SINGULAR, fill_system
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner


def step(u, dt, A, B, C, D, P, state, new, rows):
    """Return y, and fill the new states; complex arrays have parts side by side.

    D may be empty. Raises ValueError where a system is singular.
    """
    y, exists = np.empty_like(u), np.zeros(len(A), np.bool_)
    blocks, work = -(-len(A) // CHANNELS), (100 + 15 * len(u)) * A.size
    arguments = (u, y, dt, A, B, C, D, P, state, new, rows, exists)
    for_each(_step, blocks, work, u.dtype, *arguments)
    if not exists.all():
        raise ValueError(SINGULAR)
    return y


@Item
def _step(u, y, dt, A, B, C, D, P, state, new, rows, exists, block):
    """Advance CHANNELS channels of every row that has a slot, if systems exist."""
    ranks, size, old, out = len(P), A.shape[1], state.ravel(), new.ravel()
    first, last = block * CHANNELS, min((block + 1) * CHANNELS, len(A))
    S, sums = np.empty((RANKS + 2 * ranks, 2, size // 2)), np.empty(ranks)
    planes = (4 + 2 * ranks) * size
    M = np.empty((last - first) * planes, u.dtype)
    for channel in range(first, last):
        exists[channel] = fill_system(dt, A, B, C, P, channel, S)
        _interleave(S, M[(channel - first) * planes :], size)
    for i in range(len(rows)):
        if rows[i] < 0:
            y[i, first:last] = 0.0
            continue
        for d in range(first, last):
            at, m_at = (rows[i] * len(A) + d) * size, (d - first) * planes
            given = u[i, d]
            total = _advance(M, m_at, old, out, at, sums, given, size)
            y[i, d] = total + D[d] * given if len(D) else total


@inner
def _advance(M, m_at, old, out, at, sums, u, size):
    """Advance one channel of one row; return what is read."""
    ranks = len(sums)
    for r in range(ranks):
        sums[r] = dot(M, m_at + (4 + ranks + r) * size, old, at, size)
    _ = turn(M, m_at, size, old, at, out, at, u, size)
    for r in range(ranks):
        g = m_at + (4 + r) * size
        _subtract(out[at : at + size], M[g : g + size], sums[r])
    return dot(M, m_at + 3 * size, out, at, size)


@inner
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


@inner
def _subtract(x, g, factor):
    """Subtract a multiple of g."""
    for i in range(len(x)):
        x[i] -= g[i] * factor
