"""Micro-kernels of the selective scan: one vector of channels, the tokens of a tile.

Step sizes dt, drives dt u and outputs y of a tile lie in buffers, a vector per token;
states h and rates A log2(e) as a vector per state. Channels are the lanes. Lanes beyond
the last channel hold what they may: they touch no others and are never written out.

The limit: one update of a vector of states takes 12 instructions where dt A is of
moderate size (8 of `decay_of` and the product dt A; drive, state, output), 6 of which
occupy the units that multiply. A Zen 4 core issues two instructions of 512 bits per
cycle, one of them a product: 6 cycles; shifts and table look-ups compete with products
for a unit, and 7.4 cycles have been measured with everything in registers and the
first-level cache.
"""

from functools import partial
from typing import Any

import numpy as np

from ._mamba1_decay import any_decay_of, decay_of
from ._streaming import stream
from .toolkit.elementary import magnitude_of, silu_of, softplus_of
from .toolkit.kernels import INT64, Lanes, lane_count, micro_kernel

# So many states are advanced in one pass over the tokens of a tile: they and their
# rates fill half of the registers, and share the loads and stores of dt, dt u and y.
TOGETHER = 8

quiet = np.errstate(all="ignore")


def vector_at(array: np.ndarray, place: int) -> np.ndarray:
    """Return the vector that begins at `place`."""
    return array[place : place + lane_count(array.dtype)]


# Inputs and outputs: a row of the arrays has `stride` numbers; `channels` of them, from
# `at` on, are those of this vector. Options are integers, so that a kernel is one piece
# of code: what an option excludes is a loop over no tokens.


def plain_softplus(x: Any) -> Any:
    return np.where(x > 20, x, np.logaddexp(x, 0))


@quiet
def _plain_begin(
    top,
    dt,
    dx,
    y,
    raw,
    u,
    at,
    stride,
    tokens,
    bias,
    D,
    d,
    channels,
    softplus,
    skip,
):
    """Write dt, dt u and y = D u (0 unless `skip`); top becomes the largest |dt|.

    The channels begin at d in `bias` and D.
    """
    top[:], dt[:], dx[:], y[:] = 0, 0, 0, 0
    own = slice(d, d + channels)
    for t in range(tokens):
        now = slice(at + t * stride, at + t * stride + channels)
        place = slice(t * len(top), t * len(top) + channels)
        step = raw[now] + bias[own]
        dt[place] = plain_softplus(step) if softplus else step
        dx[place] = dt[place] * u[now]
        y[place] = D[own] * u[now] if skip else 0
        top[:channels] = np.fmax(top[:channels], np.abs(dt[place]))


@micro_kernel(_plain_begin)
def begin(lanes, top, dt, dx, y, raw, u, at, stride, tokens, bias, D, d, *rest):
    """Emit `_plain_begin`."""
    channels, softplus, skip = rest
    builder, mask = lanes.builder, lanes.first(channels)
    skipping = builder.icmp_signed("!=", skip, INT64(0))
    bias, D = lanes.load(bias, d, mask), lanes.load(D, d, mask)

    def body(step_size, values):
        now, place, largest = values
        step = step_size(lanes.load(raw, now, mask) + bias)
        drive = lanes.load(u, now, mask)
        lanes.store(step, dt, place)
        lanes.store(step * drive, dx, place)
        lanes.store(lanes.select(skipping, D * drive, 0.0), y, place)
        size = magnitude_of(step)
        largest = lanes.select(size > largest, size, largest)
        offsets = builder.add(now, stride), builder.add(place, INT64(lanes.count))
        return [*offsets, largest]

    values = [at, INT64(0), lanes.constant(0.0)]
    smooth = builder.mul(tokens, softplus)
    values = lanes.loop(smooth, values, lambda _, now: body(softplus_of, now))
    rest = builder.sub(tokens, smooth)
    values = lanes.loop(rest, values, lambda _, now: body(lambda x: x, now))
    lanes.store(values[2], top, INT64(0))


@quiet
def _plain_end(out, at, stride, tokens, y, channels, z, gated, _streaming):
    """Write outputs, times silu(z) if `gated`.

    Where `streaming`, past the caches: vectors have to be whole lines of them.
    """
    for t in range(tokens):
        now = slice(at + t * stride, at + t * stride + channels)
        out[now] = vector_at(y, t * lane_count(y.dtype))[:channels]
        if gated:
            out[now] *= z[now] / (1 + np.exp(-z[now]))


@micro_kernel(_plain_end)
def end(lanes, out, at, stride, tokens, y, channels, z, gated, streaming):
    """Emit `_plain_end`: of four loops three are over no tokens."""
    builder, mask = lanes.builder, lanes.first(channels)

    def times_silu(value, now):
        return value * silu_of(lanes.load(z, now, mask))

    def plain(value, _):
        return value

    def through_caches(value, now):
        lanes.store(value, out, now, mask)

    def past_caches(value, now):
        stream(lanes, value, out, now)

    past, some = builder.mul(tokens, streaming), builder.mul(tokens, gated)
    both = builder.mul(past, gated)
    ungated = builder.sub(past, both)
    for gate, write, count in (
        (times_silu, past_caches, both),
        (plain, past_caches, ungated),
        (times_silu, through_caches, builder.sub(some, both)),
        (plain, through_caches, builder.sub(builder.sub(tokens, some), ungated)),
    ):

        def body(_, values, gate=gate, write=write):
            now, place = values
            write(gate(lanes.load(y, place), now), now)
            return [builder.add(now, stride), builder.add(place, INT64(lanes.count))]

        lanes.loop(count, [at, INT64(0)], body)


