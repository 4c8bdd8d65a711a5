"""Kernels of the short causal convolution.

Limit: memory. A token of a channel is read and written once, 8 bytes in float32, for
``width`` multiply-adds, an exponential and a division where SiLU follows: about 35
vector instructions for 16 channels. That is what a core that has the memory for itself
needs for the bytes, so tokens ahead are fetched meanwhile; with all cores memory is the
limit. Large results are written past the caches, or each line would be fetched first.

Four tokens are computed together, so that a number that is loaded serves four outputs.
Time is divided freely among threads: what came before a token is in x itself, but for
the first of a sequence.
"""

import numpy as np

from ._streaming import settle, stream, streams
from .toolkit.elementary import silu_of
from .toolkit.items import Item, for_each
from .toolkit.kernels import INT64, inner, kernel, micro_kernel
from .toolkit.rows import along

# Tokens in registers at a time, and numbers that a thread is given at a time (50 us).
TOGETHER = 4
# Tokens from the last that is computed to those that are fetched from memory meanwhile.
AHEAD = 8
BLOCK = 1 << 16


def _plain_linear(y, x, taps, bias, t, width, channels):
    """Write y[t : t + TOGETHER]; `width - 1` tokens of x before t count."""
    total = np.empty((TOGETHER, channels), y.dtype)
    total[:] = bias
    for k in range(width):
        first = t - (width - 1) + k
        total += taps[k] * x[first : first + TOGETHER]
    y[t : t + TOGETHER] = total


def _plain_active(y, x, taps, bias, t, width, channels):
    """Write the same, then SiLU."""
    _plain_linear(y, x, taps, bias, t, width, channels)
    tile = y[t : t + TOGETHER]
    with np.errstate(all="ignore"):
        tile /= 1 + np.exp(-tile)


def _emit(activate, past_caches, lanes, y, x, taps, bias, t, width, channels):
    """Emit rows of vectors: each tap meets a window of tokens, which moves with it."""
    builder = lanes.builder
    before = builder.sub(t, builder.sub(width, INT64(1)))
    later = builder.add(before, INT64(TOGETHER - 1))

    def vector(column, _, mask):
        def load(array, row):
            place = builder.add(builder.mul(row, channels), column)
            return lanes.load(array, place, mask)

        def tap(k, values):
            newest, weight = load(x, builder.add(later, k)), load(taps, k)
            window, sums = [*values[: TOGETHER - 1], newest], values[TOGETHER - 1 :]
            pairs = zip(window, sums, strict=True)
            return [*window[1:], *(lanes.fma(weight, v, s) for v, s in pairs)]

        for u in range(TOGETHER):
            ahead = builder.add(t, INT64(u + AHEAD))
            lanes.prefetch(x, builder.add(builder.mul(ahead, channels), column))
        window = [load(x, builder.add(before, INT64(u))) for u in range(TOGETHER - 1)]
        start = [*window, *[lanes.load(bias, column, mask)] * TOGETHER]
        for u, total in enumerate(lanes.loop(width, start, tap)[TOGETHER - 1 :]):
            row = builder.mul(builder.add(t, INT64(u)), channels)
            value = silu_of(total) if activate else total
            if past_caches and mask is None:
                stream(lanes, value, y, builder.add(row, column))
            else:
                lanes.store(value, y, builder.add(row, column), mask)
        return []

    along(lanes, channels, [], vector)


@micro_kernel(_plain_linear)
def _linear_tile(lanes, *arguments):
    """TOGETHER tokens."""
    _emit(False, False, lanes, *arguments)


@micro_kernel(_plain_active)
def _active_tile(lanes, *arguments):
    """TOGETHER tokens, then SiLU."""
    _emit(True, False, lanes, *arguments)


@micro_kernel(_plain_linear)
def _linear_stream(lanes, *arguments):
    """TOGETHER tokens, written past the caches."""
    _emit(False, True, lanes, *arguments)


@micro_kernel(_plain_active)
def _active_stream(lanes, *arguments):
    """TOGETHER tokens, then SiLU, written past the caches."""
    _emit(True, True, lanes, *arguments)


@inner
def _tiles(y, x, taps, bias, activate, streaming, first, last):
    """Write at least TOGETHER tokens; the last tile may repeat some of the others."""
    width, channels = taps.shape
    for tile in range(first, last, TOGETHER):
        t = min(tile, last - TOGETHER)
        if activate and streaming:
            _active_stream(y, x, taps, bias, t, width, channels)
        elif activate:
            _active_tile(y, x, taps, bias, t, width, channels)
        elif streaming:
            _linear_stream(y, x, taps, bias, t, width, channels)
        else:
            _linear_tile(y, x, taps, bias, t, width, channels)


@inner
def copy(target, source):
    """Copy the numbers of a token."""
    for c in range(source.size):
        target[c] = source[c]


@inner
def _few(y, x, taps, bias, activate, state, start, first, last):
    """Write tokens whose past begins in `state`, or that are fewer than a tile.

    They and their past are put in one array: the sequence begins at `start`.
    """
    past, count = len(state), last - first
    joined = np.zeros((past + max(count, TOGETHER), x.shape[1]), x.dtype)
    for j in range(past + count):
        t = first - past + j
        copy(joined[j], state[past + t - start] if t < start else x[t])
    result = np.empty_like(joined)
    _tiles(result, joined, taps, bias, activate, False, past, len(joined))
    for j in range(count):
        copy(y[first + j], result[past + j])


@kernel
def _stretch(y, x, taps, bias, activate, streaming, states, bounds, first, last):
    """Write the tokens from `first` to `last`, of any number of sequences."""
    past = taps.shape[0] - 1
    row = np.searchsorted(bounds, first, side="right") - 1
    t = first
    while t < last:
        start, stop = bounds[row], min(bounds[row + 1], last)
        full = max(start + past, t)
        full = full if stop - full >= TOGETHER else stop
        if t < full:
            _few(y, x, taps, bias, activate, states[row], start, t, full)
        if full < stop:
            _tiles(y, x, taps, bias, activate, streaming, full, stop)
        t, row = stop, row + 1
    settle(y)


@Item
def _stretches(y, x, taps, bias, activate, streaming, states, bounds, tokens, item):
    last = min(len(y), (item + 1) * tokens)
    options = taps, bias, activate, streaming, states, bounds
    _stretch(y, x, *options, item * tokens, last)


def convolve(y, x, taps, bias, activate, states, bounds):
    """Write y; `states` holds what came before each sequence, oldest first."""
    tokens = max(TOGETHER, BLOCK // max(1, y.shape[1]) // TOGETHER * TOGETHER)
    options = taps, bias, activate, streams(y, y.shape[1]), states, bounds, tokens
    for_each(_stretches, -(-len(y) // tokens), y.size, y.dtype, y, x, *options)


@kernel
def last_tokens(ends, x, states, bounds):
    """Write the last tokens of each sequence, or of what came before it, to `ends`."""
    past = ends.shape[1]
    for row in range(ends.shape[0]):
        start, count = bounds[row], bounds[row + 1] - bounds[row]
        for k in range(past):
            if k + count < past:
                copy(ends[row, k], states[row, k + count])
            else:
                copy(ends[row, k], x[start + k + count - past])
