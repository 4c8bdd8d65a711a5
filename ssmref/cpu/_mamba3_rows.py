"""Rows of Mamba-3 on their way into a chunk and out of it.

All arrays are one-dimensional, with offsets and steps in numbers, like in `_products`.
Tokens lie `step` apart and have `ranks` rows each, which are consecutive in a chunk.
"""

import numpy as np

from ._blocks import _shuffle, along, inner, stay_small
from ._lanes import INT64, micro_kernel, use_wide_vectors
from ._math import reciprocal_root_of, silu_of


# Halves: the first coordinates of all pairs come first


def _plain_to_halves(out, at, source, s_at, s_step, rows, state, pairwise):
    """Copy rows of coordinates, `s_step` apart, into rows of halves.

    Pairs are (2i, 2i + 1) if `pairwise`, else (i, i + state / 2) already.
    """
    for r in range(rows):
        row = source[s_at + r * s_step : s_at + r * s_step + state]
        order = _order(state, pairwise)
        out[at + r * state : at + (r + 1) * state] = row[order]


def _order(state, pairwise):
    """Return where the coordinates stand that come first, second, ... in halves."""
    numbers = np.arange(state)
    return np.concatenate([numbers[0::2], numbers[1::2]]) if pairwise else numbers


def _plain_from_halves(out, at, step, source, s_at, rows, state, pairwise):
    """Undo `to_halves`: the rows of `out` are `step` apart."""
    for r in range(rows):
        row = out[at + r * step : at + r * step + state]
        row[_order(state, pairwise)] = source[s_at + r * state : s_at + (r + 1) * state]


def _pair_places(lanes, place, mask, middle, pairwise):
    """Return offset and mask of two vectors of a row, where pairs are as they are.

    The two are consecutive or half a row apart; `place` is that of the first pair.
    """
    builder, count = lanes.builder, INT64(lanes.count)
    low = builder.select(pairwise, builder.add(place, place), place)
    high = builder.add(place, middle)
    high = builder.select(pairwise, builder.add(low, count), high)
    if mask is None:
        return (low, None), (high, None)
    left = builder.sub(middle, place)
    first = builder.select(pairwise, builder.add(left, left), left)
    second = builder.select(pairwise, builder.sub(first, count), left)
    return (low, lanes.first(first)), (high, lanes.first(second))


def _chosen(lanes, pairwise, a, b, orders):
    """Return a and b, or what stands in these orders in both if `pairwise`."""
    return [
        lanes.select(pairwise, _shuffle(a, b, order), own)
        for order, own in zip(orders, (a, b), strict=True)
    ]


def _flag(lanes, pairwise):
    return lanes.builder.icmp_signed("!=", pairwise, INT64(0))


@micro_kernel(_plain_to_halves)
def _to_halves(lanes, out, at, source, s_at, s_step, rows, state, pairwise):
    """Two vectors at a time, of which even and odd lanes are taken."""
    builder, flag = lanes.builder, _flag(lanes, pairwise)
    middle = builder.sdiv(state, INT64(2))
    numbers = list(range(2 * lanes.count))

    def row(r, _):
        given = builder.add(s_at, builder.mul(r, s_step))
        own = builder.add(at, builder.mul(r, state))

        def part(place, _, mask):
            places = _pair_places(lanes, place, mask, middle, flag)
            a, b = (lanes.load(source, builder.add(given, p), m) for p, m in places)
            first, second = _chosen(lanes, flag, a, b, (numbers[0::2], numbers[1::2]))
            target = builder.add(own, place)
            lanes.store(first, out, target, mask)
            lanes.store(second, out, builder.add(target, middle), mask)
            return []

        along(lanes, middle, [], part)
        return []

    lanes.loop(rows, [], row)


