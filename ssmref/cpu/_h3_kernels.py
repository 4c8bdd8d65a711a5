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
from ._diagonal_step import CHANNELS, move, system, turn
from ._h3_tiles import run_part
from ._time_parts import carry_all, parts_of, stripe_of
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, lane_count
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


def step(
    q, k, v, dt, A, B, C, D, shift, hold, shift_state, new_shift, state, new, rows
):
    """Return y, and fill both new states, the last as real numbers; D may be empty.

    `shift` is as in `scan`; states of pairs are (slots, pairs, 2 state), A, B and C
    (heads, 2 state), with parts side by side.
    """
    y = np.zeros_like(q)
    work = 100 * A.size + 5 * len(q) * state[:1].size
    arguments = (q, k, v, y, dt, A, B, C, D, shift, hold, shift_state, new_shift)
    blocks = -(-len(A) // CHANNELS)
    for_each(_step, blocks, work, q.dtype, *arguments, state, new, rows)
    return y


@Item
def _step(
    q, k, v, y, dt, A, B, C, D, shift, hold, shift_state, new_shift, state, new, rows,
    block
):  # fmt: skip
    """Advance CHANNELS heads of every row that has a slot."""
    first, last = block * CHANNELS, min((block + 1) * CHANNELS, len(A))
    features = k.shape[1] // len(A)
    M = np.empty((4, last - first, A.shape[1]), A.dtype)
    system(dt, A, B, C, hold, first, last, M)
    planes, keys = M.ravel(), np.empty((last - first) * features, k.dtype)
    for i in range(len(rows)):
        if rows[i] >= 0:
            channel = first * features
            _shift_keys(k, shift, shift_state, new_shift, rows[i], i, channel, keys)
            _step_heads(q, v, y, D, keys, planes, state, new, rows[i], i, first)


@inner
def _shift_keys(k, shift, old, new, row, i, first, shifted):
    """Move the keys of some channels one place on; fill the shifted keys."""
    taps, weights = shift.shape[1], shift.ravel()
    before, after = old.ravel(), new.ravel()
    for j in range(len(shifted)):
        c = first + j
        at, key = (row * k.shape[1] + c) * taps, k[i, c]
        after[at] = key
        total = move(before, at, after, weights, c * taps + 1, taps - 1)
        shifted[j] = weights[c * taps] * key + total


@inner
def _step_heads(q, v, y, D, keys, M, state, new, row, i, first):
    """Advance the pairs of some heads of one row; a channel of keys has its pairs."""
    size, features = state.shape[2], state.shape[1] // q.shape[1]
    old, out, plane = state.ravel(), new.ravel(), len(M) // 4
    for c in range(len(keys)):
        head = c // features
        skip = D[first + head] if len(D) else v.dtype.type(0)
        channel, base = first * features + c, (first + head) * features
        query, key = q[i, channel], keys[c]
        for b in range(features):
            at = ((row * q.shape[1] + channel) * features + b) * size
            kv = key * v[i, base + b]
            total = turn(M, head * size, plane, old, at, out, at, kv, size)
            y[i, base + b] += query * (total + skip * kv)
