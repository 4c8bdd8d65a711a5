"""Kernels of attention for one new token: the cache is read once, and copied.

Limit: the bytes of keys and values, read and written, since the longer cache is a new
one. A block of the cache is copied, then used by all heads while it is in the cache of
the processor. Work is divided over rows and stretches of time; stretches have softmaxes
of their own, joined in their order.
"""

import numpy as np
from numba import prange

from .toolkit.elementary import LOG2_E, exp2
from .toolkit.kernels import kernel, micro_kernel, parallel_kernel
from .toolkit.products import add_product
from .toolkit.rows import along
from .toolkit.threads import launch, segments

# Keys per block, and the fewest that are worth a stretch of their own.
KEYS = 32
SHORTEST = 64


def attend_token(q, old, new, scale, share):
    """Return the outputs, (batch, heads, valuedim), for one query per head.

    `new` are keys and values with room for one token more than the `old` ones; the
    last token is there already, the others are copied.
    """
    parts = segments(len(q), new[0].shape[1], first_pass=0.0, shortest=SHORTEST)
    return attend_token_in_parts(q, old, new, scale, share, parts)


def attend_token_in_parts(q, old, new, scale, share, parts):
    """`attend_token` with the cache of each row in so many parts."""
    (old_k, old_v), (k, v) = old, new
    sums = np.zeros((parts, *q.shape[:2], v.shape[3]), q.dtype)
    softmax = np.zeros((parts, 2, *q.shape[:2]), q.dtype)
    queries = q * q.dtype.type(scale * LOG2_E)
    arguments = (queries, old_k, old_v, k, v, share, sums, softmax)
    launch(_attend, k.size + v.size, *arguments)
    return _joined(sums, softmax)


@parallel_kernel
def _attend(queries, old_k, old_v, k, v, share, sums, softmax):
    for job in prange(len(sums) * len(queries)):
        part, b = job // len(queries), job % len(queries)
        begin = k.shape[1] * part // len(sums)
        end = k.shape[1] * (part + 1) // len(sums)
        softmax[part, 0, b] = -np.inf
        _attend_part(
            *(queries[b], old_k[b], old_v[b], k[b], v[b], share, begin, end),
            *(sums[part, b], softmax[part, 0, b], softmax[part, 1, b]),
        )


@kernel
def _attend_part(queries, old_k, old_v, k, v, share, begin, end, sums, top, total):
    """Run all heads over the keys from `begin` to `end`, block by block."""
    groups, headdim, valuedim = k.shape[1], k.shape[2], v.shape[2]
    weights = np.empty(len(queries) * KEYS, sums.dtype)
    q_flat, k_flat, v_flat = queries.reshape(-1), k.reshape(-1), v.reshape(-1)
    sums_flat = sums.reshape(-1)
    for key in range(begin, end, KEYS):
        count = min(KEYS, end - key)
        known = max(0, min(count, len(old_k) - key))
        _copy(old_k[key : key + known].reshape(-1), k[key : key + known].reshape(-1))
        _copy(old_v[key : key + known].reshape(-1), v[key : key + known].reshape(-1))
        at = key * groups * headdim
        scores(weights, KEYS, k_flat, at, q_flat, count, groups, share, headdim)
        for h in range(len(queries)):
            row = weights[h * KEYS : h * KEYS + count]
            sums[h] *= _soften(row, top[h : h + 1], total[h : h + 1])
        for g in range(groups):
            at, head = (key * groups + g) * valuedim, g * share
            add_product(
                *(sums_flat, head * valuedim, valuedim, weights, head * KEYS, KEYS, 1),
                *(v_flat, at, groups * valuedim, share, valuedim, count),
            )


@kernel
def _copy(source, target):
    for i in range(len(source)):
        target[i] = source[i]


@kernel
def _soften(row, top, total):
    """Replace scores by weights; return the factor of what came before."""
    before = top[0]
    for score in row:
        top[0] = score if score > top[0] else top[0]
    # While all scores were -inf, any finite number serves as the maximum.
    top[0] = top[0] if top[0] > -np.inf else 0
    shrink = exp2(before - top[0])
    for s in range(len(row)):
        row[s] = exp2(row[s] - top[0])
    total[0] *= shrink
    for weight in row:
        total[0] += weight
    return shrink


@kernel
def _joined(sums, softmax):
    """Join the parts, each shrunk to the greatest maximum, in their order."""
    parts, batch, heads, valuedim = sums.shape
    y = np.zeros((batch, heads, valuedim), sums.dtype)
    for b in range(batch):
        for h in range(heads):
            top = softmax[0, 0, b, h]
            for part in range(parts):
                top = max(top, softmax[part, 0, b, h])
            total = sums.dtype.type(0)
            for part in range(parts):
                shrink = exp2(softmax[part, 0, b, h] - top)
                total += shrink * softmax[part, 1, b, h]
                for j in range(valuedim):
                    y[b, h, j] += shrink * sums[part, b, h, j]
            for j in range(valuedim):
                y[b, h, j] /= total
    return y


def _plain_scores(out, step, keys, at, queries, count, groups, share, size):
    """Store in ``out[h, s]``, rows `step` apart, key s of group h // share times h."""
    end = at + count * groups * size
    rows = keys[at:end].reshape(count, groups, 1, size)
    heads = queries[: groups * share * size].reshape(groups, share, size)
    found = np.sum(rows * heads, axis=-1).reshape(count, groups * share)
    for h in range(groups * share):
        out[h * step : h * step + count] = found[:, h]


@micro_kernel(_plain_scores)
def scores(lanes, out, step, keys, at, queries, count, groups, share, size):
    """Read the keys in the order in which they lie, each vector once per head."""
    builder = lanes.builder
    heads = builder.mul(groups, share)

    def one_key(s, values):
        def one_head(h, _):
            group = builder.sdiv(h, share)
            row = builder.add(values[0], builder.mul(group, size))
            total = _dot(lanes, keys, row, queries, builder.mul(h, size), size)
            place = builder.add(builder.mul(h, step), s)
            builder.store(total, builder.gep(out, [place]))
            return []

        lanes.loop(heads, [], one_head)
        return [builder.add(values[0], builder.mul(groups, size))]

    lanes.loop(count, [at], one_key)


def _dot(lanes, a, a_at, b, b_at, size):
    """Emit the product of two rows of `size` numbers: a sum per lane, then of lanes."""
    rows = (a, a_at), (b, b_at)

    def part(step, sums, mask):
        x, y = (lanes.load(X, lanes.builder.add(at, step), mask) for X, at in rows)
        return [lanes.fma(x, y, sums[0])]

    return lanes.total(along(lanes, size, [lanes.constant(0.0)], part)[0])
