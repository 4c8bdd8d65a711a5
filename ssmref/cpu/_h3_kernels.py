"""Kernels of H3: keys shifted, outer products, diagonal recurrence and queries at once.

Limit: for each token and pair of features (i of the key, j of the value) of a head 5
multiply-adds per complex state (see `_diagonal`), and one per tap for each channel of k.

Vectors run over the values of a set of heads, 16 of one feature or 2 of eight; for each
feature of the keys there is one with the states of these pairs. A job is one part of a
sequence for a stripe of sets. Where jobs are too few, sequences are cut as in
`_s4d_kernels`; the keys before a part are read from k itself.
"""

import numpy as np
from numba import prange

from ._cuts import carry, parts_of
from ._diagonal_setup import constants, load_state, store_state
from ._diagonal_step import system, turn
from ._h3_tiles import key_of, run_part
from ._lanes import kernel, lane_count, parallel_kernel
from ._parts import aligned
from ._threads import threads

# A pass without output costs so much of one with output; see `_s4d_kernels`.
FIRST_PASS = 0.7
SHORTEST = 512
SERIAL = 2**17
# Vectors of channels that a stripe has at most; all its tokens in the second-level
# cache are TILE rows of k, v, q, y and the shifted keys.
WIDEST = 8
def scan(q, k, v, dt, A, B, C, D, shift, hold, bounds, shift_state, state, cuts=None):
    """Return y, (tokens, channels), and both final states.

    `shift` are the taps, the skip of keys in the first; D and the states may be empty.
    States of pairs are (sequences, pairs of all heads, state).
    """
    count, sequences, size = lane_count(k.dtype), len(bounds) - 1, A.shape[1]
    features = k.shape[1] // max(len(A), 1)
    owner, pairs = heads_of(len(A), features, count), pairs_of(len(A), features, count)
    cuts = cuts or parts_of(sequences * len(pairs), bounds, FIRST_PASS, SHORTEST)
    y, final_shift = np.empty_like(k), np.empty((sequences, *shift.shape), k.dtype)
    final = np.empty((sequences, k.shape[1] * features, size), A.dtype)
    starts = aligned((sequences * cuts, len(pairs), 2 * size * count), k.dtype)
    small = k.size * features * size < SERIAL or threads() == 1
    run = _scan_serially if small else _scan_in_parallel
    run(
        *(q, k, v, y, bounds, cuts, shift, shift_state, final_shift, state, final),
        *(starts, *constants(dt, A, B, C, D, hold, owner, small), pairs, features),
        _together(sequences * cuts, len(owner), -(-features // count)),
    )
    return y, final_shift, final


def heads_of(heads, features, count):
    """Return the head of each lane of each set; -1 is none."""
    per_set = max(1, count // features)
    lane = np.arange(count)
    own = lane // features if features <= count else 0 * lane
    head = np.arange(-(-heads // per_set))[:, None] * per_set + own
    return np.where((own < per_set) & (head < heads), head, -1)


def pairs_of(heads, features, count):
    """Return the pair (head, i, j) of each lane of each vector; -1 is none.

    Vectors are sorted by set of heads, feature i of the key, and part of the values.
    """
    per_set, parts = max(1, count // features), -(-features // count)
    sets = -(-heads // per_set)
    channel = np.arange(parts * count)
    head = np.arange(sets)[:, None, None] * per_set + channel // features
    i, j = np.arange(features)[:, None], channel % features
    inside = (channel < per_set * features) & (head < heads)
    pairs = np.where(inside, (head * features + i) * features + j, -1)
    return pairs.reshape(sets * features * parts, count)


def _together(parts, sets, vectors):
    """Return how many sets of some vectors to run together: the least time, then most."""

    def cost(together):
        return -(-parts * -(-sets // together) // threads()) * together

    return min(range(max(1, WIDEST // vectors), 0, -1), key=cost)


@parallel_kernel
def _scan_in_parallel(
    q, k, v, y, bounds, cuts, shift, shift_state, final_shift, state, final, starts,
    W, K, decay, pairs, features, together
):  # fmt: skip
    sets, rows = len(W), len(bounds) - 1
    stripes = -(-sets // together)
    for job in prange(rows * cuts * stripes if cuts > 1 else 0):
        run_part(
            *(q, k, v, y, bounds, cuts, shift, shift_state, starts, W, K),
            *(features, together, False, job),
        )
    for job in prange(rows * starts.shape[1]):
        _carry(bounds, cuts, state, starts, decay, pairs, job)
    for job in prange(rows * cuts * stripes):
        run_part(
            *(q, k, v, y, bounds, cuts, shift, shift_state, starts, W, K),
            *(features, together, True, job),
        )
    for job in prange(rows * starts.shape[1]):
        _leave(cuts, starts, final, pairs, job)
    for row in prange(rows):
        _leave_keys(k, bounds, shift_state, final_shift, row)


@kernel
def _scan_serially(
    q, k, v, y, bounds, cuts, shift, shift_state, final_shift, state, final, starts,
    W, K, decay, pairs, features, together
):  # fmt: skip
    sets, rows = len(W), len(bounds) - 1
    stripes = -(-sets // together)
    for job in range(rows * cuts * stripes if cuts > 1 else 0):
        run_part(
            *(q, k, v, y, bounds, cuts, shift, shift_state, starts, W, K),
            *(features, together, False, job),
        )
    for job in range(rows * starts.shape[1]):
        _carry(bounds, cuts, state, starts, decay, pairs, job)
    for job in range(rows * cuts * stripes):
        run_part(
            *(q, k, v, y, bounds, cuts, shift, shift_state, starts, W, K),
            *(features, together, True, job),
        )
    for job in range(rows * starts.shape[1]):
        _leave(cuts, starts, final, pairs, job)
    for row in range(rows):
        _leave_keys(k, bounds, shift_state, final_shift, row)


@kernel
def _carry(bounds, cuts, state, starts, decay, pairs, job):
    """Replace the states that parts end with by those that they begin with."""
    sequence, block, plane = job // len(pairs), job % len(pairs), decay.shape[2]
    x = np.zeros(2 * plane)
    if len(state):
        load_state(state, sequence, pairs[block], x, 0, plane)
    own = block * len(decay) // len(pairs)
    carry(bounds, cuts, sequence, x, decay[own], starts, block)


@kernel
def _leave(cuts, starts, final, pairs, job):
    """Leave the states of pairs after the last part of a sequence."""
    sequence, block, plane = job // len(pairs), job % len(pairs), starts.shape[2] // 2
    own = starts[(sequence + 1) * cuts - 1, block]
    store_state(own, 0, plane, final, sequence, pairs[block])


@kernel
def _leave_keys(k, bounds, shift_state, final, row):
    """Leave the latest keys of a sequence, the newest first."""
    for channel in range(k.shape[1]):
        for j in range(final.shape[2]):
            token = bounds[row + 1] - 1 - j
            final[row, channel, j] = key_of(k, bounds, shift_state, row, token, channel)


def step(q, k, v, dt, A, B, C, D, shift, hold, shift_state, state, rows):
    """Return y and both new states, the last as real numbers; D may be empty.

    `shift` is as in `scan`; states of pairs are (slots, pairs, 2 state), A, B and C
    (heads, 2 state), with parts side by side.
    """
    y, new_shift, new = np.zeros_like(q), shift_state.copy(), state.copy()
    small = len(q) * state[:1].size < SERIAL // 16 or threads() == 1
    run = _step_serially if small else _step_in_parallel
    run(
        *(q, k, v, y, dt, A, B, C, D, shift, hold, shift_state, new_shift, state, new),
        rows,
    )
    return y, new_shift, new


@parallel_kernel
def _step_in_parallel(
    q, k, v, y, dt, A, B, C, D, shift, hold, shift_state, new_shift, state, new, rows
):
    for head in prange(len(A)):
        M = _system(dt, A, B, C, hold, head)
        for i in range(len(rows)):
            if rows[i] >= 0:
                key = _shift_keys(k, shift, shift_state, new_shift, rows, i, head, len(A))
                _step_head(q, v, y, D, key, M, state, new, rows, i, head)


@kernel
def _step_serially(
    q, k, v, y, dt, A, B, C, D, shift, hold, shift_state, new_shift, state, new, rows
):
    for head in range(len(A)):
        M = _system(dt, A, B, C, hold, head)
        for i in range(len(rows)):
            if rows[i] >= 0:
                key = _shift_keys(k, shift, shift_state, new_shift, rows, i, head, len(A))
                _step_head(q, v, y, D, key, M, state, new, rows, i, head)


@kernel
def _system(dt, A, B, C, hold, head):
    """Return the planes of one head for `turn`, flat."""
    M = np.empty((4, 1, A.shape[1]), A.dtype)
    system(dt, A, B, C, hold, head, head + 1, M)
    return M.reshape(-1)


@kernel
def _shift_keys(k, shift, old, new, rows, i, head, heads):
    """Move the keys of a head one place on; return the shifted keys."""
    features, row = k.shape[1] // heads, rows[i]
    shifted = np.empty(features, k.dtype)
    for f in range(features):
        c = head * features + f
        new[row, c, 0] = k[i, c]
        total = shift[c, 0] * k[i, c]
        for j in range(1, shift.shape[1]):
            new[row, c, j] = old[row, c, j - 1]
            total += shift[c, j] * old[row, c, j - 1]
        shifted[f] = total
    return shifted


@kernel
def _step_head(q, v, y, D, key, M, state, new, rows, i, head):
    """Advance the pairs of one head of one row."""
    features, size = len(key), state.shape[2]
    old, out = state.reshape(-1), new.reshape(-1)
    skip = D[head] if len(D) else v.dtype.type(0)
    for a in range(features):
        query = q[i, head * features + a]
        for b in range(features):
            pair = (head * features + a) * features + b
            at = (rows[i] * state.shape[1] + pair) * size
            c = head * features + b
            kv = key[a] * v[i, c]
            total = turn(M, 0, size, old, at, out, at, kv, size)
            y[i, c] += query * (total + skip * kv)
