"""Kernels of H3: keys shifted, outer products, diagonal recurrence and queries at once.

Limit: for each token and pair of features (i of the key, j of the value) of a head 5
multiply-adds per complex state (see `_diagonal`), and one per tap and channel of k.

Vectors run over the values of a set of heads, 16 of one feature or 2 of eight; for each
feature of the keys there is one with the states of these pairs. A job is one part of a
sequence for a stripe of sets. Where jobs are too few, sequences are cut as in
`_s4d_kernels`; the keys before a part are read from k itself.
"""

import numpy as np

from ._diagonal_setup import constants
from ._diagonal_step import system, turn
from ._h3_tiles import run_part
from ._time_parts import carry_all, parts_of, stripe_of
from .toolkit.items import Item, for_each
from .toolkit.kernels import kernel, lane_count
from .toolkit.memory import aligned_zeros

# A pass without output costs so much of one with output; see `_s4d_kernels`.
FIRST_PASS = 0.7
SHORTEST = 512
# Vectors of channels that a stripe has at most; all its tokens in the second-level
# cache are TILE rows of k, v, q, y and the shifted keys.
WIDEST = 8


def scan(q, k, v, dt, A, B, C, D, shift, hold, bounds, shift_state, state, cuts=None):
    """Return y, (tokens, channels), and both final states.

    `shift` are the taps, the skip of keys in the first; D and the states may be empty.
    States of pairs are (sequences, pairs of all heads, state).
    """
    count, sequences, size = lane_count(k.dtype), len(bounds) - 1, A.shape[1]
    features = k.shape[1] // len(A) if len(A) else 1
    pairs_all = k.shape[1] * features
    owner, pairs = heads_of(len(A), features, count), pairs_of(len(A), features, count)
    cuts = cuts or parts_of(sequences * len(pairs), bounds, FIRST_PASS, SHORTEST)
    y, final = np.empty_like(k), np.empty((sequences, pairs_all, size), A.dtype)
    W, K, decay = constants(dt, A, B, C, D, hold, owner)
    states = aligned_zeros((sequences * cuts, len(pairs), 2 * size * count), k.dtype)
    together = stripe_of(sequences * cuts, len(owner), WIDEST // -(-features // count))
    jobs = sequences * cuts * -(-len(owner) // together)
    work = (5 * features * size + shift.shape[1]) * k.size
    run = (q, k, v, y, bounds, cuts, shift, shift_state, state, final, states, W, K)
    run = (*run, pairs, features, together)
    if cuts > 1:
        for_each(run_part, jobs, work, k.dtype, *run, False)
        carry_all(bounds, cuts, state, states, decay, pairs)
    for_each(run_part, jobs, work, k.dtype, *run, True)
    return y, _latest(k, bounds, shift.shape[1], shift_state), final


def _latest(k, bounds, taps, old):
    """Return the latest keys of each sequence, the newest first."""
    age, length = np.arange(taps), np.diff(bounds)[:, None]
    if len(old):
        older = np.clip(age - length, 0, None)[:, None]
        keys = np.take_along_axis(old, older, axis=2)
    else:
        keys = np.zeros((len(length), k.shape[1], taps), k.dtype)
    row, j = np.nonzero(age < length)
    keys[row, :, j] = k[bounds[row + 1] - 1 - j]
    return keys


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


def step(q, k, v, dt, A, B, C, D, shift, hold, shift_state, state, rows):
    """Return y and both new states, the last as real numbers; D may be empty.

    `shift` is as in `scan`; states of pairs are (slots, pairs, 2 state), A, B and C
    (heads, 2 state), with parts side by side.
    """
    y, new_shift, new = np.zeros_like(q), shift_state.copy(), state.copy()
    work = 100 * A.size + 5 * len(q) * state[:1].size
    arguments = (q, k, v, y, dt, A, B, C, D, shift, hold, shift_state, new_shift)
    for_each(_step, len(A), work, q.dtype, *arguments, state, new, rows)
    return y, new_shift, new


@Item
def _step(
    q, k, v, y, dt, A, B, C, D, shift, hold, shift_state, new_shift, state, new, rows,
    head
):  # fmt: skip
    """Advance one head of every row that has a slot."""
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
    return M.ravel()


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
    old, out = state.ravel(), new.ravel()
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
