"""Kernels of attention for one new token: every head reads its cache once.

Limit: the bytes of keys and values. Where there are fewer heads of keys than threads,
the cache is split in time; parts have softmaxes of their own, joined in their order.
"""

import numpy as np
from numba import prange

from ._lanes import INT64, kernel, micro_kernel, parallel_kernel
from ._math import LOG2_E, exp2
from ._products import add_product
from ._threads import launch, segments

KEYS = 64
# The fewest keys that are worth a part of their own.
SHORTEST = 256


def attend_token(q, k, v, scale, share):
    """Return the outputs, (batch, heads, valuedim), for one query per head."""
    rows = q.shape[0] * k.shape[2]
    parts = segments(rows, k.shape[1], first_pass=0.0, shortest=SHORTEST)
    return attend_token_in_parts(q, k, v, scale, share, parts)


def attend_token_in_parts(q, k, v, scale, share, parts):
    """`attend_token` with the cache of each head in so many parts."""
    batch, heads, _ = q.shape
    sums = np.zeros((parts, batch, heads, v.shape[3]), q.dtype)
    softmax = np.zeros((parts, batch, heads, 2), q.dtype)
    factor = q.dtype.type(scale * LOG2_E)
    launch(_attend, k.size + v.size, q, k, v, factor, share, sums, softmax)
    return _joined(sums, softmax)


@parallel_kernel
def _attend(q, k, v, factor, share, sums, softmax):
    parts, batch, groups = len(sums), len(q), k.shape[2]
    for job in prange(parts * batch * groups):
        part, b, group = job // (batch * groups), job // groups % batch, job % groups
        _attend_part(q, k, v, factor, share, sums, softmax, part, b, group)


@kernel
def _attend_part(q, k, v, factor, share, sums, softmax, part, b, group):
    """Run the heads of a group over one part of their cache."""
    parts, cached, headdim, valuedim = len(sums), k.shape[1], k.shape[3], v.shape[3]
    begin, end = cached * part // parts, cached * (part + 1) // parts
    queries = (q[b, group * share : (group + 1) * share] * factor).reshape(-1)
    own = sums[part, b, group * share : (group + 1) * share].reshape(-1)
    top = np.full(share, -np.inf, q.dtype)
    total = np.zeros(share, q.dtype)
    weights = np.empty(share * KEYS, q.dtype)
    k_row, v_row = k.shape[2] * headdim, v.shape[2] * valuedim
    keys, values = k[b].reshape(-1), v[b].reshape(-1)
    for key in range(begin, end, KEYS):
        count = min(KEYS, end - key)
        at = key * k_row + group * headdim
        for h in range(share):
            dots(
                weights, h * KEYS, keys, at, k_row, queries, h * headdim, count, headdim
            )
            shrink = _soften(weights[h * KEYS : h * KEYS + count], top, total, h)
            own[h * valuedim : (h + 1) * valuedim] *= shrink
        add_product(
            *(own, 0, valuedim, weights, 0, KEYS, 1),
            *(values, key * v_row + group * valuedim, v_row, share, valuedim, count),
        )
    softmax[part, b, group * share : (group + 1) * share, 0] = top
    softmax[part, b, group * share : (group + 1) * share, 1] = total


@kernel
def _soften(weights, top, total, h):
    """Replace scores by weights; return the factor of what came before."""
    before = top[h]
    for score in weights:
        top[h] = score if score > top[h] else top[h]
    top[h] = top[h] if top[h] > -np.inf else 0
    shrink = exp2(before - top[h])
    total[h] *= shrink
    for s in range(len(weights)):
        weights[s] = exp2(weights[s] - top[h])
        total[h] += weights[s]
    return shrink


@kernel
def _joined(sums, softmax):
    """Join the parts, each shrunk to the greatest maximum, in their order."""
    parts, batch, heads, valuedim = sums.shape
    y = np.zeros((batch, heads, valuedim), sums.dtype)
    for b in range(batch):
        for h in range(heads):
            top = softmax[0, b, h, 0]
            for part in range(parts):
                top = max(top, softmax[part, b, h, 0])
            total = sums.dtype.type(0)
            for part in range(parts):
                shrink = exp2(softmax[part, b, h, 0] - top)
                total += shrink * softmax[part, b, h, 1]
                for j in range(valuedim):
                    y[b, h, j] += shrink * sums[part, b, h, j]
            for j in range(valuedim):
                y[b, h, j] /= total
    return y


def _plain_dots(out, at, rows, r_at, r_step, v, v_at, count, size):
    """Store the products of `count` rows with the vector v, each of `size` numbers."""
    i, j = np.arange(count)[:, None], np.arange(size)
    out[at : at + count] = rows[r_at + i * r_step + j] @ v[v_at : v_at + size]


@micro_kernel(_plain_dots)
def dots(lanes, out, at, rows, r_at, r_step, v, v_at, count, size):
    """Keep one sum per lane, and add up the lanes at the end of a row."""
    builder, width = lanes.builder, INT64(lanes.count)
    whole, rest = builder.sdiv(size, width), builder.srem(size, width)
    mask = lanes.first(rest)

    def row(i, values):
        at_row = values[0]

        def vector(j, sums):
            step = builder.mul(j, width)
            a = lanes.load(rows, builder.add(at_row, step))
            return [lanes.fma(a, lanes.load(v, builder.add(v_at, step)), sums[0])]

        (total,) = lanes.loop(whole, [lanes.constant(0.0)], vector)
        tail = builder.mul(whole, width)
        a = lanes.load(rows, builder.add(at_row, tail), mask)
        total = lanes.fma(a, lanes.load(v, builder.add(v_at, tail), mask), total)
        place = builder.gep(out, [builder.add(at, i)])
        builder.store(lanes.total(total), place)
        return [builder.add(at_row, r_step)]

    lanes.loop(count, [r_at], row)
