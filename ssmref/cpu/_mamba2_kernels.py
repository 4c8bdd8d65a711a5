"""The kernels of `mamba2.ssd`: chunks of tokens, several heads at a time.

The limit. Per token and head, with Q tokens in a chunk, headdim P and state N::

    2 N P      floating point operations that read the state
    2 N P      that update it
    Q P        inside the chunk: half of the square
    Q N / H    for scores, once for the H heads of a group in a work item
    Q / 2      exps, 20 operations on vectors each
    8 P        bytes of x and y; B and C are shared by the heads

With P = 64, N = 128, Q = 48, H = 6 these are 37 thousand operations, for 512 bytes:
multiply-adds decide. The products take four fifths of the time, at their rate; reading
x and writing y, whose rows lie pages apart, the decays and the copies take the rest.
"""

from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ._chunks import (
    absorb,
    bound_decays,
    bounded,
    cumulate,
    fill_values,
    load_state,
    lower_products,
    make_room,
    read_chunk,
    read_state,
    recur,
    store_state,
)
from .toolkit.elementary import silu, softplus
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, kernel, use_wide_vectors
from .toolkit.memory import new_numbers
from .toolkit.rows import all_finite, prefetch_rows, transpose


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
    """What one work item computes: which heads of which tokens, in chunks of `size`."""

    start: Any
    stop: Any
    group: Any
    head: Any
    heads: Any
    size: Any


class Flat(NamedTuple):
    """Arrays of tokens in one dimension."""

    x: Any
    B: Any
    C: Any
    y: Any


@inner
def discretise(call, part, dts, exponents, t, rows):
    """Fill the step sizes (heads, size) from token t on: bias, softplus, limits."""
    use_wide_vectors()
    for k in range(part.heads):
        head = part.head + k
        bias, A = call.bias[head], call.A[head]
        for r in range(rows):
            dts[k, r] = call.dt[t + r, head] + bias
        if call.smooth:
            for r in range(rows):
                dts[k, r] = softplus(dts[k, r])
        for r in range(rows):
            dt = dts[k, r]
            dt = call.low if dt < call.low else dt
            dt = call.high if dt > call.high else dt
            dts[k, r] = dt
            exponents[k, r] = dt * A


@inner
def write_out(call, room, y, t, rows, head):
    """Add the skip, apply the gate, and write the outputs of a chunk."""
    use_wide_vectors()
    width = call.x.shape[2]
    out = room.out[: rows * width].reshape(rows, width)
    if call.D.shape[0] > 0:
        for r in range(rows):
            for p in range(width):
                out[r, p] += call.D[head, p] * call.x[t + r, head, p]
    if call.z.shape[0] > 0:
        for r in range(rows):
            for p in range(width):
                out[r, p] *= silu(call.z[t + r, head, p])
    for r in range(rows):
        for p in range(width):
            y[t + r, head, p] = out[r, p]


@njit(inline="always")
def open_chunk(flat, room, size, at, step, rows, keys, reading):
    """Fill keys and scores, which heads share; return whether all is finite."""
    transpose(room.keys, 0, size, flat.B, at, step, rows, keys)
    finite = all_finite(flat.B, at, step, rows, keys)
    if reading:
        finite &= all_finite(flat.C, at, step, rows, keys)
        lower_products(room, size, flat.C, at, step, rows, keys)
    return finite


@njit(inline="always")
def read_out(flat, part, room, S, k, at, step, row, far, rows, rise, keys, values):
    """Fill the outputs of head k, and prefetch what comes next.

    That is x of the next head, or of the first one in the next chunk, and a share of
    B and C of the next chunk.
    """
    size = part.size
    ahead = row + (values if k + 1 < part.heads else size * far - k * values)
    first, last = k * size // part.heads, (k + 1) * size // part.heads
    prefetch_rows(flat.B, at + size * step, step, first, last - first, keys)
    prefetch_rows(flat.C, at + size * step, step, first, last - first, keys)
    read_state(
        *(room, S, k * keys * values, flat.C, at, step, rows, keys, values),
        *(flat.x, ahead, far),
    )
    read_chunk(room, size, rows, rise, values, flat.y, row, far)


