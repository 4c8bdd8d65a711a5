"""Chunks: attention inside a stretch of tokens, a state between stretches.

A recurrence with one decay per head and token,

    h[t] = 2^a[t] h[t-1] + v[t] k[t]^T          y[t] = h[t] q[t]

becomes matrix products over chunks. With c the cumulative sum of a in a chunk::

    y[t] = 2^c[t] h q[t] + sum_{s <= t} (q[t] . k[s]) 2^(c[t] - c[s]) v[s]
    h    = 2^c[end] h + sum_s 2^(c[end] - c[s]) v[s] k[s]^T

An op fills `Room.keys` (`transpose`), `Room.scores` (`lower_products`),
`Room.values`, and the exponents (`cumulate`, then `bound_decays`); `read_out` and
`absorb` do the rest. The state is kept as rows of v (one row per coordinate of k), so
that all vectors run over v.

Exponents are sums in float64; their differences are taken between sums in two parts
(`high` + `low`), so nothing is lost by large sums. What is not finite must not meet the
zeros above the diagonal: such chunks go through `recur`, one token at a time, which
treats NaN and infinity as the definition does.

All arrays are one-dimensional, with offsets and steps in numbers, like in `_products`.
The room of a chunk has `size` tokens, a multiple of the vector's length.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit

from ._lanes import (
    FLAGS,
    INT32,
    INT64,
    Value,
    lane_count_of,
    micro_kernel,
    use_wide_vectors,
)
from ._math import LOG2_E, SMALLEST, exp2_bounded
from ._products import TILE_ROWS, add_product, scaled_product

# Cache lines, to which buffers are aligned.
LINE = 64

# Exponents between which `exp2_bounded` holds, and their sums fit float32.
LARGEST_RISE = 100.0
LARGEST_SUM = 1e30


# For functions that only kernels call: without entries for Python and C, whose code for
# unpacking tuples of arrays would take longer to compile than the functions.
inner = njit(
    nogil=True, fastmath=FLAGS, no_cpython_wrapper=True, no_cfunc_wrapper=True
)


class Room(NamedTuple):
    """What is kept of a chunk of `size` tokens while one head is computed."""

    scores: Any  # (size, size): q[t] . k[s], of which s <= t is used
    weights: Any  # (TILE_ROWS, size): scores times decays, of a few tokens
    keys: Any  # (coordinates of k, size)
    values: Any  # (size, coordinates of v)
    out: Any  # (size, coordinates of v)
    high: Any  # (size): the cumulative sums of exponents
    low: Any  # (size): what `high` lost by rounding
    enter: Any  # (size): decays from before the chunk to each token
    leave: Any  # (size): decays from each token to the last one
    total: Any  # (1): the decay of the whole chunk


@inner
def aligned(count, like):
    """Return new numbers of the type of `like`, the first one at a cache line."""
    memory = np.empty(count + LINE // like.itemsize, like.dtype)
    skip = -memory.ctypes.data % LINE // like.itemsize
    return memory[skip : skip + count]


@inner
def make_room(size, keys, values, like):
    """Return the room for chunks of `size` tokens."""
    return Room(
        aligned(size * size, like),
        aligned(TILE_ROWS * size, like),
        aligned(keys * size, like),
        aligned(size * values, like),
        aligned(size * values, like),
        aligned(size, like),
        aligned(size, like),
        aligned(size, like),
        aligned(size, like),
        aligned(1, like),
    )


@inner
def all_finite(array, at, count):
    """Return whether `count` numbers are finite."""
    use_wide_vectors()
    wrong = False
    for i in range(at, at + count):
        wrong |= array[i] - array[i] != 0
    return not wrong


def _plain_transpose(out, at, step, source, s_at, s_step, rows, columns):
    """Set ``out[c, r] = source[r, c]``, given offsets and steps of rows."""
    r, c = np.arange(rows), np.arange(columns)[:, None]
    out[at + c * step + r] = source[s_at + r * s_step + c]


@micro_kernel(_plain_transpose)
def _transpose_block(lanes, out, at, step, source, s_at, s_step, _rows, _columns):
    """As many rows and columns as a vector has lanes."""
    builder = lanes.builder
    numbers = [INT64(i) for i in range(lanes.count)]
    places = [builder.add(s_at, builder.mul(s_step, i)) for i in numbers]
    columns = _transposed(lanes, [lanes.load(source, place) for place in places])
    for i, column in zip(numbers, columns, strict=True):
        lanes.store(column, out, builder.add(at, builder.mul(step, i)))


def _transposed(lanes, rows):
    """Exchange lanes h apart of rows h apart, for h = half of the lanes, ..., 2, 1."""
    count, half = lanes.count, lanes.count // 2
    while half:
        for i in (i for i in range(count) if not i & half):
            a, b = rows[i], rows[i + half]
            low = [k if not k & half else count + k - half for k in range(count)]
            high = [k + half if not k & half else count + k for k in range(count)]
            rows[i], rows[i + half] = _shuffle(a, b, low), _shuffle(a, b, high)
        half //= 2
    return rows


def _shuffle(a, b, places):
    """Return the lanes at these places of a followed by b."""
    chosen = ir.Constant(ir.VectorType(INT32, len(places)), places)
    return Value(a.lanes, a.lanes.builder.shuffle_vector(a.ir, b.ir, chosen))


@inner
def transpose(out, at, step, source, s_at, s_step, rows, columns):
    """Set ``out[c, r] = source[r, c]``, given offsets and steps of rows."""
    one = lane_count_of(out)
    whole, blocks = rows - rows % one, columns - columns % one
    for r in range(0, whole, one):
        for c in range(0, blocks, one):
            _transpose_block(
                *(out, at + c * step + r, step, source, s_at + r * s_step + c, s_step),
                *(one, one),
            )
    for r in range(rows):
        for c in range(0 if r >= whole else blocks, columns):
            out[at + c * step + r] = source[s_at + r * s_step + c]


@inner
def lower_products(room, size, queries, at, step, count, width):
    """Fill the scores of the first `count` tokens: queries of `width` times keys.

    Row t is filled up to the end of the vector in which the diagonal is.
    """
    scores, one = room.scores, lane_count_of(room.scores)
    for i in range(0, count, TILE_ROWS):
        rows = min(TILE_ROWS, count - i)
        columns = (i + rows + one - 1) // one * one
        for r in range(i, i + rows):
            scores[r * size : r * size + columns] = 0
        add_product(
            *(scores, i * size, size, queries, at + i * step, step, 1),
            *(room.keys, 0, size, rows, columns, width),
        )


@inner
def cumulate(exponents, at, count, room):
    """Sum natural exponents; return their total, rise and least, in powers of two.

    The rise is the sum of the positive ones: no difference of sums is larger, which is
    what rounding is not allowed to change.
    """
    high, low = room.high, room.low
    total, rise, least = 0.0, 0.0, 0.0
    for i in range(count):
        a = LOG2_E * np.float64(exponents[at + i])
        total += a
        rise += max(a, 0.0)
        least = min(least, a)
        high[i] = total
        low[i] = total - np.float64(high[i])
    return total, rise, least


@inner
def bounded(total, rise):
    """Return whether decays between these sums can be computed: all are numbers."""
    return abs(total) < LARGEST_SUM and rise < LARGEST_RISE


def _plain_decay(exponent, rise):
    kept = np.minimum(exponent, rise)
    tiny = kept < SMALLEST[exponent.dtype.name]
    return np.where(tiny, 0, np.exp2(np.where(tiny, 0, kept)))


def _decay(lanes, exponent, rise):
    """Return 2^exponent and where it is to be 0, below the normal numbers."""
    smallest = SMALLEST[lanes.dtype.__name__]
    kept = lanes.select(exponent > rise, rise, exponent)
    tiny = kept < smallest
    return exp2_bounded(lanes.select(tiny, smallest, kept)), tiny


def _plain_bounds(enter, leave, high, low, count, rise):
    """Set the decays from the start to each token, and from each to the last."""
    last = count - 1
    enter[:count] = _plain_decay(high[:count] + low[:count], rise)
    parts = (high[last] - high[:count]) + (low[last] - low[:count])
    leave[:count] = _plain_decay(parts, rise)


@micro_kernel(_plain_bounds)
def _bound_decays(lanes, enter, leave, high, low, count, rise):
    """Whole vectors are written."""
    builder = lanes.builder
    last = builder.sub(count, INT64(1))
    last_high, last_low = lanes.broadcast(high, last), lanes.broadcast(low, last)

    def body(i, _):
        at = builder.mul(i, INT64(lanes.count))
        own_high, own_low = lanes.load(high, at), lanes.load(low, at)
        inner = (last_high - own_high) + (last_low - own_low)
        for exponent, out in ((own_high + own_low, enter), (inner, leave)):
            decay, tiny = _decay(lanes, exponent, rise)
            lanes.store(lanes.select(tiny, 0.0, decay), out, at)
        return []

    lanes.loop(_vectors(lanes, count), [], body)


def _vectors(lanes, count):
    """Return how many vectors hold `count` numbers."""
    more = lanes.builder.add(count, INT64(lanes.count - 1))
    return lanes.builder.sdiv(more, INT64(lanes.count))


@inner
def bound_decays(room, count, rise):
    """Compute decays to and from the ends of a chunk of `count` tokens."""
    _bound_decays(room.enter, room.leave, room.high, room.low, count, rise)
    room.total[0] = room.enter[count - 1]


def _plain_weigh(weights, size, scores, high, low, i, count, rise):
    """Set ``weights[t, s] = scores[i + t, s] 2^(c[i + t] - c[s])``, 0 for s > i + t.

    All rows of weights, `count` columns; rows of both arrays are `size` numbers.
    """
    for t, row in enumerate(range(i, i + TILE_ROWS)):
        parts = (high[row] - high[:count]) + (low[row] - low[:count])
        own = scores[row * size : row * size + count] * _plain_decay(parts, rise)
        seen = np.arange(count) <= row
        weights[t * size : t * size + count] = np.where(seen, own, 0)


@micro_kernel(_plain_weigh)
def _weigh(lanes, weights, size, scores, high, low, i, count, rise):
    """Whole vectors are written."""
    builder = lanes.builder
    rows = [builder.add(i, INT64(t)) for t in range(TILE_ROWS)]
    own = [(lanes.broadcast(high, row), lanes.broadcast(low, row)) for row in rows]

    def body(v, _):
        s = builder.mul(v, INT64(lanes.count))
        past = lanes.load(high, s), lanes.load(low, s)
        for t, row in enumerate(rows):
            exponent = (own[t][0] - past[0]) + (own[t][1] - past[1])
            decay, tiny = _decay(lanes, exponent, rise)
            score = lanes.load(scores, builder.add(builder.mul(row, size), s))
            seen = lanes.first(builder.sub(builder.add(row, INT64(1)), s))
            kept = builder.and_(seen, builder.not_(tiny))
            place = builder.add(builder.mul(INT64(t), size), s)
            lanes.store(lanes.select(kept, score * decay, 0.0), weights, place)
        return []

    lanes.loop(_vectors(lanes, count), [], body)


def _plain_prefetch(array, at, count):
    """Ask for the cache lines of `count` numbers: they will be needed soon."""


@micro_kernel(_plain_prefetch)
def prefetch(lanes, array, at, count):
    """Ask for the cache lines of `count` numbers, which need not exist."""
    builder = lanes.builder
    line = INT64(LINE // np.dtype(lanes.dtype).itemsize)

    def body(i, _):
        lanes.prefetch(array, builder.add(at, builder.mul(i, line)))
        return []

    lines = builder.sdiv(builder.add(count, builder.sub(line, INT64(1))), line)
    lanes.loop(lines, [], body)


@inner
def read_out(room, size, S, s_at, queries, at, step, count, rise, keys, values):
    """Fill ``room.out``: what the state and the chunk itself give to its tokens.

    The state is rows of `values` numbers at s_at, as many as `keys`, the width of the
    queries.
    """
    out, weights = room.out, room.weights
    out[: count * values] = 0
    add_product(
        *(out, 0, values, queries, at, step, 1),
        *(S, s_at, values, count, values, keys),
    )
    for i in range(0, count, TILE_ROWS):
        rows = min(TILE_ROWS, count - i)
        _weigh(weights, size, room.scores, room.high, room.low, i, i + rows, rise)
        scaled_product(
            *(room.enter, i, 1, out, i * values, values, weights, 0, size, 1),
            *(room.values, 0, values, rows, values, i + rows),
        )


@inner
def absorb(room, size, S, s_at, count, keys, values):
    """Advance the state over the chunk; ``room.values`` is used up."""
    use_wide_vectors()
    inputs = room.values
    for r in range(count):
        decay = room.leave[r]
        for p in range(r * values, (r + 1) * values):
            inputs[p] *= decay
    scaled_product(
        *(room.total, 0, 0, S, s_at, values, room.keys, 0, size, 1),
        *(inputs, 0, values, keys, values, count),
    )


@inner
def recur(
    room, S, s_at, exponents, e_at, queries, coordinates, at, step, count, keys, values
):
    """Do the work of `read_out` and `absorb` one token at a time.

    Keys (`coordinates`) and queries are rows of `keys` numbers, `step` apart.

    NaN and infinity go where the definition has them: a decay of zero meets them, a
    zero above the diagonal does not.
    """
    use_wide_vectors()
    out, inputs = room.out, room.values
    for t in range(count):
        decay = math.exp(exponents[e_at + t])
        row = t * values
        out[row : row + values] = 0
        for n in range(keys):
            key, query = coordinates[at + t * step + n], queries[at + t * step + n]
            own = s_at + n * values
            for p in range(values):
                S[own + p] = decay * S[own + p] + inputs[row + p] * key
                out[row + p] += S[own + p] * query


@inner
def load_state(S, s_at, state, values, keys):
    """Copy a state (values, keys), flat, to where vectors run over values."""
    transpose(S, s_at, values, state, 0, keys, values, keys)


@inner
def store_state(state, S, s_at, values, keys):
    """Copy a state back: (values, keys), flat."""
    transpose(state, 0, keys, S, s_at, values, keys, values)
