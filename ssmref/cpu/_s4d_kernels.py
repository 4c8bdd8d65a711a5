"""Kernels of S4D: the diagonal recurrence over packed sequences.

Limit: for each token, vector of channels and complex state 5 multiply-adds, at the rate
of fused multiply-adds (see `_diagonal`); memory sees each number of u and y once.

Work is divided by stripes of channels and by sequences. Where these are too few, each
sequence is cut into parts: a first pass finds the state that every part would end with
if it began with zeros, powers of the decay carry the states from part to part, and the
second pass starts from the true states.
"""

import numpy as np

from ._diagonal import CHUNK, TILE, advance, put, take
from ._diagonal_setup import constants, load_state, store_state
from ._diagonal_step import add_skip, channels_at_once, system, turn_rows
from ._time_parts import carry_all, cut, parts_of, stripe_of
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, lane_count, lane_count_of
from .toolkit.memory import aligned_zeros, new_numbers, new_zeros

# A pass without output costs so much of one with output; parts shorter than SHORTEST
# do not pay.
FIRST_PASS = 0.6
SHORTEST = 512
# Vectors of channels that are copied together: longer runs of memory, larger chunks.
WIDEST = 8


def scan(u, dt, A, B, C, D, hold, bounds, initial, cuts=None):
    """Return y, (tokens, channels), and the final state of each sequence.

    `initial` and D may be empty. `cuts`, parts per sequence, are there for tests.
    """
    count, sequences, size = lane_count(u.dtype), len(bounds) - 1, A.shape[1]
    owner = owners(len(A), count)
    cuts = cuts or parts_of(sequences * len(owner), bounds, FIRST_PASS, SHORTEST)
    y, final = np.empty_like(u), np.empty((sequences, *A.shape), A.dtype)
    W, K, decay = constants(dt, A, B, C, D, hold, owner)
    states = aligned_zeros((sequences * cuts, len(owner), 2 * size * count), u.dtype)
    vectors = stripe_of(sequences * cuts, len(owner), WIDEST)
    jobs = sequences * cuts * -(-len(owner) // max(vectors, 1))
    work = 5 * u.size * size
    run = (u, y, bounds, cuts, initial, final, states, W, K, owner, vectors)
    if cuts > 1:
        for_each(_run, jobs, work, u.dtype, *run, False)
        carry_all(bounds, cuts, initial, states, decay, owner)
    for_each(_run, jobs, work, u.dtype, *run, True)
    return y, final


def owners(channels, count):
    """Return the channel of each lane of each vector; -1 is none."""
    lanes = np.arange(-(-channels // count) * count)
    return np.where(lanes < channels, lanes, -1).reshape(-1, count)


@Item
def _run(
    u, y, bounds, cuts, initial, final, states, W, K, owner, vectors, reading, job
):
    """Run a stripe of channels over one part; find y and final states if `reading`.

    The first pass of a sequence with several parts begins with the zeros in `states`
    and ends there; with a single part the initial state is copied here.
    """
    stripes = -(-len(W) // vectors)
    part, block = job // stripes, job % stripes * vectors
    row, last_part = part // cuts, part % cuts == cuts - 1
    vectors, plane = min(vectors, len(W) - block), states.shape[2] // 2
    for b in range(block, block + vectors):
        if cuts == 1 and len(initial):
            load_state(initial, row, owner[b], states[part, b], 0, plane)
    if reading or not last_part:
        first, last = cut(bounds, cuts, part)
        _advance(u, y, first, last, part, block, vectors, W, K, states, reading)
    for b in range(block, block + vectors):
        if reading and last_part:
            store_state(states[part, b], 0, plane, final, row, owner[b])


@inner
def _advance(u, y, first, last, part, block, vectors, W, K, states, reading):
    """Advance some vectors of channels from token `first` to `last`."""
    count, channels, size = lane_count_of(u), u.shape[1], states.shape[2]
    width = min(vectors * count, channels - block * count)
    U = new_zeros(vectors * CHUNK * count, u)
    Y = new_zeros(vectors * CHUNK * count, u)
    flat_u, flat_y, X = u.ravel(), y.ravel(), states.ravel()
    flat_w, flat_k = W.ravel(), K.ravel()
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


def step(u, dt, A, B, C, D, hold, state, new, rows):
    """Return y, and fill the new states: arrays of real numbers; D may be empty.

    A, B, C and states have real and imaginary parts side by side.
    """
    y = np.empty_like(u)
    channels = channels_at_once(len(A))
    work = (100 + 5 * len(u)) * A.size
    arguments = (u, y, dt, A, B, C, D, hold, state, new, rows, channels)
    for_each(_step_channels, -(-len(A) // channels), work, u.dtype, *arguments)
    return y


@Item
def _step_channels(u, y, dt, A, B, C, D, hold, state, new, rows, channels, block):
    """Advance some channels of every row that has a slot."""
    first, last = block * channels, min((block + 1) * channels, len(A))
    count, size = last - first, A.shape[1]
    M, sums = new_numbers(4 * count * size, u), np.empty(1, u.dtype)
    system(dt, A, B, C, hold, first, last, M.reshape(4, count * size))
    old, out, flat_u, flat_y = state.ravel(), new.ravel(), u.ravel(), y.ravel()
    for i in range(len(rows)):
        if rows[i] < 0:
            y[i, first:last] = 0.0
            continue
        here, token = rows[i] * len(A) + first, i * len(A) + first
        soon = rows[min(i + 1, len(rows) - 1)] * len(A) + first
        turn_rows(
            *(M, 0, size, count * size, old, out, here * size, flat_u, token),
            *(flat_y, token, sums, 0, count, size, soon * size),
        )
        if len(D):
            add_skip(y[i, first:last], D[first:last], u[i, first:last])
