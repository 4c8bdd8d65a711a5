"""One token of S5, for all rows of the batch.

Limit: for few rows memory, 2 state (inputs + outputs) numbers; from some 30 rows on the
multiply-adds, as many for each row.

Threads divide the rows where each gets so many that reading B and C from the shared
cache does not matter. Else they divide the states, and then, as every output needs
every state, the outputs.
"""

from typing import Any, NamedTuple

import numpy as np

from ._discretize import discretize
from ._row_products import TILE_LEFT, TILE_RIGHT, product_tile
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, stay_apart, use_wide_vectors
from .toolkit.memory import new_numbers
from .toolkit.rows import prefetch_rows
from .toolkit.threads import workers

# States and outputs at a time: their rows of B and C stay in the caches of a thread.
STATES, OUTPUTS = 8, 16
# Rows per thread from which on threads divide the rows.
ROWS = 8


class Call(NamedTuple):
    """A step: real and imaginary parts of A, B, C and states are side by side."""

    u: Any
    dt: Any
    A: Any
    B: Any
    C: Any
    D: Any  # empty if there is none
    state: Any
    new: Any
    rows: Any  # of the states; negative is padding
    hold: bool
    factor: int  # y is so many times the real part of what C reads
    y: Any


def step(call):
    """Write y and the new states."""
    count, dtype = len(call.u), call.u.dtype
    work = 2 * count * (call.B.size + call.C.size)
    available = workers(work)
    if count >= ROWS * available:
        share = -(-count // (available * TILE_LEFT)) * TILE_LEFT
        for_each(_some_rows, -(-count // share), work, dtype, call, share)
        return
    seen = np.empty((count, call.C.shape[1]), dtype)
    blocks = -(-len(call.B) // STATES), -(-len(call.C) // OUTPUTS)
    for_each(_some_states, blocks[0], work, dtype, call, seen)
    for_each(_some_outputs, blocks[1], work, dtype, call, seen)


@Item
def _some_rows(call, share, job):
    """Advance some rows, and read them."""
    first = job * share
    last = min(first + share, len(call.u))
    seen = np.empty((last - first, call.C.shape[1]), call.u.dtype)
    for block in range(-(-len(call.B) // STATES)):
        _advance(call, seen, first, last, block)
    for block in range(-(-len(call.C) // OUTPUTS)):
        _read(call, seen, first, last, block)


@Item
def _some_states(call, seen, block):
    """Advance some states of all rows."""
    _advance(call, seen, 0, len(call.u), block)


@Item
def _some_outputs(call, seen, block):
    """Read some outputs of all rows."""
    _read(call, seen, 0, len(call.u), block)


@inner
def _advance(call, seen, start, stop, block):
    """Advance a block of states of some rows; write what C multiplies to `seen`."""
    stay_apart()
    u, B = call.u, call.B
    first, inputs = block * STATES, u.shape[1]
    count = min(STATES, len(B) - first)
    _fetch(B, first + count, STATES)
    planes = new_numbers(2 * STATES * inputs, u)
    for i in range(count):
        at = 2 * i * inputs
        middle, end = at + inputs, at + 2 * inputs
        _split(B[first + i], planes[at:middle], planes[middle:end])
    drives = new_numbers(_padded(stop - start) * 2 * STATES, u)
    _products(
        *(drives, 2 * STATES, u.ravel(), start, stop),
        *(planes, 0, 2 * count, inputs),
    )
    a, g = np.empty((2, count)), np.empty((2, count))
    _discretize(call.dt[first:], call.A[2 * first :], a, g, call.hold)
    part = slice(2 * first, 2 * (first + count))
    for i in range(stop - start):
        row = call.rows[start + i]
        if row >= 0:
            own = slice(2 * i * STATES, 2 * (i * STATES + count))
            into = call.new[row, part]
            _move(drives[own], a, g, call.state[row, part], into)
            _conjugate(into, seen[i, part], call.factor)


@inner
def _fetch(matrix, first, rows):
    """Ask for the next rows of a matrix, which are needed after these."""
    size = matrix.shape[1]
    rows = min(rows, len(matrix) - first)
    prefetch_rows(matrix.ravel(), 0, size, first, rows, size)


@inner
def _padded(rows):
    """Return the rows that whole tiles have."""
    return -(-rows // TILE_LEFT) * TILE_LEFT


@inner
def _products(out, step, A, start, stop, B, first, columns, depth):
    """Multiply some rows of A with some of B: one for each column of `out`."""
    for i in range(0, stop - start, TILE_LEFT):
        some = min(TILE_LEFT, stop - start - i)
        for j in range(0, columns, TILE_RIGHT):
            own = min(TILE_RIGHT, columns - j)
            product_tile(
                *(out, i * step + j, step, A, (start + i) * depth, depth, some),
                *(B, (first + j) * depth, depth, own, depth),
            )


@inner
def _split(pairs, re, im):
    """Part real from imaginary parts."""
    use_wide_vectors()
    for i in range(len(re)):
        re[i], im[i] = pairs[2 * i], pairs[2 * i + 1]


@inner
def _discretize(dt, A, a, g, hold):
    """Find A_bar and what drives are multiplied by: see `discretize`."""
    z = np.empty_like(a)
    for n in range(a.shape[1]):
        size = np.float64(dt[n])
        z[0, n], z[1, n] = size * A[2 * n], size * A[2 * n + 1]
    discretize(z, a, g, hold)
    for n in range(a.shape[1]):
        size = np.float64(dt[n])
        g[0, n], g[1, n] = size * g[0, n], size * g[1, n]


@inner
def _move(drive, a, g, x, new):
    """Advance the states of one row."""
    for n in range(len(drive) // 2):
        re, im = 2 * n, 2 * n + 1
        d_re = g[0, n] * drive[re] - g[1, n] * drive[im]
        d_im = g[0, n] * drive[im] + g[1, n] * drive[re]
        x_re, x_im = x[re], x[im]
        new[re] = a[0, n] * x_re - a[1, n] * x_im + d_re
        new[im] = a[0, n] * x_im + a[1, n] * x_re + d_im


@inner
def _conjugate(x, seen, factor):
    """Write ``factor`` times the conjugates."""
    for n in range(len(x) // 2):
        seen[2 * n], seen[2 * n + 1] = factor * x[2 * n], -factor * x[2 * n + 1]


@inner
def _read(call, seen, start, stop, block):
    """Read a block of outputs of some rows."""
    stay_apart()
    u, C, D, rows = call.u, call.C, call.D, stop - start
    first, size = block * OUTPUTS, C.shape[1]
    last = min(first + OUTPUTS, len(C))
    _fetch(C, last, OUTPUTS)
    sums = new_numbers(_padded(rows) * OUTPUTS, u)
    _products(
        *(sums, OUTPUTS, seen.ravel(), 0, rows),
        *(C.ravel(), first, last - first, size),
    )
    for i in range(rows):
        own, found = call.y[start + i, first:last], sums[i * OUTPUTS :]
        if call.rows[start + i] < 0:
            own[:] = 0.0
        elif len(D):
            _skip(own, found, D[first:], u[start + i, first:])
        else:
            own[:] = found[: len(own)]


@inner
def _skip(y, sums, D, u):
    """Write what was read, and the inputs times D."""
    for c in range(len(y)):
        y[c] = sums[c] + D[c] * u[c]
