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
from typing import Any, NamedTuple

import numpy as np

from ._chunks import _vectors
from .toolkit.formulas import _sin_cos_reduced, _turned, tanh_of
from .toolkit.kernels import (
    DOUBLE,
    INT64,
    Lanes,
    Value,
    inner,
    micro_kernel,
    stay_small,
)
from .toolkit.rows import along

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
        turned = _integers(lanes, part), _converted(part * 0.0, lanes)
        _store_turns(lanes, turns, builder.add(at, place), count, mask, *turned)
        return []

    lanes.loop(_vectors(lanes, count), [], body)


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
        integer, blot = _load_turns(lanes, turns, own, count, mask)
        part = Value(wide, builder.uitofp(integer, wide.type))
        result = _converted(part * (TURN / 2.0 ** _bits(lanes)), lanes) + blot
        lanes.store(result, angle, builder.add(a_at, place), mask)
        return []

    lanes.loop(_vectors(lanes, count), [], body)


def _bits(lanes):
    return 32 if lanes.dtype is np.float32 else 64


def _block(lanes, i, count):
    """Return where vector i of `count` numbers begins, and which lanes it has."""
    place = lanes.builder.mul(i, INT64(lanes.count))
    return place, lanes.first(lanes.builder.sub(count, place))


def _converted(value, lanes):
    """Return a vector with its numbers in the precision of `lanes`."""
    if value.lanes.element == lanes.element:
        return Value(lanes, value.ir)
    change = lanes.builder.fpext if lanes.element == DOUBLE else lanes.builder.fptrunc
    return Value(lanes, change(value.ir, lanes.type))


def _integers(lanes, part):
    """Return fractions, at most a half, as integers; NaN as any."""
    inside = part.lanes.select(part < 0.5, part, -0.5)
    scaled = inside * 2.0 ** _bits(lanes)
    return lanes.builder.fptosi(scaled.ir, lanes.bits_type)


# Rotation


def _plain_measure(memory, to, half, angles, at, step, tokens, count):
    """Set what tokens turn by, fractions of a turn: at most a half, or NaN.

    Token t, with `count` angles `step` apart, turns by their tanh times ``half[t]``.
    """
    t, pairs = np.arange(tokens)[:, None], np.arange(count)
    with np.errstate(invalid="ignore"):
        part = np.tanh(angles[at + t * step + pairs]) * memory[half + t]
        memory[to + t * count + pairs] = part - np.rint(part)


@micro_kernel(_plain_measure)
def _measure(lanes, memory, to, half, angles, at, step, tokens, count):
    """Apart from the rotation: processors overlap tokens in chains that are short."""
    builder = lanes.builder

    def token(t, _):
        given, own = builder.mul(t, step), builder.mul(t, count)
        given, own = builder.add(at, given), builder.add(to, own)
        factor = lanes.broadcast(memory, builder.add(half, t))

        def angle(place, _, mask):
            part = tanh_of(lanes.load(angles, builder.add(given, place), mask))
            part = part * factor
            part = part - lanes.call("rint", part)
            lanes.store(part, memory, builder.add(own, place), mask)
            return []

        along(lanes, count, [], angle)
        return []

    lanes.loop(tokens, [], token)


def _plain_rotate(
    memory, out, raw, plane, bias, at, parts, tokens, ranks, state, count
):
    """Advance the turns of a head over `tokens`, rotate keys and queries plus biases.

    In `memory`, `raw` and `out` have keys, rows of `state` coordinates in halves,
    `ranks` rows per token, then after `plane` queries; the turns are at `at`; `bias`
    has `ranks` rows for keys, then for queries; `parts` has what each token turns by,
    `count` fractions. Coordinates beyond those, in either half, pass with their bias.
    """
    pairs, middle = np.arange(count), state // 2
    for row in range(2 * tokens * ranks):
        side, own = divmod(row, tokens * ranks)
        place = side * plane + own * state + np.arange(state)
        shift = bias + (side * ranks + own % ranks) * state + np.arange(state)
        memory[out + place] = memory[raw + place] + memory[shift]
    for t in range(tokens):
        _plain_advance(memory, at, count, memory[parts + t * count + pairs])
        theta = np.zeros(count, memory.dtype)
        _plain_to_angles(theta, 0, memory, at, count)
        cos, sin = np.cos(theta), np.sin(theta)
        for row in range(2 * ranks):
            side, own = divmod(row, ranks)
            place = out + side * plane + (t * ranks + own) * state + pairs
            a, b = memory[place], memory[place + middle]
            memory[place], memory[place + middle] = a * cos - b * sin, a * sin + b * cos


