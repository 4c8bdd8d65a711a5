"""One token of the selective scan: bound by the states, which are read and written.

Three times 4 bytes per state (old, new and A), and about 30 instructions per vector of
them: one core computes twice as fast as the memory of a desktop delivers. States of a
channel are consecutive numbers, so vectors run along them and are summed across lanes
once per channel.
"""

from typing import Any

import numpy as np
from numba import prange

from .toolkit.elementary import LOG2_E, cos, exp, exp2_of, silu, sin, softplus
from .toolkit.kernels import (
    INT64,
    Lanes,
    kernel,
    micro_kernel,
    parallel_kernel,
    use_wide_vectors,
)
from .toolkit.rows import along
from .toolkit.threads import few

# Channels of a piece of work.
PIECE = 512


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
    """Emit `_plain_step`: whole vectors, then one of what is left."""
    builder, add = lanes.builder, lanes.builder.add

    def channel(j, values):
        (row,) = values
        factors = lanes.broadcast(dt, j), lanes.broadcast(dx, j)

        def part(n, sums, mask):
            places = [add(add(x, row), n) for x in (at, to, a)]
            own = old, new, A, places, n, factors
            return [_vector(lanes, *own, mask, sums[0], *rest)]

        (total,) = along(lanes, states, [lanes.constant(0.0)], part)
        builder.store(lanes.total(total), builder.gep(y, [j]))
        return [add(row, states)]

    lanes.loop(channels, [INT64(0)], channel)


def _vector(lanes: Lanes, old, new, A, places, n, factors, mask, total, *rest) -> Any:
    """Advance a vector of states; return `total` plus what C reads of them."""
    B, b, C, c = rest
    (at, to, a), (step, drive), add = places, factors, lanes.builder.add
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


@kernel
def _advance_item(tokens, work, rows, softened, y, item):
    """Advance one piece of one row; the output of padding is 0."""
    channels = y.shape[1]
    pieces = -(-channels // PIECE)
    row, first = item // pieces, item % pieces * PIECE
    last = min(first + PIECE, channels)
    if rows[row] < 0:
        y[row, first:last] = 0
    else:
        _advance_piece(tokens, work, rows[row], row, first, last, softened, y)


@parallel_kernel
def _advance_in_parallel(tokens, work, rows, softened, y):
    for item in prange(y.shape[0] * -(-y.shape[1] // PIECE)):
        _advance_item(tokens, work, rows, softened, y, item)


@kernel
def _advance_serially(tokens, work, rows, softened, y):
    for item in range(y.shape[0] * -(-y.shape[1] // PIECE)):
        _advance_item(tokens, work, rows, softened, y, item)


def advance_token(tokens, work, rows, softened, y):
    """Write the outputs of one token to y, and states to the rows that are named.

    `tokens`: u, dt, z (batch, channels), D and bias (channels); what is absent has no
    channels.
    `work`: states old and new (slots, channels, state, parts), A (channels, state,
    parts), B and C (batch, groups, state, parts).
    """
    # An update of a state, with its exponential, counts twice.
    small = few(2 * y.size * work[2].shape[1])
    run = _advance_serially if small else _advance_in_parallel
    run(tokens, work, rows, softened, y)