@micro_kernel(_plain_from_halves)
def _from_halves(lanes, out, at, step, source, s_at, rows, state, pairwise):
    """Two vectors at a time, whose lanes alternate."""
    builder, flag = lanes.builder, _flag(lanes, pairwise)
    middle, count = builder.sdiv(state, INT64(2)), lanes.count
    turns = [i // 2 + i % 2 * count for i in range(2 * count)]

    def row(r, _):
        target = builder.add(at, builder.mul(r, step))
        own = builder.add(s_at, builder.mul(r, state))

        def part(place, _, mask):
            given = builder.add(own, place)
            a = lanes.load(source, given, mask)
            b = lanes.load(source, builder.add(given, middle), mask)
            both = _chosen(lanes, flag, a, b, (turns[:count], turns[count:]))
            places = _pair_places(lanes, place, mask, middle, flag)
            for (p, m), value in zip(places, both, strict=True):
                lanes.store(value, out, builder.add(target, p), m)
            return []

        along(lanes, middle, [], part)
        return []

    lanes.loop(rows, [], row)


# Values and outputs: rows of the width of a head


def _plain_spread(memory, to, x, at, step, weight, tokens, ranks, width):
    """Set the values of each rank of each token, x times weights; return 0 out.

    The sum of 0 times the results, that is: 0 if all are finite, NaN if not.
    """
    own = np.stack([x[at + t * step : at + t * step + width] for t in range(tokens)])
    weights = memory[weight : weight + ranks * width].reshape(ranks, width)
    new = (own[:, None] * weights).reshape(-1)
    memory[to : to + len(new)] = new
    with np.errstate(invalid="ignore"):
        return (0 * new).sum()


@micro_kernel(_plain_spread, number=True)
def _spread(lanes, memory, to, x, at, step, weight, tokens, ranks, width):
    """Row by row."""
    builder = lanes.builder

    def token(t, sums):
        given = builder.add(at, builder.mul(t, step))
        first = builder.mul(t, ranks)

        def rank(r, sums):
            row = builder.add(to, builder.mul(builder.add(first, r), width))
            own = builder.add(weight, builder.mul(r, width))

            def part(place, sums, mask):
                new = lanes.load(x, builder.add(given, place), mask)
                new = new * lanes.load(memory, builder.add(own, place), mask)
                lanes.store(new, memory, builder.add(row, place), mask)
                return [lanes.fma(new, 0.0, sums[0])]

            return along(lanes, width, sums, part)

        return lanes.loop(ranks, sums, rank)

    return lanes.total(lanes.loop(tokens, [lanes.constant(0.0)], token)[0])


def _plain_collect(y, at, step, memory, rows, weight, tokens, ranks, width):
    """Set the outputs of each token: the weighted sum of the rows of its ranks."""
    weights = memory[weight : weight + ranks * width].reshape(ranks, width)
    for t in range(tokens):
        first = rows + t * ranks * width
        own = memory[first : first + ranks * width].reshape(ranks, width)
        y[at + t * step : at + t * step + width] = (own * weights).sum(axis=0)


@micro_kernel(_plain_collect)
def _collect(lanes, y, at, step, memory, rows, weight, tokens, ranks, width):
    """Keep the sum of a vector of channels in a register."""
    builder = lanes.builder

    def token(t, _):
        target = builder.add(at, builder.mul(t, step))
        first = builder.add(rows, builder.mul(builder.mul(t, ranks), width))

        def part(place, _, mask):
            def rank(r, sums):
                shift = builder.add(builder.mul(r, width), place)
                row = lanes.load(memory, builder.add(first, shift), mask)
                factor = lanes.load(memory, builder.add(weight, shift), mask)
                return [lanes.fma(row, factor, sums[0])]

            (total,) = lanes.loop(ranks, [lanes.constant(0.0)], rank)
            lanes.store(total, y, builder.add(target, place), mask)
            return []

        along(lanes, width, [], part)
        return []

    lanes.loop(tokens, [], token)


def _plain_normalise(out, at, weight, w_at, rows, width, eps):
    """Divide rows by their root mean squares, multiply them by weights."""
    own = out[at : at + rows * width].reshape(rows, width)
    factor = 1 / np.sqrt(np.mean(own * own, axis=1, keepdims=True) + eps)
    own[:] = own * factor.astype(out.dtype) * weight[w_at : w_at + width]


@micro_kernel(_plain_normalise)
def _normalise(lanes, out, at, weight, w_at, rows, width, eps):
    """One sum per lane, then the sum of the lanes."""
    builder = lanes.builder
    count = lanes.spread(builder.sitofp(width, lanes.element))

    def row(r, _):
        first = builder.add(at, builder.mul(r, width))

        def add(place, sums, mask):
            own = lanes.load(out, builder.add(first, place), mask)
            return [lanes.fma(own, own, sums[0])]

        (squares,) = along(lanes, width, [lanes.constant(0.0)], add)
        mean = lanes.spread(lanes.total(squares)) / count
        factor = reciprocal_root_of(mean + eps)

        def scale(place, _, mask):
            target = builder.add(first, place)
            new = lanes.load(out, target, mask) * factor
            new = new * lanes.load(weight, builder.add(w_at, place), mask)
            lanes.store(new, out, target, mask)
            return []

        along(lanes, width, [], scale)
        return []

    lanes.loop(rows, [], row)


def _plain_gate(memory, rows, z, at, step, weight, tokens, ranks, width):
    """Multiply rows by the SiLU of z times weights."""
    weights = memory[weight : weight + ranks * width].reshape(ranks, width)
    for t in range(tokens):
        first = rows + t * ranks * width
        own = memory[first : first + ranks * width].reshape(ranks, width)
        gate = z[at + t * step : at + t * step + width] * weights
        e = np.exp(-np.abs(gate))
        own *= gate * np.where(gate < 0, e, 1) / (1 + e)


@micro_kernel(_plain_gate)
def _gate(lanes, memory, rows, z, at, step, weight, tokens, ranks, width):
    """Row by row."""
    builder = lanes.builder

    def token(t, _):
        given = builder.add(at, builder.mul(t, step))
        first = builder.mul(t, ranks)

        def rank(r, _):
            row = builder.add(rows, builder.mul(builder.add(first, r), width))
            own = builder.add(weight, builder.mul(r, width))

            def part(place, _, mask):
                logit = lanes.load(z, builder.add(given, place), mask)
                logit = logit * lanes.load(memory, builder.add(own, place), mask)
                target = builder.add(row, place)
                new = lanes.load(memory, target, mask) * silu_of(logit)
                lanes.store(new, memory, target, mask)
                return []

            along(lanes, width, [], part)
            return []

        lanes.loop(ranks, [], rank)
        return []

    lanes.loop(tokens, [], token)


@inner
def to_halves(out, at, source, s_at, s_step, rows, state, pairwise):
    """Copy rows of coordinates, `s_step` apart, into rows of halves."""
    stay_small()
    _to_halves(out, at, source, s_at, s_step, rows, state, pairwise)


@inner
def from_halves(out, at, step, source, s_at, rows, state, pairwise):
    """Undo `to_halves`."""
    stay_small()
    _from_halves(out, at, step, source, s_at, rows, state, pairwise)


@inner
def spread(memory, to, x, at, step, weight, tokens, ranks, width):
    """Set the values of the ranks of tokens; return 0 if all are finite."""
    stay_small()
    return _spread(memory, to, x, at, step, weight, tokens, ranks, width)


@inner
def collect(y, at, step, memory, rows, weight, tokens, ranks, width):
    """Set the outputs of tokens from those of their ranks."""
    stay_small()
    _collect(y, at, step, memory, rows, weight, tokens, ranks, width)


@inner
def normalise(out, at, weight, w_at, rows, width, eps):
    """Divide rows by their root mean squares, multiply them by weights."""
    stay_small()
    _normalise(out, at, weight, w_at, rows, width, eps)


@inner
def gate(memory, rows, z, at, step, weight, tokens, ranks, width):
    """Multiply rows by the SiLU of z times weights."""
    stay_small()
    _gate(memory, rows, z, at, step, weight, tokens, ranks, width)


@inner
def add_scaled(out, at, source, s_at, factor, count):
    """Add a multiple of `count` numbers to as many others."""
    use_wide_vectors()
    own, given = out[at : at + count], source[s_at : s_at + count]
    for i in range(len(own)):
        own[i] += given[i] * factor
