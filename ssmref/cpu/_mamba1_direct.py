"""The micro-kernel of the usual selective scan: 16 states, AVX-512, hardly a buffer.

States of a vector of channels stay in registers for all tokens of a tile; rates are
operands in memory. Inputs are read where they are and outputs written where they belong
while states advance, so that memory and arithmetic do not wait for each other. The
order of operations is that of `_mamba1_tiles`: results are the same, bit for bit.
"""

from functools import partial
from typing import Any

import numpy as np

from ._mamba1_decay import MODERATE, decay_of
from ._mamba1_tiles import plain_softplus, quiet, vector_at
from ._streaming import stream
from .toolkit.elementary import magnitude_of, silu_of, softplus_of
from .toolkit.kernels import INT64, Lanes, lane_count, micro_kernel, vector_bits

# States that fill half of the registers of AVX-512; elsewhere there is no such kernel.
STATES = 16 if vector_bits() == 512 else 0
# So many decays at a time, as they wait for each other.
TOGETHER = 2
# Tokens ahead of which inputs are fetched, and step sizes where that is all there is to
# do. Processors fetch ahead by themselves, but not where a vector lies on two lines of
# the cache: then such a scan, in C, took five times as long.
AHEAD, FAR_AHEAD = 4, 16


@quiet
def _plain_advance(
    h,
    A,
    largest,
    _dt,
    u,
    raw,
    z,
    y,
    at,
    stride,
    tokens,
    channels,
    B,
    b,
    b_row,
    C,
    c,
    c_row,
    bias,
    D,
    d,
    softplus,
    skip,
    gated,
    _streaming,
):
    """Advance `STATES` states of a vector of channels and write what C reads of them.

    Returns 1; or 0, and states stay as they are, if an exponent dt A might be too large
    for `decay_of`; `largest` is a bound of the rates. Channels begin at `at` in u,
    `raw`, z and y, whose rows have `stride` numbers, and at d in `bias` and D. B and C
    have a number per state, which all channels share, at ``b + t b_row + n``. Where
    `streaming`, vectors have to be whole lines of the caches. dt is memory for a vector
    per token.
    """
    one = lane_count(h.dtype)
    old, own = h[: STATES * one].copy(), slice(d, d + channels)
    top = 0
    for t in range(tokens):
        now = slice(at + t * stride, at + t * stride + channels)
        step = raw[now] + bias[own]
        step = plain_softplus(step) if softplus else step
        top = np.fmax(top, np.max(np.abs(step)))
        total = D[own] * u[now] if skip else np.zeros_like(step)
        for n in range(STATES):
            state, rate = (vector_at(X, n * one)[:channels] for X in (h, A))
            state *= np.exp2(step * rate)
            state += step * u[now] * B[b + t * b_row + n]
            total = total + C[c + t * c_row + n] * state
        y[now] = total * z[now] / (1 + np.exp(-z[now])) if gated else total
    moderate = top * largest < MODERATE
    if not moderate:
        h[: STATES * one] = old
    return int(moderate)


