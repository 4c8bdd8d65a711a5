"""Chunks: attention inside a stretch of tokens, a state between stretches.

A recurrence with one decay per head and token,

    h[t] = e^a[t] h[t-1] + v[t] k[t]^T          y[t] = h[t] q[t]

becomes matrix products over chunks. With c the cumulative sum of a in a chunk::

    y[t] = e^c[t] h q[t] + sum_{s <= t} (q[t] . k[s]) e^(c[t] - c[s]) v[s]
    h    = e^c[end] h + sum_s e^(c[end] - c[s]) v[s] k[s]^T

An op fills the keys (`transpose`), the scores q . k (`lower_products`), the values
(`fill_values`) and the decays (`cumulate`, `bound_decays`); `read_out` and `absorb` do
the rest. States are kept as rows of v, one per coordinate of k: vectors run over v.

Exponents are added in float64, and differences are taken between sums in two parts
(high + low), so that large sums cost no digits. What is not finite must not meet the
zeros above the diagonal: such chunks go through `recur`, one token at a time, which
treats NaN and infinity as the definition does.

Arrays are one-dimensional, with offsets and steps in numbers, as in
`toolkit.products`. A room holds `size` tokens, a multiple of the vector's length; v has
`values` coordinates and k has `keys`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .toolkit.elementary import LOG2_E, SMALLEST, exp2_bounded
from .toolkit.kernels import INT64, inner, lane_count_of, micro_kernel, use_wide_vectors
from .toolkit.memory import new_numbers
from .toolkit.products import TILE_ROWS, add_product, scaled_product
from .toolkit.rows import prefetch_rows, scale_rows, transpose

# Tokens between which the reading of the state pauses to prefetch.
BLOCK = 16

# Exponents of two for which `exp2_bounded` holds; sums that float32 holds.
LARGEST_RISE = 100.0
LARGEST_SUM = 1e30


class Room(NamedTuple):
    """What is kept of a chunk while one head is computed."""

    scores: Any  # (size, size): q[t] . k[s], of which s <= t is used
    weights: Any  # (TILE_ROWS, size): scores times decays, of a few tokens
    keys: Any  # (keys, size)
    values: Any  # (size, values)
    out: Any  # (size, values)
    high: Any  # (size): the cumulative sums of exponents
    low: Any  # (size): what rounding took from them
    enter: Any  # (size): decays from before the chunk to each token
    leave: Any  # (size): decays from each token to the last one
    total: Any  # (1): the decay of the whole chunk


@inner
def make_room(size, keys, values, like):
    """Return the room for chunks of `size` tokens."""
    return Room(
        new_numbers(size * size, like),
        new_numbers(TILE_ROWS * size, like),
        new_numbers(keys * size, like),
        new_numbers(size * values, like),
        new_numbers(size * values, like),
        new_numbers(size, like),
        new_numbers(size, like),
        new_numbers(size, like),
        new_numbers(size, like),
        new_numbers(1, like),
    )


@inner
def fill_values(room, source, at, step, factors, f_at, count, values):
    """Fill the values: rows of the source times factors; return if all are finite."""
    return scale_rows(
        *(room.values, 0, values, source, at, step, factors, f_at, count, values),
    )


@inner
def lower_products(room, size, queries, at, step, count, width):
    """Fill the scores of `count` tokens: queries of `width` numbers times keys.

    Row t is filled up to the end of the vector in which the diagonal is.
    """
    scores, keys, one = room.scores, room.keys, lane_count_of(room.scores)
    for i in range(count * size):
        scores[i] = 0
    for i in range(0, count, TILE_ROWS):
        rows = min(TILE_ROWS, count - i)
        columns = (i + rows + one - 1) // one * one
        add_product(
            *(scores, i * size, size, queries, at + i * step, step, 1),
            *(keys, 0, size, rows, columns, width),
        )


@inner
def cumulate(exponents, at, count, room):
    """Sum natural exponents; return their total, rise and least, in powers of two.

    The rise is the sum of the positive ones: no difference of sums is larger, and
    rounding must not make it so.
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
    """Return whether decays between such sums can be computed: all are numbers."""
    return abs(total) < LARGEST_SUM and rise < LARGEST_RISE


