"""Kernels of attention over sequences: the online softmax over blocks of keys.

Limit: 4 headdim FLOPs for each key that a query sees, at the rate of fused
multiply-adds, and one exp (about a tenth of the time of headdim 64).

Scores are held transposed, (keys, queries): then the vectors of both products and of
the softmax run over queries, no vector is ever summed across its lanes, and keys and
values are read where they lie, without packing.
"""

import numpy as np
from numba import prange

from .toolkit.elementary import LOG2_E, exp2
from .toolkit.kernels import kernel, parallel_kernel, use_wide_vectors
from .toolkit.products import add_product
from .toolkit.rows import all_finite
from .toolkit.threads import launch

# Queries and keys per block: 64 x 64 scores and the sums of a head of 128 stay in the
# second-level cache, what a product touches at a time in the first.
QUERIES = 64
KEYS = 64


def attend(q, k, v, bounds, rows, scale, share):
    """Return the outputs of all tokens, (tokens, heads, valuedim).

    Sequence s has its queries in ``bounds[s]:bounds[s + 1]`` and its keys, as many or
    more, in ``rows[s]:rows[s + 1]``; its last query sees them all. Query head h uses
    head ``h // share`` of keys and values.
    """
    y = np.empty((*q.shape[:2], v.shape[2]), q.dtype)
    factor = q.dtype.type(scale * LOG2_E)
    arguments = (q, k, v, bounds, rows, factor, share, _pairs(bounds), y)
    launch(_attend, q.size * KEYS, *arguments)
    return y


def _pairs(bounds):
    """Return rows (sequence, a, b) of blocks of queries: the first with the last, ...

    Later blocks see more keys; pairs cost the same. b < a is no second block.
    """
    blocks = -(-np.diff(bounds) // QUERIES)
    pairs = (blocks + 1) // 2
    sequence = np.repeat(np.arange(len(blocks)), pairs)
    a = np.arange(len(sequence)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    b = blocks[sequence] - 1 - a
    return np.stack([sequence, a, np.where(b > a, b, -1)], axis=1)


@parallel_kernel
def _attend(q, k, v, bounds, rows, factor, share, pairs, y):
    for job in prange(len(pairs) * q.shape[1]):
        _attend_pair(q, k, v, bounds, rows, factor, share, pairs, y, job)


@kernel
def _attend_pair(q, k, v, bounds, rows, factor, share, pairs, y, job):
    """Run one head over the two blocks of queries of a pair."""
    pair, head = job // q.shape[1], job % q.shape[1]
    s = pairs[pair, 0]
    queries = np.empty(q.shape[2] * QUERIES, q.dtype)
    weights = np.empty(KEYS * QUERIES, q.dtype)
    sums = np.empty(v.shape[2] * QUERIES, q.dtype)
    softmax = np.empty((3, QUERIES), q.dtype)
    for block in pairs[pair, 1:]:
        if block >= 0:
            start = bounds[s] + block * QUERIES
            count = min(QUERIES, bounds[s + 1] - start)
            own = rows[s + 1] - bounds[s + 1] + start
            _pack(q, head, start, count, factor, queries)
            _attend_block(
                *(k, v, head // share, rows[s], own, count),
                *(queries, weights, sums, softmax),
            )
            _unpack(sums, softmax[1], y, head, start, count)


@kernel
def _pack(q, head, start, count, factor, queries):
    """Transpose a block of queries, times the factor of the scores."""
    for i in range(count):
        for j in range(q.shape[2]):
            queries[j * QUERIES + i] = q[start + i, head, j] * factor


@kernel
def _unpack(sums, total, y, head, start, count):
    for i in range(count):
        for j in range(y.shape[2]):
            y[start + i, head, j] = sums[j * QUERIES + i] / total[i]


@kernel
def _attend_block(k, v, group, first, own, count, queries, weights, sums, softmax):
    """Run `count` packed queries over the keys from row `first`.

    Query i sees the keys up to and including row ``own + i``. Leaves the weighted
    values in `sums`, (valuedim, queries), and the totals of weights in `softmax[1]`.
    """
    headdim, valuedim = k.shape[2], v.shape[2]
    k_row, v_row = k.shape[1] * headdim, v.shape[1] * valuedim
    keys_flat, values_flat = k.reshape(-1), v.reshape(-1)
    sums[:] = 0
    softmax[0], softmax[1] = -np.inf, 0
    for key in range(first, own + count, KEYS):
        keys = min(KEYS, own + count - key)
        weights[: keys * QUERIES] = 0
        add_product(
            *(weights, 0, QUERIES, keys_flat, key * k_row + group * headdim, k_row, 1),
            *(queries, 0, QUERIES, keys, count, headdim),
        )
        hidden = key - own
        _soften(weights, sums, softmax, keys, count, hidden)
        at = key * v_row + group * valuedim
        if hidden + keys > 1 and not all_finite(values_flat, at, v_row, keys, valuedim):
            _add_visible(sums, weights, values_flat, at, v_row, keys, count, hidden)
        else:
            add_product(
                *(sums, 0, QUERIES, values_flat, at, 1, v_row),
                *(weights, 0, QUERIES, valuedim, count, keys),
            )


@kernel
def _soften(weights, sums, softmax, keys, count, hidden):
    """Replace scores by their weights; shrink what came before to the new maximum.

    Key s of the block is hidden from the queries before ``hidden + s``: their weight is
    0, and nothing else of it reaches them.
    """
    use_wide_vectors()
    top, total, shrink = softmax[0, :count], softmax[1, :count], softmax[2, :count]
    shrink[:] = top
    # Loops are over slices from 0: only then does LLVM know that no index is negative,
    # which in Python counts from the end, and vectorises.
    for s in range(keys):
        begin = min(max(0, hidden + s), count)
        own, row = top[begin:], weights[s * QUERIES + begin : s * QUERIES + count]
        for i in range(len(row)):
            own[i] = row[i] if row[i] > own[i] else own[i]
    for i in range(count):
        # While all scores were -inf, any finite number serves as the maximum.
        top[i] = top[i] if top[i] > -np.inf else 0
        shrink[i] = exp2(shrink[i] - top[i])
        total[i] *= shrink[i]
    for s in range(keys):
        begin = min(max(0, hidden + s), count)
        weights[s * QUERIES : s * QUERIES + begin] = 0
        row = weights[s * QUERIES + begin : s * QUERIES + count]
        _exponentiate(row, top[begin:], total[begin:])
    for j in range(len(sums) // QUERIES):
        row = sums[j * QUERIES : j * QUERIES + count]
        for i in range(len(row)):
            row[i] *= shrink[i]


@kernel
def _exponentiate(row, top, total):
    for i in range(len(row)):
        row[i] = exp2(row[i] - top[i])
        total[i] += row[i]


@kernel
def _add_visible(sums, weights, values, at, step, keys, count, hidden):
    """Add weighted values key by key: 0 times infinity must not reach a query."""
    for s in range(keys):
        for j in range(len(sums) // QUERIES):
            value = values[at + s * step + j]
            for i in range(max(0, hidden + s), count):
                sums[j * QUERIES + i] += weights[s * QUERIES + i] * value