def _plain_advance(turns, at, count, part):
    """Add the fractions of a token to the turns of a head."""
    kind = np.int32 if turns.dtype == np.float32 else np.int64
    with np.errstate(invalid="ignore"):
        blots = turns[at + count : at + 2 * count] + 0 * part
    new = turns[at : at + count].view(kind) + _plain_integers(part, turns.dtype)
    _set(turns, at, count, new, blots)


class _Rows(NamedTuple):
    """Where the rows of keys and queries are, for an emitter."""

    lanes: Any
    memory: Any
    out: Any
    raw: Any
    plane: Any
    bias: Any
    ranks: Any
    state: Any

    def write(self, row, place, mask, turned):
        """Write a vector of pairs of all rows of a token, as `turned` returns them.

        The token has its first row at `row`; return where the next one has it.
        """
        add = self.lanes.builder.add

        def rank(_, rows):
            keys, *shifts = rows
            for source, shift in zip(
                (keys, add(keys, self.plane)), shifts, strict=True
            ):
                self._write_pair(add(source, place), add(shift, place), mask, turned)
            return [add(own, self.state) for own in rows]

        sides = self.lanes.builder.mul(self.ranks, self.state)
        start = [row, self.bias, add(self.bias, sides)]
        return self.lanes.loop(self.ranks, start, rank)[0]

    def _write_pair(self, source, shift, mask, turned):
        lanes, memory, add = self.lanes, self.memory, self.lanes.builder.add
        middle = lanes.builder.sdiv(self.state, INT64(2))
        given = add(self.raw, source)
        pair = (
            lanes.load(memory, add(given, half), mask)
            + lanes.load(memory, add(shift, half), mask)
            for half in (INT64(0), middle)
        )
        target = add(self.out, source)
        for half, value in zip((INT64(0), middle), turned(*pair), strict=True):
            lanes.store(value, memory, add(target, half), mask)


@micro_kernel(_plain_rotate)
def _rotate(
    lanes, memory, out, raw, plane, bias, at, parts, tokens, ranks, state, count
):
    """Keep the turns of a vector of angles in registers over all tokens."""
    builder = lanes.builder
    rows = _Rows(lanes, memory, out, raw, plane, bias, ranks, state)
    rest = builder.sub(builder.sdiv(state, INT64(2)), count)

    def turn(place, _, mask):
        own = builder.add(at, place)

        def token(t, values):
            shift = builder.add(builder.mul(t, count), place)
            part = lanes.load(memory, builder.add(parts, shift), mask)
            turned = _advance(lanes, values[0], values[1], part)
            row = rows.write(values[2], place, mask, _turn(lanes, *turned))
            return [*turned, row]

        start = _load_turns(lanes, memory, own, count, mask)
        *turned, _ = lanes.loop(tokens, [*start, INT64(0)], token)
        _store_turns(lanes, memory, own, count, mask, *turned)
        return []

    def move(place, _, mask):
        place = builder.add(place, count)
        lanes.loop(
            *(tokens, [INT64(0)]),
            lambda _, row: [rows.write(row[0], place, mask, lambda *pair: pair)],
        )
        return []

    along(lanes, count, [], turn)
    along(lanes, rest, [], move)


def _load_turns(lanes, turns, at, count, mask):
    """Return integers and blots."""
    integers = lanes.bits(lanes.load(turns, at, mask))
    return integers, lanes.load(turns, lanes.builder.add(at, count), mask)


def _store_turns(lanes, turns, at, count, mask, integers, blots):
    lanes.store(lanes.from_bits(integers), turns, at, mask)
    lanes.store(blots, turns, lanes.builder.add(at, count), mask)


def _advance(lanes, turn, blot, part):
    """Return a turn and its blot after one more part of a turn."""
    return lanes.builder.add(turn, _integers(lanes, part)), lanes.fma(part, 0.0, blot)


def _turn(lanes, turn, blot):
    """Return what rotates a pair of coordinates."""
    sin, cos = _sin_cos(lanes, turn, blot)
    return lambda a, b: (a * cos - b * sin, a * sin + b * cos)


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
def rotate(memory, out, raw, plane, bias, at, parts, tokens, ranks, state, count):
    """Do what `_plain_rotate` does."""
    stay_small()
    _rotate(*(memory, out, raw, plane, bias, at, parts, tokens, ranks, state, count))


@inner
def measure(memory, to, half, angles, at, step, tokens, count):
    """Set what tokens turn by: fractions of a turn."""
    stay_small()
    _measure(memory, to, half, angles, at, step, tokens, count)
