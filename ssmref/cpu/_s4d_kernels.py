"""Kernels of S4D: the diagonal recurrence over packed sequences.

Limit: for each token, vector of channels and complex state 5 multiply-adds, at the rate
of fused multiply-adds (see `_diagonal`); memory sees each number of u and y once.

Work is divided by stripes of channels and by sequences. Where these are too few, each
sequence is cut into parts: a first pass finds the state that every part would end with
if it began with zeros, powers of the decay carry the states from part to part, and the
second pass starts from the true states.
"""

import numpy as np
from numba import prange

from ._cuts import carry, cut, parts_of
from ._diagonal import CHUNK, TILE, advance, put, take
from ._diagonal_setup import constants, load_state, store_state
from ._diagonal_step import system, turn
from ._lanes import kernel, lane_count, lane_count_of, parallel_kernel
from ._parts import aligned, vectors_like
from ._threads import threads

# A pass without output costs so much of one with output; parts shorter than SHORTEST
# do not pay, nor does a parallel region for fewer than SERIAL states times tokens.
FIRST_PASS = 0.6
SHORTEST = 512
SERIAL = 2**17
# Vectors of channels that are copied together: longer runs of memory, larger chunks.
WIDEST = 8
# Channels that a step discretises together.
CHANNELS = 16


