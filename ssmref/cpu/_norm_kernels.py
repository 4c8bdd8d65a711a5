"""Kernels of the normalisations.

Limit: memory. Each number is read and written once, 8 bytes in float32 (12 with the
line that a store fetches first; 12 and 16 with a gate); a row stays in cache between
the sum and the division. Sums run in vectors, of which no lane adds more than
`LONGEST` numbers; those sums are added in double precision.
"""

import math

from numba import prange

from ._lanes import INT64, kernel, micro_kernel, parallel_kernel, use_wide_vectors
from ._math import silu

# Sums at a time, so that none waits for the one before it.
SUMS = 4
# Numbers that one call of a micro-kernel adds, and that a thread is given (50 us).
LONGEST = 1 << 12
BLOCK = 1 << 16

NO_GATE, GATE_BEFORE, GATE_AFTER = range(3)


def _plain_sum(x, count):
    """Return the sum of the first `count` numbers."""
    return x[:count].sum(dtype=x.dtype)


def _plain_square_sum(x, count):
    """Return the sum of the squares of the first `count` numbers."""
    return (x[:count] * x[:count]).sum(dtype=x.dtype)


def _reduce(lanes, add, x, count):
    """Emit several sums of vectors, then one vector, then the lanes that are left."""
    builder, size = lanes.builder, INT64(lanes.count)

    def body(i, sums):
        at = builder.mul(i, INT64(SUMS * lanes.count))
        places = [builder.add(at, INT64(j * lanes.count)) for j in range(SUMS)]
        return [add(s, lanes.load(x, p)) for s, p in zip(sums, places, strict=True)]

    rounds = builder.sdiv(count, INT64(SUMS * lanes.count))
    sums = lanes.loop(rounds, [lanes.constant(0.0)] * SUMS, body)
    total = sum(sums[1:], sums[0])
    done = builder.mul(rounds, INT64(SUMS))
    whole = builder.sdiv(count, size)

    def vector(i, values):
        return [add(values[0], lanes.load(x, builder.mul(builder.add(done, i), size)))]

    (total,) = lanes.loop(builder.sub(whole, done), [total], vector)
    place = builder.mul(whole, size)
    last = lanes.load(x, place, lanes.first(builder.sub(count, place)))
    return lanes.total(add(total, last))


@micro_kernel(_plain_sum, number=True)
def sum_of(lanes, x, count):
    """Add numbers."""
    return _reduce(lanes, lambda total, v: total + v, x, count)


@micro_kernel(_plain_square_sum, number=True)
def square_sum(lanes, x, count):
    """Add squares."""
    return _reduce(lanes, lambda total, v: lanes.fma(v, v, total), x, count)


@kernel
def _mean(x, squared):
    """Return the mean of the numbers of a row or of their squares."""
    total = 0.0
    for start in range(0, x.size, LONGEST):
        count = min(LONGEST, x.size - start)
        part = x[start : start + count]
        total += square_sum(part, count) if squared else sum_of(part, count)
    return total / x.size


@kernel
def _scale(y, x, weight, factor):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = x[c] * factor * weight[c]


@kernel
def _gate(y, x, z):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = x[c] * silu(z[c])


@kernel
def _rms_rows(y, x, weight, z, gate, size, eps, first, last):
    """Normalise rows in groups of `size` channels."""
    for row in range(first, last):
        for start in range(0, x.shape[1], size):
            part = slice(start, start + size)
            source, result = x[row, part], y[row, part]
            if gate == GATE_BEFORE:
                _gate(result, source, z[row, part])
                source = result
            factor = 1.0 / math.sqrt(_mean(source, True) + eps)
            _scale(result, source, weight[part], x.dtype.type(factor))
            if gate == GATE_AFTER:
                _gate(result, result, z[row, part])


@parallel_kernel
def _rms_parallel(y, x, weight, z, gate, size, eps, rows):
    for i in prange((len(x) + rows - 1) // rows):
        last = min(len(x), (i + 1) * rows)
        _rms_rows(y, x, weight, z, gate, size, eps, i * rows, last)


def rms(y, x, weight, z, gate, size, eps):
    """Write rows of x divided by the root mean squares of their groups."""
    options = y, x, weight, z, gate, size, float(eps)
    if y.size <= 2 * BLOCK:
        _rms_rows(*options, 0, len(y))
    else:
        _rms_parallel(*options, _rows_per_block(y))


@kernel
def _shift(y, x, mean):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = x[c] - mean


@kernel
def _add(y, bias):
    use_wide_vectors()
    for c in range(y.size):
        y[c] += bias[c]


@kernel
def _centre(y, x):
    """Write x less its mean, and less the mean of what the rounding of that leaves."""
    kind = x.dtype.type
    _shift(y, x, kind(_mean(x, False)))
    _shift(y, y, kind(_mean(y, False)))


@kernel
def _layer_rows(y, x, weight, bias, eps, first, last):
    for row in range(first, last):
        result = y[row]
        _centre(result, x[row])
        factor = 1.0 / math.sqrt(_mean(result, True) + eps)
        _scale(result, result, weight, x.dtype.type(factor))
        _add(result, bias)


@parallel_kernel
def _layer_parallel(y, x, weight, bias, eps, rows):
    for i in prange((len(x) + rows - 1) // rows):
        last = min(len(x), (i + 1) * rows)
        _layer_rows(y, x, weight, bias, eps, i * rows, last)


def layer(y, x, weight, bias, eps):
    """Write rows of x with mean 0 and variance 1, times `weight`, plus `bias`."""
    options = y, x, weight, bias, float(eps)
    if y.size <= 2 * BLOCK:
        _layer_rows(*options, 0, len(y))
    else:
        _layer_parallel(*options, _rows_per_block(y))


def _rows_per_block(y):
    return max(1, BLOCK // y.shape[1])