@micro_kernel(_plain_advance, number=True)
def advance_directly(lanes, h, A, largest, dt, u, raw, z, y, at, stride, tokens, *rest):
    """Emit `_plain_advance`: of two loops one is over no tokens.

    A loop that keeps the constants of SiLU at hand is slower than one that does not.
    """
    channels, B, b, b_row, C, c, c_row, bias, D, d, softplus, *options = rest
    skip, gated, streaming = options
    builder, mask, add = lanes.builder, lanes.first(channels), lanes.builder.add
    skipping, D = builder.icmp_signed("!=", skip, INT64(0)), lanes.load(D, d, mask)
    ahead = builder.mul(stride, INT64(AHEAD))
    steps, first, step_row, bias = _step_sizes(
        *(lanes, dt, raw, at, stride, tokens, softplus),
        *(lanes.load(bias, d, mask), mask),
    )

    def one_token(values, gate, read):
        now, place, b_now, c_now, top, *states = values
        _fetch(lanes, read, add(now, ahead))
        x, step = lanes.load(u, now, mask), lanes.load(steps, place, mask) + bias
        size, total = magnitude_of(step), lanes.select(skipping, D * x, 0.0)
        top = lanes.select(size > top, size, top)
        states, total = _update(
            *(lanes, step, step * x, states, total),
            lambda n: lanes.load(A, INT64(n * lanes.count)),
            lambda n: lanes.broadcast(B, add(b_now, INT64(n))),
            lambda n: lanes.broadcast(C, add(c_now, INT64(n))),
        )
        _write(lanes, gate(total, now), y, now, channels, mask, streaming)
        offsets = add(place, step_row), add(b_now, b_row), add(c_now, c_row)
        return [add(now, stride), *offsets, top, *states]

    def times_silu(total, now):
        return total * silu_of(lanes.load(z, now, mask))

    states = [lanes.load(h, INT64(n * lanes.count)) for n in range(STATES)]
    values = [at, first, b, c, lanes.constant(0.0), *states]
    with_gate = builder.mul(tokens, gated)
    for count, gate, read in (
        (with_gate, times_silu, (raw, u, z)),
        (builder.sub(tokens, with_gate), lambda total, _: total, (raw, u)),
    ):
        body = partial(one_token, gate=gate, read=read)
        values = lanes.loop(count, values, lambda _, v, body=body: body(v))
    _, _, _, _, top, *states = values
    return _keep(lanes, top * largest < MODERATE, states, h)


def _step_sizes(lanes, dt, raw, at, stride, tokens, softplus, bias, mask) -> tuple:
    """Return where step sizes lie, from what number on, how far apart, and their bias.

    Where `softplus`, which takes long for a single token and not for many, they are
    computed first and written to dt.
    """
    builder, one = lanes.builder, INT64(lanes.count)
    ahead = builder.mul(stride, INT64(FAR_AHEAD))

    def body(_, values):
        now, place = values
        _fetch(lanes, (raw,), builder.add(now, ahead))
        lanes.store(softplus_of(lanes.load(raw, now, mask) + bias), dt, place)
        return [builder.add(now, stride), builder.add(place, one)]

    lanes.loop(builder.mul(tokens, softplus), [at, INT64(0)], body)
    smooth = builder.icmp_signed("!=", softplus, INT64(0))
    written, given = (dt, INT64(0), one), (raw, at, stride)
    places = (
        builder.select(smooth, *pair) for pair in zip(written, given, strict=True)
    )
    return *places, lanes.select(smooth, 0.0, bias)


def _fetch(lanes: Lanes, arrays: tuple, place: Any) -> None:
    """Ask for a vector of each array: the lines of its first and its last number."""
    last = lanes.builder.add(place, INT64(lanes.count - 1))
    for array in arrays:
        lanes.prefetch(array, place)
        lanes.prefetch(array, last)


def _update(lanes: Lanes, step, drive, states, total, A, B, C) -> tuple:
    """Return the states after a token, and `total` with what C reads of them."""
    new = []
    for first in range(0, STATES, TOGETHER):
        some = range(first, first + TOGETHER)
        decays = [decay_of(step * A(n)) for n in some]
        for n, decay in zip(some, decays, strict=True):
            new.append(lanes.fma(decay, states[n], drive * B(n)))
            total = lanes.fma(new[n], C(n), total)
    return new, total


def _write(lanes: Lanes, value, y, now, channels, mask, streaming) -> None:
    """Write the output of a token; masked, which is slow, only where it has to be."""
    builder, whole = lanes.builder, INT64(lanes.count)
    with builder.if_else(builder.icmp_signed("!=", streaming, INT64(0))) as (yes, no):
        with yes:
            stream(lanes, value, y, now)
        with no, builder.if_else(builder.icmp_signed("==", channels, whole)) as both:
            with both[0]:
                lanes.store(value, y, now)
            with both[1]:
                lanes.store(value, y, now, mask)


def _keep(lanes: Lanes, moderate: Any, states: list, h: Any) -> Any:
    """Write states where all lanes are `moderate`; return 1 or 0 for that."""
    every = lanes.every(moderate)
    with lanes.builder.if_then(every):
        for n, state in enumerate(states):
            lanes.store(state, h, INT64(n * lanes.count))
    return lanes.builder.uitofp(every, lanes.element)
