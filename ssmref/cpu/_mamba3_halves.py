"""Coordinates of keys in halves: the first of all pairs, then the second of all.

So kernels rotate pairs that are half a row apart, whatever the pairing. As in
`toolkit.products`, arrays are one-dimensional, with offsets and steps of rows.
"""

import numpy as np

from .toolkit.kernels import INT64, inner, micro_kernel, stay_small
from .toolkit.rows import _shuffle, along


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
