"""Angles of Mamba-3 as integers, and the rotation of keys and queries by them.

An angle is held as a fraction of a turn, in an integer as wide as a number: sums wrap
by themselves, lose nothing, and are the same in any order, wherever time is split. The
only roundings are those of the angle of each token. A cosine begins with a shift.

Integers know no NaN. Next to each integer (its bits stand in an array of numbers) is a
blot, 0 or NaN, which is added to the angle before sine and cosine: what was not finite
once stays NaN. So `turns` of one head are two rows of numbers, integers and blots.

Coordinates stand in halves here: pair i is (i, i + state / 2), whatever the pairing.
"""

import math
import numpy as np

from ._blocks import inner, stay_small
from ._formulas import _sin_cos_reduced, _turned, tanh_of
from ._lanes import DOUBLE, INT64, Lanes, Value, micro_kernel

TURN = 2 * math.pi


# Turns from angles and back


def _plain_from_angles(turns, at, angle, a_at, count):
    """Set the turns of a head at `at` from `count` angles."""
    with np.errstate(invalid="ignore"):
        part = angle[a_at : a_at + count].astype(np.float64) / TURN
        part = part - np.rint(part)
    _set(turns, at, count, _plain_integers(part, turns.dtype), 0 * part)


def _plain_integers(part, dtype):
    """Return fractions, at most a half, as integers; NaN as any."""
    inside = np.where(part < 0.5, part, -0.5)
    kind = np.int32 if dtype == np.float32 else np.int64
    return (inside * 2.0 ** (8 * dtype.itemsize)).astype(kind)


def _set(turns, at, count, integers, blots):
    turns[at : at + count] = integers.view(turns.dtype)
    turns[at + count : at + 2 * count] = blots


@micro_kernel(_plain_from_angles)
def _from_angles(lanes, turns, at, angle, a_at, count):
    """In double precision, as an angle has digits before the point."""
    builder, wide = lanes.builder, Lanes(lanes.builder, DOUBLE, lanes.count)

    def body(i, _):
        place, mask = _block(lanes, i, count)
        own = lanes.load(angle, builder.add(a_at, place), mask)
        part = _converted(own, wide) * (1 / TURN)
        part = part - wide.call("rint", part)
        integer = builder.fptosi(_scaled(lanes, part), lanes.bits_type)
        blot = _converted(part * 0.0, lanes)
        place = builder.add(at, place)
        lanes.store(lanes.from_bits(integer), turns, place, mask)
        lanes.store(blot, turns, builder.add(place, count), mask)
        return []

    lanes.loop(_blocks(lanes, count), [], body)


def _plain_to_angles(angle, a_at, turns, at, count):
    """Set `count` angles in [0, 2 pi) from the turns of a head."""
    kind = np.uint32 if turns.dtype == np.float32 else np.uint64
    part = turns[at : at + count].view(kind) * 2.0 ** (-8 * turns.itemsize)
    angle[a_at : a_at + count] = TURN * part + turns[at + count : at + 2 * count]


@micro_kernel(_plain_to_angles)
def _to_angles(lanes, angle, a_at, turns, at, count):
    builder, wide = lanes.builder, Lanes(lanes.builder, DOUBLE, lanes.count)

    def body(i, _):
        place, mask = _block(lanes, i, count)
        own = builder.add(at, place)
        integer = lanes.bits(lanes.load(turns, own, mask))
        blot = lanes.load(turns, builder.add(own, count), mask)
        part = Value(wide, builder.uitofp(integer, wide.type))
        result = _converted(part * (TURN / 2.0 ** _bits(lanes)), lanes) + blot
        lanes.store(result, angle, builder.add(a_at, place), mask)
        return []

    lanes.loop(_blocks(lanes, count), [], body)


def _bits(lanes):
    return 32 if lanes.dtype is np.float32 else 64


