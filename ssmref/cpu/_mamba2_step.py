"""The kernel of `mamba2.ssd_step`: one token of many sequences.

The limit: each number of the state is read once and written once; per head there is
one exp. Vectors run along the state, which is how it lies in memory: a row of it is
updated and multiplied with C in one go. Large states are written past the caches, or
each line of the new one would be fetched first.
"""

import math

import numpy as np

from ._mamba2_kernels import Call
from ._outputs import output
from ._streaming import settle, stream, streams
from .toolkit.elementary import silu, softplus
from .toolkit.items import Item, for_each
from .toolkit.kernels import INT64, inner, micro_kernel, use_wide_vectors
from .toolkit.rows import along

# Vectors from the one that is computed to the one that memory is asked for meanwhile.
AHEAD = 32


def advance(
    call: Call, state: np.ndarray, rows: np.ndarray, named: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs (batch, heads, headdim) and all states after one token.

    Row i of the batch advances ``state[rows[i]]``; a negative row is padding. Rows that
    are not `named` have the states of their own numbers.
    """
    y = np.zeros(call.x.shape, call.x.dtype)
    new, owners = output(state.shape, state.dtype), rows
    if named:
        owners = np.full(len(state), -1)
        live = np.flatnonzero(rows >= 0)
        owners[rows[live]] = live
    items = state.shape[0] * state.shape[1]
    # One thread alone takes as long for a byte as for an operation of `few`.
    moved, streaming = 2 * state.nbytes, streams(new, state.shape[3])
    work = call, state, new, owners, y, streaming
    for_each(step_item, items, moved, state.dtype, *work)
    return y, new


def _plain_advance(new, state, at, decay, keys, k_at, queries, x, x_at, dt, y, m, n):
    """Update m rows of n numbers, and set y to their products with the query.

    ``new[p] = decay state[p] + (dt x[p]) key``, ``y[p] = new[p] . query``. Queries
    begin where keys do, and outputs where inputs do.
    """
    p, s = np.arange(m), np.arange(n)
    places = at + p[:, None] * n + s
    drive = (dt * x[x_at + p])[:, None] * keys[k_at + s]
    new[places] = decay * state[places] + drive
    y[x_at + p] = (new[places] * queries[k_at + s]).sum(axis=1)


def _emit(
    past_caches, lanes, new, state, at, decay, keys, k_at, queries, x, x_at, dt, y, m, n
):
    """Emit `_plain_advance`, row by row."""
    builder = lanes.builder

    def row(p, _):
        base = builder.add(at, builder.mul(p, n))
        place = builder.add(x_at, p)
        drive = dt * lanes.broadcast(x, place)

        def part(s, sums, mask):
            key = lanes.load(keys, builder.add(k_at, s), mask)
            query = lanes.load(queries, builder.add(k_at, s), mask)
            here = builder.add(base, s)
            lanes.prefetch(state, builder.add(here, INT64(AHEAD * lanes.count)))
            value = lanes.fma(decay, lanes.load(state, here, mask), drive * key)
            if past_caches and mask is None:
                stream(lanes, value, new, here)
            else:
                lanes.store(value, new, here, mask)
            return [lanes.fma(value, query, sums[0])]

        (sums,) = along(lanes, n, [lanes.constant(0.0)], part)
        builder.store(lanes.total(sums), builder.gep(y, [place]))
        return []

    lanes.loop(m, [], row)


@micro_kernel(_plain_advance)
def advance_rows(lanes, *arguments):
    """Row by row."""
    _emit(False, lanes, *arguments)


@micro_kernel(_plain_advance)
def stream_rows(lanes, *arguments):
    """Row by row, written past the caches."""
    _emit(True, lanes, *arguments)


@inner
def copy_state(new, state):
    """Copy a state."""
    use_wide_vectors()
    for p in range(state.shape[0]):
        for n in range(state.shape[1]):
            new[p, n] = state[p, n]


@inner
def skip_and_gate(call, y, row, head):
    """Add D x, and apply the gate."""
    use_wide_vectors()
    for p in range(call.x.shape[2]):
        value = y[row, head, p]
        if call.D.shape[0] > 0:
            value += call.D[head, p] * call.x[row, head, p]
        if call.z.shape[0] > 0:
            value *= silu(call.z[row, head, p])
        y[row, head, p] = value


@Item
def step_item(call, state, new, owners, y, streaming, item):
    """Advance one head of one slot, or copy it if no row of the batch owns the slot."""
    heads, width = call.x.shape[1:]
    groups, depth = call.B.shape[1:]
    slot, head = item // heads, item % heads
    row = owners[slot]
    if row < 0:
        copy_state(new[slot, head], state[slot, head])
        return
    dt = call.dt[row, head] + call.bias[head]
    if call.smooth:
        dt = softplus(dt)
    dt = call.low if dt < call.low else dt
    dt = call.high if dt > call.high else dt
    decay = math.exp(dt * call.A[head])
    token, group = row * heads + head, row * groups + head // (heads // groups)
    work = (
        *(new.reshape(-1), state.reshape(-1), item * width * depth, decay),
        *(call.B.reshape(-1), group * depth, call.C.reshape(-1)),
        *(call.x.reshape(-1), token * width, dt, y.reshape(-1), width, depth),
    )
    if streaming:
        stream_rows(*work)
        settle(new)
    else:
        advance_rows(*work)
    skip_and_gate(call, y, row, head)
