"""One token of S4.

Limit: memory. A step reads A, B, C, P and the state and writes the state. Its system,
some 50 operations per number, is found for some channels at a time and stays in the
caches of a core for all rows of the batch.
"""

import numpy as np

from ._diagonal_step import SYSTEMS, add_skip, channels_at_once, decays, turn_rows
from ._s4_system import DECAY, DRIVE, RANKS, READ, SINGULAR, fill_systems
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, use_wide_vectors
from .toolkit.memory import new_numbers


def step(u, dt, A, B, C, D, P, state, new, rows):
    """Return y, and fill the new states; complex arrays have parts side by side.

    D may be empty. Raises ValueError where a system is singular.
    """
    y, exists = np.empty_like(u), np.zeros(len(A), np.bool_)
    work, channels = (100 + 15 * len(u)) * A.size, channels_at_once(len(A))
    arguments = (u, y, dt, A, B, C, D, P, state, new, rows, exists, channels)
    for_each(_step, -(-len(A) // channels), work, u.dtype, *arguments)
    if not exists.all():
        raise ValueError(SINGULAR)
    return y


@Item
def _step(u, y, dt, A, B, C, D, P, state, new, rows, exists, channels, block):
    """Advance some channels of every row that has a slot, if systems exist."""
    first, last = block * channels, min((block + 1) * channels, len(A))
    ranks, count, size = len(P), last - first, A.shape[1]
    M, sums = (
        new_numbers((4 + 2 * ranks) * count * size, u),
        np.empty(ranks + 1, u.dtype),
    )
    S = np.empty((RANKS + 2 * ranks, 2, min(SYSTEMS, count) * size // 2))
    for d in range(first, last, SYSTEMS):
        stop = min(d + SYSTEMS, last)
        fill_systems(dt, A, B, C, P, d, stop, exists, S)
        own = slice((d - first) * size, (stop - first) * size)
        _planes(S, ranks, M.reshape(4 + 2 * ranks, count * size), own)
    old, out, flat_u, flat_y = state.ravel(), new.ravel(), u.ravel(), y.ravel()
    for i in range(len(rows)):
        if rows[i] < 0:
            y[i, first:last] = 0.0
            continue
        here, token = rows[i] * len(A) + first, i * len(A) + first
        soon = rows[min(i + 1, len(rows) - 1)] * len(A) + first
        turn_rows(
            *(M, 0, size, count * size, old, out, here * size, flat_u, token),
            *(flat_y, token, sums, ranks, count, size, soon * size),
        )
        if len(D):
            add_skip(y[i, first:last], D[first:last], u[i, first:last])


@inner
def _planes(S, ranks, M, own):
    """Fill the planes of `turn_rows` for some channels."""
    decays(S[DECAY, 0], S[DECAY, 1], M[0][own], M[1][own])
    join(S[DRIVE, 0], S[DRIVE, 1], 1.0, M[2][own])
    join(S[READ, 0], S[READ, 1], -1.0, M[3][own])
    for r in range(ranks):
        G, F = S[RANKS + r], S[RANKS + ranks + r]
        join(G[0], G[1], 1.0, M[4 + r][own])
        join(F[0], F[1], -1.0, M[4 + ranks + r][own])


@inner
def join(re, im, sign, pairs):
    """Put real parts beside imaginary ones, which get a sign."""
    use_wide_vectors()
    for n in range(len(pairs) // 2):
        pairs[2 * n], pairs[2 * n + 1] = re[n], sign * im[n]