def _block(lanes, i, count):
    """Return where vector i of `count` numbers begins, and which lanes it has."""
    place = lanes.builder.mul(i, INT64(lanes.count))
    return place, lanes.first(lanes.builder.sub(count, place))


def _blocks(lanes, count):
    """Return how many vectors hold `count` numbers."""
    more = lanes.builder.add(count, INT64(lanes.count - 1))
    return lanes.builder.sdiv(more, INT64(lanes.count))


def _converted(value, lanes):
    """Return a vector with its numbers in the precision of `lanes`."""
    if value.lanes.element == lanes.element:
        return Value(lanes, value.ir)
    change = lanes.builder.fpext if lanes.element == DOUBLE else lanes.builder.fptrunc
    return Value(lanes, change(value.ir, lanes.type))


def _scaled(lanes, part):
    """Return a fraction, at most a half, times the turn; an integer fits, NaN too."""
    inside = part.lanes.select(part < 0.5, part, -0.5)
    return (inside * 2.0 ** _bits(lanes)).ir


# Rotation


def _plain_rotate(
    memory, out, raw, plane, bias, at, angles, a_at, a_step, half, tokens, ranks,
    state, count,
):  # fmt: skip
    """Advance the turns of a head over `tokens`, rotate keys and queries plus biases.

    In `memory`, `raw` and `out` have keys, rows of `state` coordinates in halves,
    `ranks` rows per token, then after `plane` queries; the turns are at `at`; `bias`
    has `ranks` rows for keys, then for queries. Token t turns by ``half[t] tanh(angles)``, `count` angles ``a_step`` apart.
    Coordinates beyond the angles, in either half, pass with their bias.
    """
    pairs, middle = np.arange(count), state // 2
    for row in range(2 * tokens * ranks):
        side, own = divmod(row, tokens * ranks)
        place = side * plane + own * state + np.arange(state)
        shift = bias + (side * ranks + own % ranks) * state + np.arange(state)
        memory[out + place] = memory[raw + place] + memory[shift]
    for t in range(tokens):
        own = angles[a_at + t * a_step + pairs]
        _plain_advance(memory, at, count, memory[half + t], own)
        theta = np.zeros(count, memory.dtype)
        _plain_to_angles(theta, 0, memory, at, count)
        cos, sin = np.cos(theta), np.sin(theta)
        for row in range(2 * ranks):
            side, own = divmod(row, ranks)
            place = out + side * plane + (t * ranks + own) * state + pairs
            a, b = memory[place], memory[place + middle]
            memory[place], memory[place + middle] = a * cos - b * sin, a * sin + b * cos


def _plain_advance(turns, at, count, half, angles):
    """Add the angles of a token to the turns of a head."""
    kind = np.int32 if turns.dtype == np.float32 else np.int64
    with np.errstate(invalid="ignore"):
        part = np.tanh(angles) * half
        part = part - np.rint(part)
        blots = turns[at + count : at + 2 * count] + 0 * part
    new = turns[at : at + count].view(kind) + _plain_integers(part, turns.dtype)
    _set(turns, at, count, new, blots)