def scan(u, dt, A, B, C, D, hold, bounds, initial, cuts=None):
    """Return y, (tokens, channels), and the final state of each sequence.

    `initial` and D may be empty. `cuts`, parts per sequence, are there for tests.
    """
    count, sequences, size = lane_count(u.dtype), len(bounds) - 1, A.shape[1]
    blocks = -(-len(A) // count)
    cuts = cuts or parts_of(sequences * blocks, bounds, FIRST_PASS, SHORTEST)
    y, final = np.empty_like(u), np.empty((sequences, *A.shape), A.dtype)
    starts = aligned((sequences * cuts, blocks, 2 * size * count), u.dtype)
    small = u.size * size < SERIAL or threads() == 1
    owner = owners(len(A), count)
    run = _scan_serially if small else _scan_in_parallel
    run(
        *(u, y, bounds, cuts, initial, final, starts),
        *constants(dt, A, B, C, D, hold, owner, small),
        *(owner, stripe_of(sequences * cuts, blocks)),
    )
    return y, final


def stripe_of(parts, blocks):
    """Return how many vectors of channels to run together: the least time, then most."""

    def cost(vectors):
        return -(-parts * -(-blocks // vectors) // threads()) * vectors

    return min(range(WIDEST, 0, -1), key=cost)


def owners(channels, count):
    """Return the channel of each lane of each vector; -1 is none."""
    lanes = np.arange(-(-channels // count) * count)
    return np.where(lanes < channels, lanes, -1).reshape(-1, count)


@parallel_kernel
def _scan_in_parallel(
    u, y, bounds, cuts, initial, final, starts, W, K, decay, owner, vectors
):
    blocks, rows = len(owner), len(bounds) - 1
    stripes = -(-blocks // vectors)
    for job in prange(rows * cuts * stripes if cuts > 1 else 0):
        _run(u, y, bounds, cuts, final, starts, W, K, owner, vectors, False, job)
    for job in prange(rows * blocks):
        _carry(bounds, cuts, initial, starts, decay, owner, job)
    for job in prange(rows * cuts * stripes):
        _run(u, y, bounds, cuts, final, starts, W, K, owner, vectors, True, job)


@kernel
def _scan_serially(
    u, y, bounds, cuts, initial, final, starts, W, K, decay, owner, vectors
):
    blocks, rows = len(owner), len(bounds) - 1
    stripes = -(-blocks // vectors)
    for job in range(rows * cuts * stripes if cuts > 1 else 0):
        _run(u, y, bounds, cuts, final, starts, W, K, owner, vectors, False, job)
    for job in range(rows * blocks):
        _carry(bounds, cuts, initial, starts, decay, owner, job)
    for job in range(rows * cuts * stripes):
        _run(u, y, bounds, cuts, final, starts, W, K, owner, vectors, True, job)


@kernel
def _carry(bounds, cuts, initial, starts, decay, owner, job):
    """Replace the states that parts end with by those that they begin with."""
    blocks, size = len(decay), decay.shape[2]
    sequence, block = job // blocks, job % blocks
    x = np.zeros(2 * size)
    if len(initial):
        load_state(initial, sequence, owner[block], x, 0, size)
    carry(bounds, cuts, sequence, x, decay[block], starts, block)


@kernel
def _run(u, y, bounds, cuts, final, starts, W, K, owner, vectors, reading, job):
    """Run a stripe of channels over one part; find y and final states if `reading`.

    A first pass begins with the zeros that are in `starts` and ends there.
    """
    blocks = len(W)
    stripes = -(-blocks // vectors)
    part, block = job // stripes, job % stripes * vectors
    vectors = min(vectors, blocks - block)
    last_part = part % cuts == cuts - 1
    if reading or not last_part:
        first, last = cut(bounds, cuts, part)
        _advance(u, y, first, last, part, block, vectors, W, K, starts, reading)
    if reading and last_part:
        for b in range(block, block + vectors):
            own, plane = starts[part, b], starts.shape[2] // 2
            store_state(own, 0, plane, final, part // cuts, owner[b])


@kernel
def _advance(u, y, first, last, part, block, vectors, W, K, starts, reading):
    """Advance some vectors of channels from token `first` to `last`."""
    count, channels, size = lane_count_of(u), u.shape[1], starts.shape[2]
    width = min(vectors * count, channels - block * count)
    U = vectors_like(u, vectors * CHUNK * count)
    Y = vectors_like(u, vectors * CHUNK * count)
    flat_u, flat_y, X = u.reshape(-1), y.reshape(-1), starts.reshape(-1)
    flat_w, flat_k = W.reshape(-1), K.reshape(-1)
    for chunk in range(first, last, CHUNK):
        tokens = min(CHUNK, last - chunk)
        at = chunk * channels + block * count
        take(U, 0, CHUNK * count, flat_u, at, channels, width, tokens)
        for v in range(vectors):
            w_at, k_at = (block + v) * W.shape[1], (block + v) * K.shape[1]
            x_at = (part * len(W) + block + v) * size
            for t in range(0, tokens, TILE):
                advance(
                    *(flat_w, w_at, flat_k, k_at, X, x_at, U, Y),
                    *((v * CHUNK + t) * count, min(TILE, tokens - t)),
                    *(size // 2, reading, flat_u, flat_y, at, channels),
                    *(vectors, v * CHUNK + t),
                )
        if reading:
            put(Y, 0, CHUNK * count, flat_y, at, channels, width, tokens)


def step(u, dt, A, B, C, D, hold, state, rows):
    """Return y and the new states as arrays of real numbers; D may be empty.

    A, B, C and states have real and imaginary parts side by side.
    """
    new, y = state.copy(), np.zeros_like(u)
    small = len(u) * A.size < SERIAL // 16 or threads() == 1
    run = _step_serially if small else _step_in_parallel
    run(u, y, dt, A, B, C, D, hold, state, new, rows)
    return y, new


@parallel_kernel
def _step_in_parallel(u, y, dt, A, B, C, D, hold, state, new, rows):
    for block in prange(-(-len(A) // CHANNELS)):
        _step_channels(u, y, dt, A, B, C, D, hold, state, new, rows, block)


@kernel
def _step_serially(u, y, dt, A, B, C, D, hold, state, new, rows):
    for block in range(-(-len(A) // CHANNELS)):
        _step_channels(u, y, dt, A, B, C, D, hold, state, new, rows, block)


@kernel
def _step_channels(u, y, dt, A, B, C, D, hold, state, new, rows, block):
    """Advance CHANNELS channels of every row that has a slot."""
    first, last = block * CHANNELS, min((block + 1) * CHANNELS, len(A))
    size = A.shape[1]
    M = np.empty((4, last - first, size), u.dtype)
    system(dt, A, B, C, hold, first, last, M)
    old, out, planes, plane = state.reshape(-1), new.reshape(-1), M.reshape(-1), M[0].size
    for i in range(len(rows)):
        for d in range(first, last if rows[i] >= 0 else first):
            at, m_at = (rows[i] * len(A) + d) * size, (d - first) * size
            total = turn(planes, m_at, plane, old, at, out, at, u[i, d], size)
            y[i, d] = total + D[d] * u[i, d] if len(D) else total