def _plain_decay(exponent, rise):
    kept = np.minimum(exponent, rise)
    tiny = kept < SMALLEST[exponent.dtype.name]
    return np.where(tiny, 0, np.exp2(np.where(tiny, 0, kept))).astype(exponent.dtype)


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
        inside = (last_high - own_high) + (last_low - own_low)
        for exponent, out in ((own_high + own_low, enter), (inside, leave)):
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
    """Compute the decays to and from the ends of a chunk of `count` tokens."""
    _bound_decays(room.enter, room.leave, room.high, room.low, count, rise)
    room.total[0] = room.enter[count - 1]


def _plain_weigh(weights, size, scores, high, low, i, count, rise):
    """Set ``weights[t, s] = scores[i + t, s] e^(c[i + t] - c[s])``, 0 for s > i + t.

    All rows of weights, `count` columns; rows of both are `size` numbers.
    """
    s = np.arange(count)
    for t, row in enumerate(range(i, i + TILE_ROWS)):
        parts = (high[row] - high[s]) + (low[row] - low[s])
        own = scores[row * size + s] * _plain_decay(parts, rise)
        weights[t * size + s] = np.where(s <= row, own, 0)


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


@inner
def read_state(
    room, S, s_at, queries, at, step, count, keys, values, near, n_at, n_step
):
    """Set the outputs to what the state gives, before its decay.

    Meanwhile rows of `near`, the inputs that come next, are brought into the cache:
    they lie pages apart, where the processor does not look for them.
    """
    out = room.out
    for i in range(count * values):
        out[i] = 0
    for i in range(0, count, BLOCK):
        rows = min(BLOCK, count - i)
        prefetch_rows(near, n_at, n_step, i, rows, values)
        add_product(
            *(out, i * values, values, queries, at + i * step, step, 1),
            *(S, s_at, values, rows, values, keys),
        )


@inner
def read_chunk(room, size, count, rise, values, far, f_at, f_step):
    """Decay the outputs, and add what the tokens of the chunk give to each other.

    Meanwhile rows of `far`, where the outputs will go, are brought into the cache.
    """
    out, weights, inputs, enter = room.out, room.weights, room.values, room.enter
    scores, high, low = room.scores, room.high, room.low
    for i in range(0, count, TILE_ROWS):
        rows = min(TILE_ROWS, count - i)
        prefetch_rows(far, f_at, f_step, i, rows, values)
        _weigh(weights, size, scores, high, low, i, i + rows, rise)
        scaled_product(
            *(enter, i, 1, out, i * values, values, weights, 0, size, 1),
            *(inputs, 0, values, rows, values, i + rows),
        )


@inner
def absorb(room, size, S, s_at, count, keys, values):
    """Advance the state over the chunk; ``room.values`` is used up."""
    inputs = room.values
    scale_rows(inputs, 0, values, inputs, 0, values, room.leave, 0, count, values)
    scaled_product(
        *(room.total, 0, 0, S, s_at, values, room.keys, 0, size, 1),
        *(inputs, 0, values, keys, values, count),
    )


@inner
def recur(
    room, S, s_at, exponents, e_at, queries, coordinates, at, step, count, keys, values
):
    """Do the work of `read_state`, `read_chunk` and `absorb` one token at a time.

    Keys (`coordinates`) and queries are rows of `keys` numbers, `step` apart. NaN and
    infinity go where the definition has them: a decay of zero meets them, a zero above
    the diagonal does not.
    """
    use_wide_vectors()
    state = S[s_at : s_at + keys * values].reshape(keys, values)
    out = room.out[: count * values].reshape(count, values)
    inputs = room.values[: count * values].reshape(count, values)
    for t in range(count):
        decay = math.exp(exponents[e_at + t])
        for p in range(values):
            out[t, p] = 0
        for n in range(keys):
            key, query = coordinates[at + t * step + n], queries[at + t * step + n]
            for p in range(values):
                state[n, p] = decay * state[n, p] + inputs[t, p] * key
                out[t, p] += state[n, p] * query


@inner
def load_state(S, s_at, state, values, keys):
    """Copy a state (values, keys), flat, to where vectors run over values."""
    transpose(S, s_at, values, state, 0, keys, values, keys)


@inner
def store_state(state, S, s_at, values, keys):
    """Copy a state back: (values, keys), flat."""
    transpose(state, 0, keys, S, s_at, values, keys, values)
