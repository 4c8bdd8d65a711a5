"""One token of the selective scan: bound by the states, which are read and written.

Three times 4 bytes per state (old, new and A), and about 30 instructions per vector of
them: one core computes twice as fast as the memory of a desktop delivers. States of a
channel are consecutive numbers, so vectors run along them and are summed across lanes
once per channel.
"""

from typing import Any

import numpy as np

from ._row_products import store_totals
from .toolkit.elementary import LOG2_E, cos, exp, exp2_of, silu, sin, softplus
from .toolkit.items import Item, for_each
from .toolkit.kernels import (
    INT64,
    Lanes,
    kernel,
    micro_kernel,
    use_wide_vectors,
)
from .toolkit.rows import along

# Channels of a piece of work, and of those that go side by side.
PIECE, TOGETHER = 512, 4
# Vectors from the one that is computed to the one that memory is asked for meanwhile.
AHEAD = 32


def _plain_step(old, new, at, to, A, a, dt, dx, y, channels, states, B, b, C, c):
    """Advance channels by one token and write ``C h``; dt is times log2(e)."""
    with np.errstate(all="ignore"):
        for j in range(channels):
            rate = A[a + j * states : a + (j + 1) * states]
            state = np.exp2(dt[j] * rate) * old[at + j * states :][:states]
            state = state + dx[j] * B[b : b + states]
            new[to + j * states :][:states] = state
            y[j] = np.sum(C[c : c + states] * state)


@micro_kernel(_plain_step)
def _step(lanes, old, new, at, to, A, a, dt, dx, y, channels, states, *rest):
    """Emit `_plain_step`: some channels together, then those that are left one by one.

    Channels that are together wait for nothing of each other, and their sums are added
    across lanes at once.
    """
    builder = lanes.builder
    together = min(TOGETHER, lanes.count)
    pieces = builder.sdiv(channels, INT64(together))
    done = builder.mul(pieces, INT64(together))

    def some(count, first):
        def group(i, _):
            d = builder.add(first, builder.mul(i, INT64(count)))
            own = old, new, A, (at, to, a), dt, dx
            sums = _channels(lanes, own, d, count, states, rest)
            store_totals(lanes, sums, y, d)
            return []

        return group

    lanes.loop(pieces, [], some(together, INT64(0)))
    lanes.loop(builder.sub(channels, done), [], some(1, done))


def _channels(lanes: Lanes, own, first, count, states, rest) -> list:
    """Advance `count` channels, vector by vector; return what C reads of each."""
    old, new, A, starts, dt, dx = own
    add, mul = lanes.builder.add, lanes.builder.mul
    numbers = [add(first, INT64(k)) for k in range(count)]
    rows = [mul(j, states) for j in numbers]
    factors = [(lanes.broadcast(dt, j), lanes.broadcast(dx, j)) for j in numbers]

    def part(n, sums, mask):
        found = []
        for row, factor, total in zip(rows, factors, sums, strict=True):
            places = [add(add(x, row), n) for x in starts]
            work = old, new, A, places, n, factor
            found.append(_vector(lanes, *work, mask, total, *rest))
        return found

    return along(lanes, states, [lanes.constant(0.0)] * count, part)


def _vector(lanes: Lanes, old, new, A, places, n, factors, mask, total, *rest) -> Any:
    """Advance a vector of states; return `total` plus what C reads of them."""
    B, b, C, c = rest
    (at, to, a), (step, drive), add = places, factors, lanes.builder.add
    for array, place in ((old, at), (new, to)):
        lanes.prefetch(array, add(place, INT64(AHEAD * lanes.count)))
    decay = exp2_of(step * lanes.load(A, a, mask))
    own = drive * lanes.load(B, add(b, n), mask)
    state = lanes.fma(decay, lanes.load(old, at, mask), own)
    lanes.store(state, new, to, mask)
    return lanes.fma(lanes.load(C, add(c, n), mask), state, total)