@micro_kernel(_plain_rotate)
def _rotate(
    lanes, memory, out, raw, plane, bias, at, angles, a_at, a_step, half, tokens,
    ranks, state, count,
):  # fmt: skip
    """Keep the turns of a vector of angles in registers over all tokens."""
    builder = lanes.builder
    middle = builder.sdiv(state, INT64(2))

    def pairs(row, place, mask):
        """Return where a row of keys and one of queries begin, and biased pairs."""
        sides = ((row[0], row[1]), (builder.add(row[0], plane), row[2]))
        return [
            (
                builder.add(builder.add(out, source), place),
                *(
                    lanes.load(memory, builder.add(builder.add(raw, source), k), mask)
                    + lanes.load(memory, builder.add(shift, k), mask)
                    for k in (place, builder.add(place, middle))
                ),
            )
            for source, shift in sides
        ]

    def ranks_of(row, place, mask, turned):
        """Write the rows of a token; return where the next one has its rows."""

        def rank(_, row):
            for target, a, b in pairs(row, place, mask):
                a, b = turned(a, b)
                lanes.store(a, memory, target, mask)
                lanes.store(b, memory, builder.add(target, middle), mask)
            return [builder.add(own, state) for own in row]

        start = [row, bias, builder.add(bias, builder.mul(ranks, state))]
        return lanes.loop(ranks, start, rank)[0]

    def half_of(t):
        return lanes.broadcast(memory, builder.add(half, t))

    def turn_block(i, _):
        place, mask = _block(lanes, i, count)
        own = builder.add(at, place)
        blotted = builder.add(own, count)

        def token(t, values):
            turn, blot, row = values
            angle = builder.add(builder.mul(t, a_step), builder.add(a_at, place))
            part = tanh_of(lanes.load(angles, angle, mask)) * half_of(t)
            part = part - lanes.call("rint", part)
            blot = lanes.fma(part, 0.0, blot)
            integer = builder.fptosi(_scaled(lanes, part), lanes.bits_type)
            turn = builder.add(turn, integer)
            sin, cos = _sin_cos(lanes, turn, blot)
            rotated = lambda a, b: (a * cos - b * sin, a * sin + b * cos)  # noqa: E731
            return [turn, blot, ranks_of(row, place, mask, rotated)]

        turn = lanes.bits(lanes.load(memory, own, mask))
        start = [turn, lanes.load(memory, blotted, mask), INT64(0)]
        turn, blot, _ = lanes.loop(tokens, start, token)
        lanes.store(lanes.from_bits(turn), memory, own, mask)
        lanes.store(blot, memory, blotted, mask)
        return []

    def pass_block(i, _):
        place, mask = _block(lanes, i, rest)
        place = builder.add(place, count)

        def token(_, row):
            return [ranks_of(row[0], place, mask, lambda a, b: (a, b))]

        lanes.loop(tokens, [INT64(0)], token)
        return []

    rest = builder.sub(middle, count)
    lanes.loop(_blocks(lanes, count), [], turn_block)
    lanes.loop(_blocks(lanes, rest), [], pass_block)


def _sin_cos(lanes, turn, blot):
    """Return sine and cosine of a turn, by its nearest quarter and the rest."""
    builder, bits = lanes.builder, _bits(lanes)
    places = lanes.bits_constant(bits - 2)
    eighth = lanes.bits_constant(1 << (bits - 3))
    quarter = builder.lshr(builder.add(turn, eighth), places)
    rest = builder.sub(turn, builder.shl(quarter, places))
    rest = Value(lanes, builder.sitofp(rest, lanes.type))
    sin, cos = _sin_cos_reduced(lanes.fma(rest, TURN / 2.0**bits, blot))
    one = lanes.bits_constant(1)
    odd = builder.icmp_signed("!=", builder.and_(quarter, one), lanes.bits_constant(0))
    return (
        _turned(lanes.select(odd, cos, sin), quarter),
        _turned(lanes.select(odd, sin, cos), builder.add(quarter, one)),
    )


@inner
def from_angles(turns, at, angle, a_at, count):
    """Set the turns of a head at `at` from `count` angles."""
    stay_small()
    _from_angles(turns, at, angle, a_at, count)


@inner
def to_angles(angle, a_at, turns, at, count):
    """Set `count` angles in [0, 2 pi) from the turns of a head."""
    stay_small()
    _to_angles(angle, a_at, turns, at, count)


@inner
def rotate(
    memory, out, raw, plane, bias, at, angles, a_at, a_step, half, tokens, ranks,
    state, count,
):  # fmt: skip
    """Do what `_plain_rotate` does."""
    stay_small()
    _rotate(
        *(memory, out, raw, plane, bias, at, angles, a_at, a_step, half, tokens),
        *(ranks, state, count),
    )
