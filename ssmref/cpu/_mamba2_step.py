"""The kernel of `mamba2.ssd_step`: one token of many sequences.

The limit: each number of the state is read once and written once; per head there is
one exp. Vectors run along the state, which is how it lies in memory: a row of it is
updated and multiplied with C in one go.
"""

import math

import numpy as np

from ._mamba2_kernels import Call
from ._outputs import output
from .toolkit.elementary import silu, softplus
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, micro_kernel, use_wide_vectors
from .toolkit.rows import along

# Threads that others keep from running delay a token by milliseconds: so many times the
# usual work is done in one. A sequence of a model of 130 million parameters is less.
ALONE = 2


def advance(
    call: Call, state: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs (batch, heads, headdim) and all states after one token.

    Row i of the batch advances ``state[rows[i]]``; a negative row is padding.
    """
    y, new = np.zeros_like(call.x), output(state.shape, state.dtype)
    owners = np.full(len(state), -1)
    live = np.flatnonzero(rows >= 0)
    owners[rows[live]] = live
    items = state.shape[0] * state.shape[1]
    operations = state.size // ALONE
    for_each(step_item, items, operations, state.dtype, call, state, new, owners, y)
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


@micro_kernel(_plain_advance)
def advance_rows(
    lanes, new, state, at, decay, keys, k_at, queries, x, x_at, dt, y, m, n
):
    """Row by row."""
    builder = lanes.builder

    def row(p, _):
        base = builder.add(at, builder.mul(p, n))
        place = builder.add(x_at, p)
        drive = dt * lanes.broadcast(x, place)

        def part(s, sums, mask):
            key = lanes.load(keys, builder.add(k_at, s), mask)
            query = lanes.load(queries, builder.add(k_at, s), mask)
            old = lanes.load(state, builder.add(base, s), mask)
            value = lanes.fma(decay, old, drive * key)
            lanes.store(value, new, builder.add(base, s), mask)
            return [lanes.fma(value, query, sums[0])]

        (sums,) = along(lanes, n, [lanes.constant(0.0)], part)
        builder.store(lanes.total(sums), builder.gep(y, [place]))
        return []

    lanes.loop(m, [], row)


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
def step_item(call, state, new, owners, y, item):
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
    group = head // (heads // groups)
    advance_rows(
        *(new.reshape(-1), state.reshape(-1), item * width * depth),
        *(decay, call.B.reshape(-1), (row * groups + group) * depth),
        *(call.C.reshape(-1), call.x.reshape(-1), (row * heads + head) * width, dt),
        *(y.reshape(-1), width, depth),
    )
    skip_and_gate(call, y, row, head)
