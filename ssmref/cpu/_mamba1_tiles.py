"""Micro-kernels of the selective scan: one vector of channels, the tokens of a tile.

Step sizes dt, drives dt u and outputs y of a tile lie in buffers, a vector per token;
states h and rates A log2(e) as a vector per state. Channels are the lanes. Lanes beyond
the last channel hold what they may: they touch no others and are never written out.

The limit: one update of a vector of states takes 13 instructions where dt A is known to
be of moderate size (10 for the decay, by `exp2_bounded`), 7 of them products. A Zen 4
core issues two instructions of 512 bits per cycle, one of them a product.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._lanes import INT64, Lanes, lane_count, micro_kernel
from ._math import (
    exp2_bounded,
    exp2_of,
    magnitude_of,
    silu_of,
    sin_cos_of,
    softplus_of,
)

# So many states are advanced in one pass over the tokens of a tile: they and their
# rates fill half of the registers, and share the loads and stores of dt, dt u and y.
TOGETHER = 8

quiet = np.errstate(all="ignore")


def _at(array: np.ndarray, place: int) -> np.ndarray:
    """Return the vector that begins at `place`."""
    return array[place : place + lane_count(array.dtype)]


# Inputs and outputs: a row of the arrays has `stride` numbers, of which this vector has
# `channels`, at least 1.


def _plain_begin(step_size: Callable) -> Callable:
    @quiet
    def plain(top, dt, dx, y, raw, u, at, stride, tokens, bias, D, skip, d, channels):
        """Write dt, dt u and y = D u (0 unless `skip`); top becomes the largest |dt|.

        The vector begins at `at` in the raw dt and in u, at d in `bias` and D.
        """
        top[:], dt[:], dx[:], y[:] = 0, 0, 0, 0
        for t in range(tokens):
            own, row = slice(0, channels), slice(at + t * stride, None)
            step = step_size(raw[row][own] + bias[d:][own])
            _at(dt, t * len(top))[own] = step
            _at(dx, t * len(top))[own] = step * u[row][own]
            _at(y, t * len(top))[own] = D[d:][own] * u[row][own] if skip else 0
            top[own] = np.fmax(top[own], np.abs(step))

    return plain


def _emit_begin(step_size: Callable) -> Callable:
    def emit(lanes: Lanes, top, dt, dx, y, raw, u, at, stride, tokens, *rest: Any):
        bias, D, skip, d, channels = rest
        add, mask = lanes.builder.add, lanes.first(channels)
        skipping = lanes.builder.icmp_signed("!=", skip, INT64(0))
        bias, D = lanes.load(bias, d, mask), lanes.load(D, d, mask)

        def body(_, values):
            now, place, largest = values
            step = step_size(lanes.load(raw, now, mask) + bias)
            drive = lanes.load(u, now, mask)
            lanes.store(step, dt, place)
            lanes.store(step * drive, dx, place)
            lanes.store(lanes.select(skipping, D * drive, 0.0), y, place)
            size = magnitude_of(step)
            largest = lanes.select(size > largest, size, largest)
            return [add(now, stride), add(place, INT64(lanes.count)), largest]

        first = [at, INT64(0), lanes.constant(0.0)]
        lanes.store(lanes.loop(tokens, first, body)[2], top, INT64(0))

    return emit


def _same(x: Any) -> Any:
    return x


def _plain_softplus(x: Any) -> Any:
    return np.where(x > 20, x, np.logaddexp(x, 0))


begin = micro_kernel(_plain_begin(_same))(_emit_begin(_same))
begin_softplus = micro_kernel(_plain_begin(_plain_softplus))(_emit_begin(softplus_of))


@quiet
def _plain_end(out, at, stride, tokens, y, channels):
    """Write outputs."""
    for t in range(tokens):
        now = at + t * stride
        out[now : now + channels] = _at(y, t * lane_count(y.dtype))[:channels]


@micro_kernel(_plain_end)
def end(lanes, out, at, stride, tokens, y, channels):
    """Emit `_plain_end`."""
    add, mask = lanes.builder.add, lanes.first(channels)

    def body(_, values):
        now, place = values
        lanes.store(lanes.load(y, place), out, now, mask)
        return [add(now, stride), add(place, INT64(lanes.count))]

    lanes.loop(tokens, [at, INT64(0)], body)


@quiet
def _plain_end_gated(out, at, stride, tokens, y, channels, z):
    """Write outputs times silu(z)."""
    _plain_end(out, at, stride, tokens, y, channels)
    for t in range(tokens):
        own = slice(at + t * stride, at + t * stride + channels)
        out[own] *= z[own] / (1 + np.exp(-z[own]))


@micro_kernel(_plain_end_gated)
def end_gated(lanes, out, at, stride, tokens, y, channels, z):
    """Emit `_plain_end_gated`."""
    add, mask = lanes.builder.add, lanes.first(channels)

    def body(_, values):
        now, place = values
        gate = silu_of(lanes.load(z, now, mask))
        lanes.store(lanes.load(y, place) * gate, out, now, mask)
        return [add(now, stride), add(place, INT64(lanes.count))]

    lanes.loop(tokens, [at, INT64(0)], body)


# States. State n of a vector lies at ``at + n lanes`` of h and A.


def _plain_advance(states: int) -> Callable:
    @quiet
    def plain(
        h,
        A,
        at,
        dt,
        dx,
        y,
        tokens,
        B,
        b,
        b_row,
        C,
        c,
        c_row,
        _near,
        _far,
        _ahead,
        _line,
        _lines,
        _stride,
    ):
        """Advance states; add what C reads of them to y.

        B and C have a number per state, which all channels share, at ``b + t b_row +
        n``. Meanwhile lines of `near` and `far` are fetched, which the next tile needs:
        one per token, from `line` on, `lines` in a row, rows `stride` numbers apart.
        """
        one = lane_count(h.dtype)
        for t in range(tokens):
            for n in range(states):
                state, rate = _at(h, at + n * one), _at(A, at + n * one)
                state *= np.exp2(_at(dt, t * one) * rate)
                state += _at(dx, t * one) * B[b + t * b_row + n]
                _at(y, t * one)[:] += C[c + t * c_row + n] * state

    return plain


def _emit_advance(states: int, power: Callable) -> Callable:
    def emit(lanes: Lanes, h, A, at, dt, dx, y, tokens, B, b, b_row, *rest: Any):
        C, c, c_row, near, far, ahead, line, lines, stride = rest
        builder, one = lanes.builder, INT64(lanes.count)
        add, places = builder.add, [INT64(n * lanes.count) for n in range(states)]
        places = [add(at, p) for p in places]
        rates = [lanes.load(A, p) for p in places]

        def fetch(row, line):
            place = add(row, builder.mul(line, one))
            lanes.prefetch(near, place)
            lanes.prefetch(far, place)
            line = add(line, INT64(1))
            over = builder.icmp_signed(">=", line, lines)
            row = builder.select(over, add(row, stride), row)
            return row, builder.select(over, INT64(0), line)

        def body(_, values):
            now, b_now, c_now, later, column, *old = values
            step, drive, total = (lanes.load(X, now) for X in (dt, dx, y))
            new = []
            for n, (rate, state) in enumerate(zip(rates, old, strict=True)):
                B_now = lanes.broadcast(B, add(b_now, INT64(n)))
                C_now = lanes.broadcast(C, add(c_now, INT64(n)))
                state = lanes.fma(power(step * rate), state, drive * B_now)
                total = lanes.fma(state, C_now, total)
                new.append(state)
            lanes.store(total, y, now)
            offsets = add(now, one), add(b_now, b_row), add(c_now, c_row)
            return [*offsets, *fetch(later, column), *new]

        first = [INT64(0), b, c, ahead, line, *(lanes.load(h, p) for p in places)]
        last = lanes.loop(tokens, first, body)[5:]
        for p, state in zip(places, last, strict=True):
            lanes.store(state, h, p)

    return emit


def _advance(states: int, power: Callable) -> Any:
    return micro_kernel(_plain_advance(states))(_emit_advance(states, power))


advance_moderate = _advance(TOGETHER, exp2_bounded)
advance_one_moderate = _advance(1, exp2_bounded)
advance_any = _advance(TOGETHER, exp2_of)
advance_one_any = _advance(1, exp2_of)


@quiet
def _plain_real(h, A, at, dt, dx, y, tokens, B, b, b_row, C, c, c_row):
    """Advance one state of channels that have B and C of their own: vectors."""
    one, state, rate = lane_count(h.dtype), _at(h, at), _at(A, at)
    for t in range(tokens):
        state *= np.exp2(_at(dt, t * one) * rate)
        state += _at(dx, t * one) * _at(B, b + t * b_row)
        _at(y, t * one)[:] += _at(C, c + t * c_row) * state


@micro_kernel(_plain_real)
def advance_real(lanes, h, A, at, dt, dx, y, tokens, B, b, b_row, C, c, c_row):
    """Emit `_plain_real`."""
    add, one, rate = lanes.builder.add, INT64(lanes.count), lanes.load(A, at)

    def body(_, values):
        now, b_now, c_now, state = values
        step, drive = lanes.load(dt, now), lanes.load(dx, now)
        drive = drive * lanes.load(B, b_now)
        state = lanes.fma(exp2_of(step * rate), state, drive)
        lanes.store(lanes.fma(state, lanes.load(C, c_now), lanes.load(y, now)), y, now)
        return [add(now, one), add(b_now, b_row), add(c_now, c_row), state]

    state = lanes.loop(tokens, [INT64(0), b, c, lanes.load(h, at)], body)[3]
    lanes.store(state, h, at)


@quiet
def _plain_complex(
    h,
    A,
    at,
    plane,
    dt,
    dx,
    y,
    tokens,
    B,
    b,
    b_row,
    C,
    c,
    c_row,
    b_plane,
    c_plane,
):
    """Advance one complex state as `_plain_real` does; y takes the real part of C h.

    Imaginary parts lie one `plane` behind real ones (`b_plane`, `c_plane` in B and C).
    The parts of a rate are log2(e) Re A and Im A.
    """
    one, real, imaginary = lane_count(h.dtype), _at(h, at), _at(h, at + plane)
    for t in range(tokens):
        step, b_now, c_now = _at(dt, t * one), b + t * b_row, c + t * c_row
        size, angle = np.exp2(step * _at(A, at)), step * _at(A, at + plane)
        state = size * (np.cos(angle) + 1j * np.sin(angle)) * (real + 1j * imaginary)
        state += _at(dx, t * one) * (_at(B, b_now) + 1j * _at(B, b_now + b_plane))
        real[:], imaginary[:] = state.real, state.imag
        own = _at(C, c_now) * real - _at(C, c_now + c_plane) * imaginary
        _at(y, t * one)[:] += own


@micro_kernel(_plain_complex)
def advance_complex(lanes, h, A, at, plane, dt, dx, y, tokens, B, b, b_row, *rest):
    """Emit `_plain_complex`."""
    C, c, c_row, b_plane, c_plane = rest
    add, fma, one = lanes.builder.add, lanes.fma, INT64(lanes.count)
    behind = add(at, plane)
    rate, speed = lanes.load(A, at), lanes.load(A, behind)

    def body(_, values):
        now, b_now, c_now, real, imaginary = values
        step, drive = lanes.load(dt, now), lanes.load(dx, now)
        size, (sin, cos) = exp2_of(step * rate), sin_cos_of(step * speed)
        x, y_part = size * cos, size * sin
        forward = fma(y_part * -1.0, imaginary, drive * lanes.load(B, b_now))
        sideways = fma(y_part, real, drive * lanes.load(B, add(b_now, b_plane)))
        real, imaginary = fma(x, real, forward), fma(x, imaginary, sideways)
        total = fma(lanes.load(C, c_now), real, lanes.load(y, now))
        minus = lanes.load(C, add(c_now, c_plane)) * -1.0
        lanes.store(fma(minus, imaginary, total), y, now)
        offsets = add(now, one), add(b_now, b_row), add(c_now, c_row)
        return [*offsets, real, imaginary]

    first = [INT64(0), b, c, lanes.load(h, at), lanes.load(h, behind)]
    *_, real, imaginary = lanes.loop(tokens, first, body)
    lanes.store(real, h, at)
    lanes.store(imaginary, h, behind)
