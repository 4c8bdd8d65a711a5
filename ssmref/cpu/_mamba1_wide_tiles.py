"""Micro-kernels of the selective scan where B and C are vectors: see `_mamba1_tiles`.

Constant B and C, and complex states, whose decays are a power, a sine and a cosine.
"""

import numpy as np

from ._mamba1_tiles import quiet, vector_at
from .toolkit.elementary import exp2_of, sin_cos_of
from .toolkit.kernels import INT64, Lanes, lane_count, micro_kernel


@quiet
def _plain_real(
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
    b_state,
    b_row,
    C,
    c,
    c_state,
    c_row,
):
    """Advance all states of channels that have B and C of their own: vectors."""
    one = lane_count(h.dtype)
    for n in range(states):
        state, rate = vector_at(h, at + n * one), vector_at(A, at + n * one)
        for t in range(tokens):
            state *= np.exp2(vector_at(dt, t * one) * rate)
            state += vector_at(dx, t * one) * vector_at(B, b + n * b_state + t * b_row)
            vector_at(y, t * one)[:] += (
                vector_at(C, c + n * c_state + t * c_row) * state
            )


@micro_kernel(_plain_real)
def advance_real(lanes, h, A, at, states, dt, dx, y, tokens, B, b, *rest):
    """Emit `_plain_real`, state by state."""
    b_state, b_row, C, c, c_state, c_row = rest
    add, one = lanes.builder.add, INT64(lanes.count)

    def one_state(_, values):
        at, b, c = values
        rate = lanes.load(A, at)

        def body(_, values):
            now, b_now, c_now, state = values
            drive = lanes.load(dx, now) * lanes.load(B, b_now)
            decay = exp2_of(lanes.load(dt, now) * rate)
            state = lanes.fma(decay, state, drive)
            total = lanes.fma(state, lanes.load(C, c_now), lanes.load(y, now))
            lanes.store(total, y, now)
            return [add(now, one), add(b_now, b_row), add(c_now, c_row), state]

        first = [INT64(0), b, c, lanes.load(h, at)]
        lanes.store(lanes.loop(tokens, first, body)[3], h, at)
        return [add(at, one), add(b, b_state), add(c, c_state)]

    lanes.loop(states, [at, b, c], one_state)


@quiet
def _plain_complex(
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
    b_state,
    b_row,
    C,
    c,
    c_state,
    c_row,
):
    """Advance complex states as `_plain_real` does; y takes the real part of C h.

    Imaginary parts lie as many states behind the real ones as there are states. The
    parts of a rate are log2(e) Re A and Im A.
    """
    one = lane_count(h.dtype)
    for n in range(states):
        real, imaginary = (
            vector_at(h, at + n * one),
            vector_at(h, at + (states + n) * one),
        )
        rate, speed = vector_at(A, at + n * one), vector_at(A, at + (states + n) * one)
        for t in range(tokens):
            b_now, c_now = b + n * b_state + t * b_row, c + n * c_state + t * c_row
            B_now = vector_at(B, b_now) + 1j * vector_at(B, b_now + states * b_state)
            C_now = vector_at(C, c_now) + 1j * vector_at(C, c_now + states * c_state)
            step = vector_at(dt, t * one)
            turn = np.cos(step * speed) + 1j * np.sin(step * speed)
            state = np.exp2(step * rate) * turn * (real + 1j * imaginary)
            state += vector_at(dx, t * one) * B_now
            real[:], imaginary[:] = state.real, state.imag
            vector_at(y, t * one)[:] += (C_now * state).real


@micro_kernel(_plain_complex)
def advance_complex(lanes, h, A, at, states, dt, dx, y, tokens, B, b, *rest):
    """Emit `_plain_complex`, state by state."""
    b_state, b_row, C, c, c_state, c_row = rest
    add, mul, one = lanes.builder.add, lanes.builder.mul, INT64(lanes.count)
    behind, b_behind, c_behind = (mul(states, x) for x in (one, b_state, c_state))

    def one_state(_, values):
        at, b, c = values
        rates = lanes.load(A, at), lanes.load(A, add(at, behind))

        def body(_, values):
            now, b_now, c_now, *state = values
            B_now = lanes.load(B, b_now), lanes.load(B, add(b_now, b_behind))
            C_now = lanes.load(C, c_now), lanes.load(C, add(c_now, c_behind))
            step, drive = lanes.load(dt, now), lanes.load(dx, now)
            state = _turn(lanes, step, rates, state, [drive * part for part in B_now])
            total = lanes.fma(C_now[0], state[0], lanes.load(y, now))
            lanes.store(lanes.fma(C_now[1] * -1.0, state[1], total), y, now)
            return [add(now, one), add(b_now, b_row), add(c_now, c_row), *state]

        first = [INT64(0), b, c, lanes.load(h, at), lanes.load(h, add(at, behind))]
        *_, real, imaginary = lanes.loop(tokens, first, body)
        lanes.store(real, h, at)
        lanes.store(imaginary, h, add(at, behind))
        return [add(at, one), add(b, b_state), add(c, c_state)]

    lanes.loop(states, [at, b, c], one_state)


def _turn(lanes: Lanes, step, rates, state, drive) -> list:
    """Return the real and the imaginary part of ``exp(dt A) h + drive``."""
    size, (sin, cos) = exp2_of(step * rates[0]), sin_cos_of(step * rates[1])
    x, y, (real, imaginary) = size * cos, size * sin, state
    return [
        lanes.fma(x, real, lanes.fma(y * -1.0, imaginary, drive[0])),
        lanes.fma(x, imaginary, lanes.fma(y, real, drive[1])),
    ]
