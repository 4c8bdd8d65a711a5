"""Kernels of the short causal convolution.

Limit: memory. A token of a channel is read and written once, 8 bytes in float32 (12
with the line that a store fetches first), for ``width`` multiply-adds, an exponential
and a division where SiLU follows: about 35 vector instructions for 16 channels, less
time than a core needs for the bytes.

Four tokens are computed together, so that a number that is loaded serves four outputs.
Time is divided freely among threads: what came before a token is in x itself, but for
the first of a sequence.
"""

import numpy as np
from numba import prange

from ._lanes import INT64, kernel, micro_kernel, parallel_kernel
from ._math import silu_of

# Tokens in registers at a time, and numbers that a thread is given at a time (50 us).
TOGETHER = 4
CHANNELS = 128
BLOCK = 1 << 16


def _plain_tokens(y, x, taps, bias, t, width, channels, c, count, tokens, activate):
    """Write y[t : t + tokens, c : c + count]; `width - 1` tokens before t count."""
    part = slice(c, c + count)
    total = np.empty((tokens, count), y.dtype)
    total[:] = bias[part]
    for k in range(width):
        first = t - (width - 1) + k
        total += taps[k, part] * x[first : first + tokens, part]
    with np.errstate(all="ignore"):
        y[t : t + tokens, part] = total / (1 + np.exp(-total)) if activate else total


def _emit(tokens, activate, lanes, y, x, taps, bias, t, width, channels, c, count):
    """Emit rows of vectors: each tap meets a window of tokens, which moves with it."""
    builder, size = lanes.builder, INT64(lanes.count)
    before = builder.sub(t, builder.sub(width, INT64(1)))
    later = builder.add(before, INT64(tokens - 1))

    def vector(column, mask):
        def load(array, row):
            place = builder.add(builder.mul(row, channels), column)
            return lanes.load(array, place, mask)

        def tap(k, values):
            newest, weight = load(x, builder.add(later, k)), load(taps, k)
            window, sums = [*values[: tokens - 1], newest], values[tokens - 1 :]
            pairs = zip(window, sums, strict=True)
            return [*window[1:], *(lanes.fma(weight, v, s) for v, s in pairs)]

        window = [load(x, builder.add(before, INT64(u))) for u in range(tokens - 1)]
        start = [*window, *[lanes.load(bias, column, mask)] * tokens]
        for u, total in enumerate(lanes.loop(width, start, tap)[tokens - 1 :]):
            row = builder.mul(builder.add(t, INT64(u)), channels)
            value = silu_of(total) if activate else total
            lanes.store(value, y, builder.add(row, column), mask)

    def body(i, values):
        vector(builder.add(c, builder.mul(i, size)), None)
        return values

    whole = builder.sdiv(count, size)
    lanes.loop(whole, [], body)
    done = builder.mul(whole, size)
    vector(builder.add(c, done), lanes.first(builder.sub(count, done)))


@micro_kernel(_plain_tokens)
def _several(lanes, *arguments):
    """TOGETHER tokens."""
    _emit(TOGETHER, False, lanes, *arguments[:9])


@micro_kernel(_plain_tokens)
def _several_active(lanes, *arguments):
    """TOGETHER tokens, then SiLU."""
    _emit(TOGETHER, True, lanes, *arguments[:9])


@micro_kernel(_plain_tokens)
def _one(lanes, *arguments):
    """One token."""
    _emit(1, False, lanes, *arguments[:9])


@micro_kernel(_plain_tokens)
def _one_active(lanes, *arguments):
    """One token, then SiLU."""
    _emit(1, True, lanes, *arguments[:9])


@kernel
def _convolve(y, x, taps, bias, activate, first, last):
    """Write the tokens from `first` to `last`, all of which have a full past in x."""
    width, channels = taps.shape
    for c in range(0, channels, CHANNELS):
        shape = (width, channels, c, min(CHANNELS, channels - c))
        t = first
        while last - t >= TOGETHER:
            if activate:
                _several_active(y, x, taps, bias, t, *shape, TOGETHER, True)
            else:
                _several(y, x, taps, bias, t, *shape, TOGETHER, False)
            t += TOGETHER
        while t < last:
            if activate:
                _one_active(y, x, taps, bias, t, *shape, 1, True)
            else:
                _one(y, x, taps, bias, t, *shape, 1, False)
            t += 1


@kernel
def _copy(target, source):
    for c in range(source.size):
        target[c] = source[c]


@kernel
def _begin(y, x, taps, bias, activate, state, start, first, last):
    """Write tokens of a sequence that began less than `width` tokens ago.

    They and their past are put in one array, as if the sequence had begun earlier.
    """
    past, channels = state.shape
    count = last - start
    joined = np.empty((past + count, channels), x.dtype)
    for k in range(past):
        _copy(joined[k], state[k])
    for k in range(count):
        _copy(joined[past + k], x[start + k])
    result = np.empty_like(joined)
    _convolve(result, joined, taps, bias, activate, past + first - start, past + count)
    for t in range(first, last):
        _copy(y[t], result[past + t - start])


@kernel
def _stretch(y, x, taps, bias, activate, states, bounds, first, last):
    """Write the tokens from `first` to `last`, of any number of sequences."""
    past = taps.shape[0] - 1
    row = np.searchsorted(bounds, first, side="right") - 1
    t = first
    while t < last:
        start, stop = bounds[row], min(bounds[row + 1], last)
        full = min(max(start + past, t), stop)
        if t < full:
            _begin(y, x, taps, bias, activate, states[row], start, t, full)
        _convolve(y, x, taps, bias, activate, full, stop)
        t, row = stop, row + 1


@parallel_kernel
def _stretches(y, x, taps, bias, activate, states, bounds, tokens):
    length = y.shape[0]
    for i in prange((length + tokens - 1) // tokens):
        last = min(length, (i + 1) * tokens)
        _stretch(y, x, taps, bias, activate, states, bounds, i * tokens, last)


def convolve(y, x, taps, bias, activate, states, bounds):
    """Write y; `states` holds what came before each sequence, oldest first."""
    if y.size <= 2 * BLOCK:
        _stretch(y, x, taps, bias, activate, states, bounds, 0, len(y))
    else:
        tokens = max(TOGETHER, BLOCK // y.shape[1] // TOGETHER * TOGETHER)
        _stretches(y, x, taps, bias, activate, states, bounds, tokens)


@kernel
def last_tokens(ends, x, states, bounds):
    """Write the last tokens of each sequence, or of what came before it, to `ends`."""
    past = ends.shape[1]
    for row in range(ends.shape[0]):
        start, count = bounds[row], bounds[row + 1] - bounds[row]
        for k in range(past):
            if k + count < past:
                _copy(ends[row, k], states[row, k + count])
            else:
                _copy(ends[row, k], x[start + k + count - past])