@kernel
def _real_channels(work, slot, row, first, dt, dx, y):
    """Advance the channels of a piece, group by group."""
    old, new, A, B, C = work
    channels, states, _ = A.shape
    last, d = first + len(y), first
    share_B, share_C = channels // B.shape[1], channels // C.shape[1]
    old, new, dt = old.reshape(-1), new.reshape(-1), dt * dt.dtype.type(LOG2_E)
    A, B, C = A.reshape(-1), B.reshape(-1), C.reshape(-1)
    while d < last:
        b, c = d // share_B, d // share_C
        stop = min(last, (b + 1) * share_B, (c + 1) * share_C)
        at, here = (slot * channels + d) * states, slice(d - first, stop - first)
        _step(
            *(old, new, at, at, A, d * states, dt[here], dx[here], y[here]),
            *(stop - d, states, B, (row * (channels // share_B) + b) * states),
            *(C, (row * (channels // share_C) + c) * states),
        )
        d = stop


@kernel
def _complex_channels(work, slot, row, first, dt, dx, y):
    """Advance complex channels; the parts of a number stand side by side."""
    old, new, A, B, C = work
    share_B, share_C = A.shape[0] // B.shape[1], A.shape[0] // C.shape[1]
    for j in range(len(y)):
        d, total = first + j, y.dtype.type(0)
        b, c = d // share_B, d // share_C
        for n in range(A.shape[1]):
            size, angle = exp(dt[j] * A[d, n, 0]), dt[j] * A[d, n, 1]
            real, imaginary = size * cos(angle), size * sin(angle)
            x, z = old[slot, d, n, 0], old[slot, d, n, 1]
            next_x = real * x - imaginary * z + dx[j] * B[row, b, n, 0]
            next_z = real * z + imaginary * x + dx[j] * B[row, b, n, 1]
            new[slot, d, n, 0], new[slot, d, n, 1] = next_x, next_z
            total += C[row, c, n, 0] * next_x - C[row, c, n, 1] * next_z
        y[j] = 2 * total


@kernel
def _prepare(dt, dx, raw, u, bias, softened):
    """Compute the step sizes and drives of some channels."""
    use_wide_vectors()
    for j in range(len(dt)):
        dt[j] = raw[j]
    for j in range(len(bias)):
        dt[j] += bias[j]
    if softened:
        for j in range(len(dt)):
            dt[j] = softplus(dt[j])
    for j in range(len(dt)):
        dx[j] = dt[j] * u[j]


@kernel
def _complete(y, u, D, z):
    """Add D u and multiply with silu(z), where they are given."""
    use_wide_vectors()
    for j in range(len(D)):
        y[j] += D[j] * u[j]
    for j in range(len(z)):
        y[j] *= silu(z[j])


@kernel
def _advance_piece(tokens, work, slot, row, first, last, softened, y):
    """Advance channels first...last of one row of the batch."""
    u, raw, z, D, bias = tokens
    dt, dx = np.empty(last - first, u.dtype), np.empty(last - first, u.dtype)
    own, drive = y[row, first:last], u[row, first:last]
    _prepare(dt, dx, raw[row, first:last], drive, bias[first:last], softened)
    if work[2].shape[2] == 2:
        _complex_channels(work, slot, row, first, dt, dx, own)
    else:
        _real_channels(work, slot, row, first, dt, dx, own)
    _complete(own, drive, D[first:last], z[row, first:last])


@Item
def _advance_item(u, raw, z, D, bias, old, new, A, B, C, rows, softened, y, item):
    """Advance one piece of one row; the output of padding is 0."""
    channels = y.shape[1]
    pieces = -(-channels // PIECE)
    row, first = item // pieces, item % pieces * PIECE
    last = min(first + PIECE, channels)
    if rows[row] < 0:
        y[row, first:last] = 0
    else:
        tokens, work = (u, raw, z, D, bias), (old, new, A, B, C)
        _advance_piece(tokens, work, rows[row], row, first, last, softened, y)


def advance_token(tokens, work, rows, softened, y):
    """Write the outputs of one token to y, and states to the rows that are named.

    `tokens`: u, dt, z (batch, channels), D and bias (channels); what is absent has no
    channels.
    `work`: states old and new (slots, channels, state, parts), A (channels, state,
    parts), B and C (batch, groups, state, parts).
    """
    # One thread alone takes as long for a byte as for an operation of `few`.
    moved = (2 * y.size + y.shape[1]) * work[2].shape[1] * y.itemsize
    items = y.shape[0] * -(-y.shape[1] // PIECE)
    for_each(_advance_item, items, moved, y.dtype, *tokens, *work, rows, softened, y)
