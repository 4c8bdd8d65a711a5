"""Chunks of Mamba-3: the state is that of `_chunks`, the mask is not.

A token has `ranks` rows, which see each other and all rows before. A key counts with
gamma at its own token; later ones see it with its `scale`, which holds what the
trapezoid of the next token adds. With c the cumulative sum of exponents::

    y[i] = e^c[i] h q[i] + sum_{j seen} (q[i] . k[j]) m[i, j] v[j]
    m[i, j] = gamma[j] in the token of i, else e^(c[i] - c[j]) scale[j]
    h = e^c[end] h + sum_j e^(c[end] - c[j]) scale[j] v[j] k[j]^T

Scores of keys and queries that are not finite are not finite either, on the diagonal
too; that is how they are found. Such a chunk goes through `recur`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ._chunks import _decay, _plain_decay, _vectors
from ._mamba3_rows import add_scaled
from ._row_products import TILE_LEFT, TILE_RIGHT, product_tile
from .toolkit.kernels import INT64, inner, micro_kernel, stay_small
from .toolkit.memory import LINE
from .toolkit.products import TILE_ROWS, add_product, scaled_product
from .toolkit.rows import scale_rows


class Desk(NamedTuple):
    """What a work item keeps: sizes, and where its parts lie in one array, `memory`.

    A chunk has room for `size` rows: whole vectors, and whole tiles of scores.
    """

    size: Any
    ranks: Any
    depth: Any  # coordinates of keys: the state
    width: Any  # coordinates of values: headdim
    scores: Any  # (size, size): q[i] . k[j], of which seen ones are used
    weights: Any  # (TILE_ROWS, size): m times scores, of a few rows
    parts: Any  # (tokens, angles): what each token turns by
    values: Any  # (size, width)
    out: Any  # (size, width)
    high: Any  # (size): the cumulative sums of exponents
    low: Any  # (size): what rounding took from them
    enter: Any  # (size): decays from before the chunk to each row
    leave: Any  # (size): decays from each row to the last one, times scale
    gamma: Any  # (size)
    scale: Any  # (size)
    exponents: Any  # (tokens): natural ones
    before: Any  # (tokens + 1): the weight at each token of the one before
    now: Any  # (tokens + 1): gamma
    half: Any  # (tokens + 1): half of dt
    raw: Any  # (2, size, depth): keys and queries, in halves
    turned: Any  # the same of one head, with biases, rotated; or one state
    queries: Any  # the second half of `turned`
    turns: Any  # (heads, 2, angles)
    biases: Any  # (heads, 2, ranks, depth): of keys and queries, in halves
    factors: Any  # (heads, 3, ranks, width): of values, gates and outputs
    states: Any  # (heads, depth, width)
    end: Any


@inner
def make_desk(size, ranks, depth, width, heads, angles):
    """Return the desk of a work item."""
    one, rows = _rounded(size + 1), size * depth
    weights = _rounded(size * size)
    parts = weights + _rounded(TILE_ROWS * size)
    values = parts + _rounded(size * angles)
    out = values + _rounded(size * width)
    high = out + _rounded(size * width)
    raw = high + 10 * one
    turned = raw + _rounded(2 * rows)
    turns = turned + _rounded(max(2 * rows, depth * width))
    biases = turns + _rounded(heads * 2 * angles)
    factors = biases + _rounded(heads * 2 * ranks * depth)
    states = factors + _rounded(heads * 3 * ranks * width)
    return Desk(
        *(size, ranks, depth, width, 0, weights, parts, values, out),
        *(high, high + one, high + 2 * one, high + 3 * one, high + 4 * one),
        *(high + 5 * one, high + 6 * one, high + 7 * one, high + 8 * one),
        *(high + 9 * one, raw, turned, turned + rows, turns, biases, factors, states),
        states + heads * depth * width,
    )


@inner
def _rounded(count):
    """Return the next multiple of a cache line of numbers."""
    return (count + LINE - 1) // LINE * LINE


def _plain_bound_decays(memory, enter, leave, high, low, scale, count, rise):
    """Set the decays from the start to each row, and from each to the last, scaled."""
    j, last = np.arange(count), count - 1
    memory[enter + j] = _plain_decay(memory[high + j] + memory[low + j], rise)
    parts = memory[high + last] - memory[high + j]
    parts += memory[low + last] - memory[low + j]
    memory[leave + j] = _plain_decay(parts, rise) * memory[scale + j]


@micro_kernel(_plain_bound_decays)
def _bound_decays(lanes, memory, enter, leave, high, low, scale, count, rise):
    """Whole vectors are written."""
    builder = lanes.builder
    last = builder.sub(count, INT64(1))
    ends = [lanes.broadcast(memory, builder.add(part, last)) for part in (high, low)]

    def body(i, _):
        at = builder.mul(i, INT64(lanes.count))
        own, rest, factor = (
            lanes.load(memory, builder.add(part, at)) for part in (high, low, scale)
        )
        decay, tiny = _decay(lanes, own + rest, rise)
        decay = lanes.select(tiny, 0.0, decay)
        lanes.store(decay, memory, builder.add(enter, at))
        decay, tiny = _decay(lanes, (ends[0] - own) + (ends[1] - rest), rise)
        decay = lanes.select(tiny, 0.0, decay) * factor
        lanes.store(decay, memory, builder.add(leave, at))
        return []

    lanes.loop(_vectors(lanes, count), [], body)


@inner
def bound_decays(memory, desk, rows, rise):
    """Compute the decays to and from the ends of a chunk."""
    _bound_decays(
        *(memory, desk.enter, desk.leave, desk.high, desk.low, desk.scale, rows, rise)
    )


@inner
def limit_of(row, ranks):
    """Return the first row that `row` does not see: one of the next token."""
    return (row // ranks + 1) * ranks


@inner
def score(memory, desk, rows):
    """Fill the scores of rows with what they see; return 0 if all are finite."""
    stay_small()
    size, depth = desk.size, desk.depth
    for i in range(0, rows, TILE_LEFT):
        own = min(TILE_LEFT, rows - i)
        seen = limit_of(i + own - 1, desk.ranks)
        for j in range(0, seen, TILE_RIGHT):
            product_tile(
                *(memory, desk.scores + i * size + j, size),
                *(memory, desk.queries + i * depth, depth, own),
                *(memory, desk.turned + j * depth, depth, seen - j, depth),
            )
    zero = 0 * memory[desk.scores]
    for i in range(1, rows):
        zero += 0 * memory[desk.scores + i * size + i]
    return zero


@np.errstate(all="ignore")
def _plain_weigh(
    memory, weights, scores, high, low, scale, gamma, size, i, count, ranks, rise
):
    """Set ``weights[r, j] = scores[i + r, j] m[i + r, j]``, 0 where j is not seen.

    All rows of weights, `count` columns; rows of both are `size` numbers. What the
    memory holds behind the last row counts for nothing.
    """
    j = np.arange(count)
    for r, row in enumerate(range(i, i + TILE_ROWS)):
        parts = memory[high + row] - memory[high + j]
        parts += memory[low + row] - memory[low + j]
        begin = row // ranks * ranks
        factor = np.where(j < begin, memory[scale + j], memory[gamma + j])
        own = memory[scores + row * size + j] * _plain_decay(parts, rise) * factor
        memory[weights + r * size + j] = np.where(j < begin + ranks, own, 0)


@micro_kernel(_plain_weigh)
def _weigh(
    lanes, memory, weights, scores, high, low, scale, gamma, size, i, count, ranks, rise
):
    """Whole vectors are written."""
    builder = lanes.builder
    rows = [builder.add(i, INT64(r)) for r in range(TILE_ROWS)]
    begins = [builder.mul(builder.sdiv(row, ranks), ranks) for row in rows]
    own = [
        [lanes.broadcast(memory, builder.add(part, row)) for part in (high, low)]
        for row in rows
    ]

    def body(v, _):
        j = builder.mul(v, INT64(lanes.count))
        past, rest, later, now = (
            lanes.load(memory, builder.add(part, j))
            for part in (high, low, scale, gamma)
        )
        for r, row in enumerate(rows):
            exponent = (own[r][0] - past) + (own[r][1] - rest)
            decay, tiny = _decay(lanes, exponent, rise)
            earlier = lanes.first(builder.sub(begins[r], j))
            place = builder.add(builder.mul(row, size), j)
            score = lanes.load(memory, builder.add(scores, place))
            weight = score * decay * lanes.select(earlier, later, now)
            seen = lanes.first(builder.sub(builder.add(begins[r], ranks), j))
            kept = builder.and_(seen, builder.not_(tiny))
            place = builder.add(builder.mul(INT64(r), size), j)
            weight = lanes.select(kept, weight, 0.0)
            lanes.store(weight, memory, builder.add(weights, place))
        return []

    lanes.loop(_vectors(lanes, count), [], body)


@inner
def read_state(memory, desk, state, i, rows):
    """Set outputs to what the state at offset `state` gives, before its decay.

    Of `rows` rows from row i on.
    """
    depth, width = desk.depth, desk.width
    at = desk.out + i * width
    outputs = memory[at : at + rows * width]
    for j in range(len(outputs)):
        outputs[j] = 0
    add_product(
        *(memory, at, width, memory, desk.queries + i * depth, depth, 1),
        *(memory, state, width, rows, width, depth),
    )


@inner
def read_chunk(memory, desk, i, rows, rise):
    """Decay outputs, and add what the rows of the chunk give to them.

    Those of up to TILE_ROWS rows from row i on.
    """
    size, width, weights = desk.size, desk.width, desk.weights
    seen = limit_of(i + rows - 1, desk.ranks)
    _weigh(
        *(memory, weights, desk.scores, desk.high, desk.low),
        *(desk.scale, desk.gamma, size, i, seen, desk.ranks, rise),
    )
    scaled_product(
        *(memory, desk.enter + i, 1, memory, desk.out + i * width, width),
        *(memory, weights, size, 1, memory, desk.values, width),
        *(rows, width, seen),
    )


@inner
def absorb(memory, desk, state, rows):
    """Advance the state over the chunk; the values are used up."""
    width, values = desk.width, desk.values
    scale_rows(
        *(memory, values, width, memory, values, width),
        *(memory, desk.leave, rows, width),
    )
    scaled_product(
        *(memory, desk.enter + rows - 1, 0, memory, state, width),
        *(memory, desk.turned, 1, desk.depth, memory, values, width),
        *(desk.depth, width, rows),
    )


@inner
def recur(memory, desk, state, tokens, ends):
    """Do the work of a chunk one token at a time.

    NaN and infinity go where the definition has them: a decay of zero meets them, what
    is not seen does not. The last token of a sequence (`ends`) has none after it, whose
    weight of zero would meet it.
    """
    stay_small()
    depth, width, ranks = desk.depth, desk.width, desk.ranks
    for i in range(desk.out, desk.out + tokens * ranks * width):
        memory[i] = 0
    for t in range(tokens):
        decay = math.exp(memory[desk.exponents + t])
        gamma, later = memory[desk.now + t], memory[desk.before + t + 1]
        first, last = t * ranks, (t + 1) * ranks
        for n in range(depth):
            own = state + n * width
            for i in range(own, own + width):
                memory[i] *= decay
            for row in range(first, last):
                key = gamma * memory[desk.turned + row * depth + n]
                add_scaled(memory, own, memory, desk.values + row * width, key, width)
            for row in range(first, last):
                query = memory[desk.queries + row * depth + n]
                add_scaled(memory, desk.out + row * width, memory, own, query, width)
            for row in range(last if ends and t + 1 == tokens else first, last):
                key = later * memory[desk.turned + row * depth + n]
                add_scaled(memory, own, memory, desk.values + row * width, key, width)