def _plain_add_up(total, dt, tokens):
    """Write the sum of the step sizes of a tile, per lane."""
    total[:] = dt[: tokens * len(total)].reshape(tokens, -1).sum(axis=0)


@micro_kernel(_plain_add_up)
def add_up(lanes, total, dt, tokens):
    """Emit `_plain_add_up`."""
    one = INT64(lanes.count)

    def body(t, values):
        return [values[0] + lanes.load(dt, lanes.builder.mul(t, one))]

    (value,) = lanes.loop(tokens, [lanes.constant(0.0)], body)
    lanes.store(value, total, INT64(0))


# States: state n lies at ``at + n lanes`` of h and A.


@quiet
def _plain_advance(
    h,
    A,
    at,
    states,
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
    _moderate,
    _u,
    _dt,
    _z,
    _out,
    _ahead,
    _line,
    _lines,
    _stride,
):
    """Advance all states; add what C reads of them to y.

    B and C have a number per state, which all channels share, at ``b + t b_row + n``.
    Where `moderate`, dt A log2(e) has to suit `decay_of`; a decay that suits it is the
    same elsewhere. Meanwhile lines of u,
    dt, z and the output are fetched for the next tile: one per token and pass, from
    `line` on, `lines` in a row; rows lie `stride` apart from `ahead` on.
    """
    one = lane_count(h.dtype)
    for t in range(tokens):
        for n in range(states):
            state, rate = vector_at(h, at + n * one), vector_at(A, at + n * one)
            state *= np.exp2(vector_at(dt, t * one) * rate)
            state += vector_at(dx, t * one) * B[b + t * b_row + n]
            vector_at(y, t * one)[:] += C[c + t * c_row + n] * state


@micro_kernel(_plain_advance)
def advance(lanes, h, A, at, states, dt, dx, y, tokens, B, b, b_row, C, c, *rest):
    """Emit `_plain_advance`: passes for `TOGETHER` states, then for single ones."""
    c_row, moderate, *arrays, ahead, line, lines, stride = rest
    builder, fetch = lanes.builder, partial(_fetch, lanes, arrays, lines, stride)
    values, together = [INT64(0), ahead, line], INT64(TOGETHER)
    short = builder.mul(states, moderate)
    for count, power, times in (
        (TOGETHER, decay_of, builder.sdiv(short, together)),
        (1, decay_of, builder.srem(short, together)),
        (1, any_decay_of, builder.sub(states, short)),
    ):

        def one_pass(_, values, count=count, power=power):
            n, *where = values
            place = builder.add(at, builder.mul(n, INT64(lanes.count)))
            where = _pass(
                *(lanes, count, power, (h, A, place), (dt, dx, y, tokens)),
                *((B, builder.add(b, n), b_row), (C, builder.add(c, n), c_row)),
                *(fetch, where),
            )
            return [builder.add(n, INT64(count)), *where]

        values = lanes.loop(times, values, one_pass)


def _fetch(lanes: Lanes, arrays: list, lines, stride, row, line) -> list:
    """Ask for a line of each array; return where the next one is.

    Into the second-level cache: rows lie so that they would drive each other and the
    buffers out of the first. Outputs too, as their stores would wait for the memory.
    """
    builder = lanes.builder
    place = builder.add(row, builder.mul(line, INT64(lanes.count)))
    for array in arrays:
        lanes.prefetch(array, place, level=2)
    line = builder.add(line, INT64(1))
    over = builder.icmp_signed(">=", line, lines)
    row = builder.select(over, builder.add(row, stride), row)
    return [row, builder.select(over, INT64(0), line)]


def _pass(lanes, count, power, own, tile, B_at, C_at, fetch, where) -> list:
    """Emit the pass of `count` states, which stay in registers, through all tokens."""
    add, one = lanes.builder.add, INT64(lanes.count)
    (h, A, at), (dt, dx, y, tokens), (B, b, b_row), (C, c, c_row) = (
        own,
        tile,
        B_at,
        C_at,
    )
    places = [add(at, INT64(n * lanes.count)) for n in range(count)]
    rates = [lanes.load(A, p) for p in places]

    def body(_, values):
        now, b_now, c_now, row, line, *old = values
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
        return [*offsets, *fetch(row, line), *new]

    first = [INT64(0), b, c, *where, *(lanes.load(h, p) for p in places)]
    last = lanes.loop(tokens, first, body)
    for p, state in zip(places, last[5:], strict=True):
        lanes.store(state, h, p)
    return last[3:5]
