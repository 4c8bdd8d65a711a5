"""The kernels of `mamba2.ssd`: chunks of tokens, several heads at a time.

The limit. Per token and head, with Q tokens in a chunk, headdim P and state N::

    2 N P       read-out of the state                 floating point operations
    Q P         products inside the chunk (half of the square)
    2 N P       update of the state
    Q N / H     scores, once for the H heads of a group that a thread has
    Q / 2       exps, each about 20 vector instructions per vector
    8 P + ..    bytes: x and y; B and C are shared

With P = 64, N = 128, Q = 64 that is 37 thousand operations, 160 cycles of a core that
does 230 in one, for 512 bytes: multiply-adds decide, and the products run at their
rate. All else (decays, copies, the gate) takes a few per cent.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from ._chunks import (
    absorb,
    aligned,
    all_finite,
    bound_decays,
    bounded,
    cumulate,
    inner,
    load_state,
    lower_products,
    make_room,
    read_out,
    recur,
    store_state,
    transpose,
)
from ._lanes import FLAGS, use_wide_vectors
from ._math import silu, softplus


class Call(NamedTuple):
    """The arguments of a call: tokens are flat, what is not given has no rows."""

    x: Any
    dt: Any
    A: Any
    B: Any
    C: Any
    D: Any
    z: Any
    bias: Any
    low: Any
    high: Any
    smooth: Any


class Part(NamedTuple):
    """Which heads of which tokens: what one work item computes."""

    start: Any
    stop: Any
    group: Any
    head: Any
    heads: Any
    size: Any


class Steps(NamedTuple):
    """The step sizes of the tokens of a chunk, (heads, size), and times A."""

    dt: Any
    exponents: Any


@inner
def discretise(call, part, steps, t, rows):
    """Fill the step sizes from token t on: bias, softplus, limits."""
    use_wide_vectors()
    for k in range(part.heads):
        head, at = part.head + k, k * part.size
        bias, A = call.bias[head], call.A[head]
        for r in range(rows):
            steps.dt[at + r] = call.dt[t + r, head] + bias
        if call.smooth:
            for r in range(at, at + rows):
                steps.dt[r] = softplus(steps.dt[r])
        for r in range(at, at + rows):
            dt = steps.dt[r]
            dt = call.low if dt < call.low else dt
            dt = call.high if dt > call.high else dt
            steps.dt[r] = dt
            steps.exponents[r] = dt * A


@inner
def load_values(call, room, steps, at, t, rows, head):
    """Fill the values of a chunk with dt x; return whether all are finite."""
    use_wide_vectors()
    width = call.x.shape[2]
    wrong = False
    for r in range(rows):
        dt = steps.dt[at + r]
        for p in range(width):
            value = dt * call.x[t + r, head, p]
            room.values[r * width + p] = value
            wrong |= value - value != 0
    return not wrong


@inner
def write_out(call, room, y, t, rows, head):
    """Add the skip, apply the gate, and write the outputs of a chunk."""
    use_wide_vectors()
    width = call.x.shape[2]
    for r in range(rows):
        own = room.out[r * width : (r + 1) * width]
        if call.D.shape[0] > 0:
            for p in range(width):
                own[p] += call.D[head, p] * call.x[t + r, head, p]
        if call.z.shape[0] > 0:
            for p in range(width):
                own[p] *= silu(call.z[t + r, head, p])
        for p in range(width):
            y[t + r, head, p] = own[p]


@njit(inline="always")
def open_chunk(call, part, room, t, rows, reading):
    """Fill keys and scores, which heads share; return whether all is finite."""
    groups, width = call.B.shape[1:]
    step, at = groups * width, (t * groups + part.group) * width
    keys, queries = call.B.reshape(-1), call.C.reshape(-1)
    transpose(room.keys, 0, part.size, keys, at, step, rows, width)
    finite = True
    for r in range(rows):
        finite &= all_finite(keys, at + r * step, width)
        finite &= not reading or all_finite(queries, at + r * step, width)
    if reading:
        lower_products(room, part.size, queries, at, step, rows, width)
    return finite


@njit(inline="always")
def scan_chunk(call, part, room, steps, S, k, t, rows, finite, span, y):
    """Advance head k of a part over a chunk; return whether its state is finite.

    Without outputs (y has no tokens) only the state is computed.
    """
    groups, keys = call.B.shape[1:]
    values = call.x.shape[2]
    step, at = groups * keys, (t * groups + part.group) * keys
    head, own, s_at = part.head + k, k * part.size, k * keys * values
    reading = y.shape[0] > 0
    total, rise, least = cumulate(steps.exponents, own, rows, room)
    span[head, 0] += total
    span[head, 1] = min(span[head, 1], least)
    finite &= load_values(call, room, steps, own, t, rows, head)
    queries, coordinates = call.C.reshape(-1), call.B.reshape(-1)
    if finite and bounded(total, rise):
        bound_decays(room, rows, rise)
        if reading:
            read_out(
                *(room, part.size, S, s_at, queries, at, step, rows, rise),
                *(keys, values),
            )
        absorb(room, part.size, S, s_at, rows, keys, values)
    else:
        recur(
            *(room, S, s_at, steps.exponents, own, queries, coordinates, at, step),
            *(rows, keys, values),
        )
        finite = all_finite(S, s_at, keys * values)
    if reading:
        write_out(call, room, y, t, rows, head)
    return finite


@njit(inline="always")
def scan_part(call, part, states, span, y):
    """Scan some heads over some tokens: from `states` and to them, (heads, ...)."""
    keys, values = call.B.shape[2], call.x.shape[2]
    room = make_room(part.size, keys, values, call.x)
    S = aligned(part.heads * keys * values, call.x)
    steps = Steps(
        aligned(part.heads * part.size, call.x), aligned(part.heads * part.size, call.x)
    )
    finite = np.empty(part.heads, np.bool_)
    for k in range(part.heads):
        own = k * keys * values
        load_state(S, own, states[part.head + k].reshape(-1), values, keys)
        finite[k] = all_finite(S, own, keys * values)
    for t in range(part.start, part.stop, part.size):
        rows = min(part.size, part.stop - t)
        discretise(call, part, steps, t, rows)
        shared = open_chunk(call, part, room, t, rows, y.shape[0] > 0)
        for k in range(part.heads):
            known = shared & finite[k]
            finite[k] = scan_chunk(
                call, part, room, steps, S, k, t, rows, known, span, y
            )
    for k in range(part.heads):
        own = k * keys * values
        store_state(states[part.head + k].reshape(-1), S, own, values, keys)


@inner
def scan_item(call, pieces, states, spans, y, size, width, item):
    """Scan a work item: `width` heads of one group, or the rest of them, on a piece."""
    groups = call.B.shape[1]
    own = call.x.shape[1] // groups
    blocks = (own + width - 1) // width
    piece, rest = item // (groups * blocks), item % (groups * blocks)
    group, block = rest // blocks, rest % blocks
    head, heads = group * own + block * width, min(width, own - block * width)
    part = Part(pieces[piece, 0], pieces[piece, 1], group, head, heads, size)
    scan_part(call, part, states[piece], spans[piece], y)


@njit(cache=True, nogil=True, fastmath=FLAGS)
def scan_serial(call, pieces, states, spans, y, size, width, items):
    """Scan all work items, one after the other."""
    for item in range(items):
        scan_item(call, pieces, states, spans, y, size, width, item)


@njit(parallel=True, cache=True, fastmath=FLAGS)
def scan_parallel(call, pieces, states, spans, y, size, width, items):
    """Scan all work items on all threads."""
    for item in prange(items):
        # The index is unsigned, for which all functions would be compiled once more.
        scan_item(call, pieces, states, spans, y, size, width, np.int64(item))
