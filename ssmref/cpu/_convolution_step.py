"""Kernels of one or several tokens of the short causal convolution.

Limit: memory. The buffer of each row is read and written once, and so are the taps.

One token of the usual width has a kernel of its own, for some channels of some rows: it
reads the taps as parameters have them, four of a channel side by side, and moves the
buffer on while it passes.
"""

import numpy as np
from llvmlite import ir
from numba import prange

from ._convolution_kernels import copy
from .toolkit.elementary import silu, silu_of
from .toolkit.items import Item, for_each
from .toolkit.kernels import (
    INT32,
    INT64,
    Value,
    inner,
    kernel,
    micro_kernel,
    parallel_kernel,
    use_wide_vectors,
)
from .toolkit.rows import along
from .toolkit.threads import few

# The width that has a kernel of its own; the fewest channels that an item has.
WIDTH, CHANNELS = 4, 512
# Vectors from the one that is computed to those that memory is asked for meanwhile.
AHEAD = 16


def one_token(y, x, state, new, rows, taps, bias, activate):
    """Write the outputs of one token, and the new buffer of each row that has one.

    y and x are (batch, channels), taps (channels, WIDTH), a buffer WIDTH - 1 tokens.
    """
    batch, channels = x.shape
    parts = max(1, min(-(-channels // CHANNELS), 8 // batch))
    # One thread alone takes as long for a byte as for an operation of `few`.
    moved = (2 + 2 * (WIDTH - 1)) * x.nbytes
    arguments = (y, x, state, new, rows, taps, bias, activate, parts)
    for_each(_one_token, batch * parts, moved, x.dtype, *arguments)


@Item
def _one_token(y, x, state, new, rows, taps, bias, activate, parts, item):
    """Run some channels of a row; a row without a slot gives zeros."""
    row, part, channels = item // parts, item % parts, x.shape[1]
    # Parts begin where lines do.
    size = -(-channels // (16 * parts)) * 16
    first, last = min(part * size, channels), min((part + 1) * size, channels)
    if rows[row] < 0:
        y[row, first:last] = 0
        return
    own, slot = row * channels + first, rows[row] * (WIDTH - 1) * channels + first
    work = (
        *(y.ravel(), x.ravel(), own, state.ravel(), new.ravel(), slot, channels),
        *(taps.ravel(), bias, first, last - first),
    )
    if activate:
        _pass_active(*work)
    else:
        _pass_linear(*work)


def _plain_linear(y, x, at, old, new, o_at, step, taps, bias, first, count):
    """Write outputs of `count` channels; their buffer has rows `step` apart."""
    i, k = np.arange(count), np.arange(WIDTH)[:, None]
    window = np.vstack([old[o_at + k[:-1] * step + i], x[None, at + i]])
    own = taps[(first + i) * WIDTH + k]
    y[at + i] = bias[first + i] + (own * window).sum(axis=0)
    new[o_at + k[:-1] * step + i] = window[1:]


def _plain_active(y, x, at, old, new, o_at, step, taps, bias, first, count):
    """Write the same, then SiLU."""
    _plain_linear(y, x, at, old, new, o_at, step, taps, bias, first, count)
    own = slice(at, at + count)
    with np.errstate(all="ignore"):
        y[own] /= 1 + np.exp(-y[own])


def _emit(activate, lanes, y, x, at, old, new, o_at, step, taps, bias, first, count):
    """Emit a pass over the channels: each number of the buffer is loaded once."""
    add, mul = lanes.builder.add, lanes.builder.mul
    buffer = [add(o_at, mul(step, INT64(k))) for k in range(WIDTH - 1)]

    def vector(i, _, mask):
        for place in buffer:
            for array in (old, new):
                lanes.prefetch(array, add(add(place, i), INT64(AHEAD * lanes.count)))
        window = [lanes.load(old, add(place, i), mask) for place in buffer]
        window.append(lanes.load(x, add(at, i), mask))
        c = add(first, i)
        total = lanes.load(bias, c, mask)
        left = None if mask is None else lanes.builder.sub(count, i)
        for weight, own in zip(_taps(lanes, taps, c, left), window, strict=True):
            total = lanes.fma(weight, own, total)
        for place, own in zip(buffer, window[1:], strict=True):
            lanes.store(own, new, add(place, i), mask)
        lanes.store(silu_of(total) if activate else total, y, add(at, i), mask)
        return []

    along(lanes, count, [], vector)


def _taps(lanes, taps, channel, left):
    """Return the taps of a vector of channels, tap by tap; there may be `left` only."""
    builder, count = lanes.builder, lanes.count
    at, found = builder.mul(channel, INT64(WIDTH)), []
    for k in range(WIDTH):
        before = INT64(k * count)
        mask = None
        if left is not None:
            mask = lanes.first(builder.sub(builder.mul(left, INT64(WIDTH)), before))
        found.append(lanes.load(taps, builder.add(at, before), mask).ir)
    low = _shuffle(builder, found[0], found[1], range(2 * count))
    high = _shuffle(builder, found[2], found[3], range(2 * count))
    places = (range(k, WIDTH * count, WIDTH) for k in range(WIDTH))
    return [Value(lanes, _shuffle(builder, low, high, own)) for own in places]


def _shuffle(builder, a, b, places):
    kind = ir.VectorType(INT32, len(places))
    return builder.shuffle_vector(a, b, ir.Constant(kind, list(places)))


@micro_kernel(_plain_linear)
def _pass_linear(lanes, *arguments):
    """One token."""
    _emit(False, lanes, *arguments)


@micro_kernel(_plain_active)
def _pass_active(lanes, *arguments):
    """One token, then SiLU."""
    _emit(True, lanes, *arguments)


@inner
def _add_product(y, weight, x):
    use_wide_vectors()
    for c in range(y.size):
        y[c] += weight[c] * x[c]


@inner
def _activate(y):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = silu(y[c])


@inner
def _outputs(y, x, state, position, taps, bias, activate):
    """Write the outputs of a row. Token q < 0, before x, is at the end of `state`.

    Or where a circular buffer has it, unless `position` is negative.
    """
    window, width = len(state), len(taps)
    for t in range(len(y)):
        copy(y[t], bias)
        for k in range(width):
            q = t - (width - 1) + k
            if q >= 0:
                _add_product(y[t], taps[k], x[q])
            elif position < 0:
                _add_product(y[t], taps[k], state[window + q])
            else:
                _add_product(y[t], taps[k], state[(position + q) % window])
        if activate:
            _activate(y[t])


@inner
def _shift(new, state, x):
    """Write the last tokens of `state` and x."""
    window, tokens = len(state), len(x)
    for j in range(window):
        at = j + tokens
        copy(new[j], state[at] if at < window else x[at - window])


@inner
def _linear_row(b, y, x, state, new, rows, taps, bias, activate):
    row = rows[b]
    if row < 0:
        y[b] = 0
    else:
        _outputs(y[b], x[b], state[row], -1, taps, bias, activate)
        _shift(new[row], state[row], x[b])


@kernel
def _linear(y, x, state, new, rows, taps, bias, activate):
    for b in range(len(y)):
        _linear_row(b, y, x, state, new, rows, taps, bias, activate)


@parallel_kernel
def _linear_parallel(y, x, state, new, rows, taps, bias, activate):
    for b in prange(len(y)):
        _linear_row(b, y, x, state, new, rows, taps, bias, activate)


def linear(y, x, state, new, *options):
    """Write the outputs, and the new buffer of each row that has one."""
    run = _linear if few(y.size + new.size) else _linear_parallel
    run(y, x, state, new, *options)


@inner
def _circular_row(b, y, x, state, new, rows, position, taps, bias, activate):
    row, window = rows[b], state.shape[1]
    if row < 0:
        y[b] = 0
    else:
        _outputs(y[b], x[b], state[row], position[b], taps, bias, activate)
        for t in range(x.shape[1]):
            copy(new[row, (position[b] + t) % window], x[b, t])


@kernel
def _circular(y, x, state, new, rows, position, taps, bias, activate):
    for b in range(len(y)):
        _circular_row(b, y, x, state, new, rows, position, taps, bias, activate)


@parallel_kernel
def _circular_parallel(y, x, state, new, rows, position, taps, bias, activate):
    for b in prange(len(y)):
        _circular_row(b, y, x, state, new, rows, position, taps, bias, activate)


def circular(y, x, state, new, *options):
    """Write the outputs, and the tokens into `new`, which is a copy of `state`."""
    run = _circular if few(y.size + new.size) else _circular_parallel
    run(y, x, state, new, *options)
