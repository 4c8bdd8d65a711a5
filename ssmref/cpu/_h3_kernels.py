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
from ._diagonal_step import add_skip, channels_at_once, move, system, turn_rows
from ._h3_tiles import run_part
from ._time_parts import carry_all, parts_of, stripe_of
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, lane_count
from .toolkit.memory import aligned_zeros, new_numbers

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
    q, k, v, dt, A, B, C, D, shift, skip, hold, shift_state, new_shift, state, new, rows
):
    """Return y, and fill both new states, the last as real numbers; D may be empty.

    `shift` are the taps, `skip` what else keys meet, or empty; states of pairs are
    (slots, pairs, 2 state), A, B and C (heads, 2 state), with parts side by side.
    """
    y, shifted = np.zeros_like(q), np.empty_like(k)
    work = 100 * A.size + 5 * len(q) * state[:1].size
    arguments = (q, k, v, y, dt, A, B, C, D, shift, skip, shifted, hold)
    heads = channels_at_once(len(A))
    arguments = (*arguments, shift_state, new_shift, state, new, rows, heads)
    for_each(_step, -(-len(A) // heads), work, q.dtype, *arguments)
    return y


@Item
def _step(
    q, k, v, y, dt, A, B, C, D, shift, skip, shifted, hold, shift_state, new_shift,
    state, new, rows, heads, block
):  # fmt: skip
    """Advance some heads of every row that has a slot."""
    first, last = block * heads, min((block + 1) * heads, len(A))
    features, count = k.shape[1] // len(A), last - first
    M = new_numbers(4 * count * A.shape[1], q)
    system(dt, A, B, C, hold, first, last, M.reshape(4, count * A.shape[1]))
    kv, found = np.empty((2, count * features * features), q.dtype)
    begin, end = first * features, last * features
    old_keys, new_keys, weights = shift_state.ravel(), new_shift.ravel(), shift.ravel()
    flat_k, flat_shifted, taps = k.ravel(), shifted.ravel(), shift.shape[1]
    for i in range(len(rows)):
        if rows[i] < 0:
            continue
        here = rows[i] * k.shape[1] + begin
        soon = rows[min(i + 1, len(rows) - 1)] * k.shape[1] + begin
        move(
            *(old_keys, new_keys, here * taps, weights, begin * taps, flat_k),
            *(flat_shifted, i * k.shape[1] + begin, end - begin, taps, soon * taps),
        )
        if len(skip):
            add_skip(shifted[i, begin:end], skip[begin:end], k[i, begin:end])
        _pairs(shifted[i, begin:end], v[i, begin:end], features, kv)
        _turn_heads(M, count, features, state, new, here, soon, kv, found)
        skips = D[first:last] if len(D) else D
        _read(found, kv, skips, q[i, begin:end], features, y[i, begin:end])


@inner
def _pairs(keys, values, features, products):
    """Multiply each key of a head with each value of it."""
    for c in range(len(keys)):
        base = c // features * features
        for b in range(features):
            products[c * features + b] = keys[c] * values[base + b]


@inner
def _turn_heads(M, heads, features, state, new, here, soon, kv, found):
    """Advance the pairs of some heads; one head has the same system for all of its."""
    pairs, size = features * features, state.shape[2]
    old, out, sums = state.ravel(), new.ravel(), np.empty(1, M.dtype)
    step, together = (size, heads) if features == 1 else (0, 1)
    for head in range(0, heads, together):
        own, row = head * pairs, features * size
        turn_rows(
            *(M, head * size, step, heads * size, old, out, here * row + own * size),
            *(kv, own, found, own, sums, 0, together * pairs, size),
            soon * row + own * size,
        )


@inner
def _read(found, kv, D, q, features, y):
    """Add to y what queries find in the pairs of each key."""
    for c in range(len(q)):
        head = c // features
        skip = D[head] if len(D) else q.dtype.type(0)
        for b in range(features):
            pair = c * features + b
            y[head * features + b] += q[c] * (found[pair] + skip * kv[pair])