@njit(inline="always")
def scan_chunk(call, flat, part, room, dts, exponents, S, k, t, rows, finite, span):
    """Advance head k over a chunk from token t; return whether its state is finite."""
    groups, keys = call.B.shape[1:]
    heads, values = call.x.shape[1:]
    head, own, s_at = part.head + k, k * part.size, k * keys * values
    step, at = groups * keys, (t * groups + part.group) * keys
    far, row = heads * values, (t * heads + head) * values
    total, rise, least = cumulate(exponents, own, rows, room)
    span[head, 0] += total
    span[head, 1] = min(span[head, 1], least)
    finite &= fill_values(room, flat.x, row, far, dts, own, rows, values)
    if finite and bounded(total, rise):
        bound_decays(room, rows, rise)
        if flat.y.shape[0] > 0:
            read_out(
                flat, part, room, S, k, at, step, row, far, rows, rise, keys, values
            )
        absorb(room, part.size, S, s_at, rows, keys, values)
    else:
        recur(
            *(room, S, s_at, exponents, own, flat.C, flat.B, at, step),
            *(rows, keys, values),
        )
        finite = all_finite(S, s_at, 0, 1, keys * values)
    return finite


@njit(inline="always")
def scan_part(call, part, states, span, y):
    """Scan some heads over some tokens, from and to the states, (heads, ...).

    Without outputs (y has no tokens) only the states are computed.
    """
    groups, keys = call.B.shape[1:]
    values, size, heads = call.x.shape[2], part.size, part.heads
    flat = Flat(
        *(call.x.reshape(-1), call.B.reshape(-1), call.C.reshape(-1), y.reshape(-1))
    )
    room = make_room(size, keys, values, call.x)
    S = new_numbers(heads * keys * values, call.x)
    dts = new_numbers(heads * size, call.x)
    exponents = new_numbers(heads * size, call.x)
    finite = np.empty(heads, np.bool_)
    for k in range(heads):
        own = k * keys * values
        load_state(S, own, states[part.head + k].reshape(-1), values, keys)
        finite[k] = all_finite(S, own, 0, 1, keys * values)
    for t in range(part.start, part.stop, size):
        rows = min(size, part.stop - t)
        discretise(
            *(call, part, dts.reshape(heads, size), exponents.reshape(heads, size)),
            *(t, rows),
        )
        step, at = groups * keys, (t * groups + part.group) * keys
        shared = open_chunk(flat, room, size, at, step, rows, keys, y.shape[0] > 0)
        for k in range(heads):
            known = shared & finite[k]
            finite[k] = scan_chunk(
                call, flat, part, room, dts, exponents, S, k, t, rows, known, span
            )
            if y.shape[0] > 0:
                write_out(call, room, y, t, rows, part.head + k)
    for k in range(heads):
        own = k * keys * values
        store_state(states[part.head + k].reshape(-1), S, own, values, keys)


@Item
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


def scan(call, pieces, states, spans, y, size, width):
    """Scan `pieces`, (start, stop) each, from and to `states`, (pieces, heads, ...).

    A work item has `width` heads of one group on one piece. `spans`, (pieces, heads,
    2), gets the sum and the least of the exponents.
    """
    groups = call.B.shape[1]
    items = len(pieces) * groups * ceil(call.x.shape[1] // groups / width)
    vectors = call.x.size * call.B.shape[2] // 4
    arguments = call, pieces, states, spans, y, size, width
    for_each(scan_item, items, vectors, call.x.dtype, *arguments)


@kernel
def pass_states(states, spans, first):
    """Turn the states after pieces, begun at zero, into the states before them.

    `first` says which piece begins a sequence; its row is the initial state already,
    and the rows of others hold what the piece before has added. What is not finite
    stays so, unless a decay on the way was exactly 0: the sum of all may round to it.
    """
    for piece in range(1, len(states)):
        if first[piece]:
            continue
        for head in range(states.shape[1]):
            total, least = spans[piece - 1, head]
            decay, kept = 2.0**total, 2.0**least
            before = states[piece - 1, head].reshape(-1)
            after = states[piece, head].reshape(-1)
            for i in range(len(after)):
                factor = decay if before[i] - before[i] == 0 else kept
                after[i] += before[i] * factor
