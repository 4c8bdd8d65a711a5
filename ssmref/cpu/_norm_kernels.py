"""Kernels of the normalisations.

Limit: memory. Each number is read and written once, 8 bytes in float32 (12 with the
line that a store fetches first; 12 and 16 with a gate); a row stays in cache between
the sum and the division. Sums run in vectors, of which no lane adds more than
`LONGEST` numbers; those sums are added in double precision.
"""

import numpy as np

from .toolkit.elementary import reciprocal_root, silu
from .toolkit.items import Item, for_each
from .toolkit.kernels import (
    INT64,
    kernel,
    micro_kernel,
    use_wide_vectors,
)

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


def _plain_moments(x, count, mean, sums):
    """Write the sums of the first `count` numbers less `mean`, and of the squares."""
    centred = x[:count] - x.dtype.type(mean)
    sums[0] = _plain_sum(centred, count)
    sums[1] = _plain_square_sum(centred, count)


def _reduce(lanes, terms, x, count):
    """Emit the sums over x of each of the `terms`, functions of a vector and a sum.

    Several sums of vectors, then one, then the lanes that are left.
    """
    builder, size = lanes.builder, INT64(lanes.count)

    def add(values, at, mask=None):
        v = lanes.load(x, at, mask)
        return [term(v, total, mask) for term, total in zip(terms, values, strict=True)]

    def several(i, values):
        at = builder.mul(i, INT64(SUMS * lanes.count))
        new = []
        for j in range(SUMS):
            place = builder.add(at, INT64(j * lanes.count))
            new += add(values[j * len(terms) : (j + 1) * len(terms)], place)
        return new

    def one(i, values):
        return add(values, builder.mul(builder.add(done, i), size))

    rounds = builder.sdiv(count, INT64(SUMS * lanes.count))
    zeros = [lanes.constant(0.0)] * (SUMS * len(terms))
    sums = lanes.loop(rounds, zeros, several)
    each = (sums[k :: len(terms)] for k in range(len(terms)))
    totals = [sum(own[1:], own[0]) for own in each]
    done, whole = builder.mul(rounds, INT64(SUMS)), builder.sdiv(count, size)
    totals = lanes.loop(builder.sub(whole, done), totals, one)
    place = builder.mul(whole, size)
    totals = add(totals, place, lanes.first(builder.sub(count, place)))
    return [lanes.total(total) for total in totals]


@micro_kernel(_plain_sum, number=True)
def sum_of(lanes, x, count):
    """Add numbers."""
    return _reduce(lanes, [lambda v, total, _: total + v], x, count)[0]


@micro_kernel(_plain_square_sum, number=True)
def square_sum(lanes, x, count):
    """Add squares."""
    return _reduce(lanes, [lambda v, total, _: lanes.fma(v, v, total)], x, count)[0]


@micro_kernel(_plain_moments)
def moments(lanes, x, count, mean, sums):
    """Add what is left without the mean, and its squares."""

    def centred(v, mask):
        rest = v - mean
        return rest if mask is None else lanes.select(mask, rest, 0.0)

    def linear(v, total, mask):
        return total + centred(v, mask)

    def square(v, total, mask):
        rest = centred(v, mask)
        return lanes.fma(rest, rest, total)

    for i, total in enumerate(_reduce(lanes, [linear, square], x, count)):
        lanes.builder.store(total, lanes.builder.gep(sums, [INT64(i)]))


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
def _moments(x, mean, sums):
    """Return the mean of x less `mean`, and the variance; `sums` is for two numbers.

    The rounding of a large mean leaves one in x; it is small enough to subtract its
    square.
    """
    first, second = 0.0, 0.0
    for start in range(0, x.size, LONGEST):
        count = min(LONGEST, x.size - start)
        moments(x[start : start + count], count, mean, sums)
        first, second = first + sums[0], second + sums[1]
    rest = first / x.size
    variance = second / x.size - rest * rest
    return rest, 0.0 if variance < 0.0 else variance


@kernel
def _scale(y, x, weight, factor):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = x[c] * factor * weight[c]


@kernel
def _scale_in_place(y, weight, factor):
    use_wide_vectors()
    for c in range(y.size):
        y[c] *= factor * weight[c]


@kernel
def _scale_and_gate(y, x, weight, z, factor):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = x[c] * factor * weight[c] * silu(z[c])


@kernel
def _gate(y, x, z):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = x[c] * silu(z[c])


@kernel
def _factor(x, eps):
    return x.dtype.type(reciprocal_root(_mean(x, True) + eps))


@kernel
def _rms_group(y, x, weight, z, gate, eps):
    """Normalise one group; loops are vectorised where their arrays do not overlap."""
    if gate == GATE_BEFORE:
        _gate(y, x, z)
        _scale_in_place(y, weight, _factor(y, eps))
    elif gate == GATE_AFTER:
        _scale_and_gate(y, x, weight, z, _factor(x, eps))
    else:
        _scale(y, x, weight, _factor(x, eps))


@kernel
def _rms_rows(y, x, weight, z, gate, size, eps, first, last):
    """Normalise rows in groups of `size` channels."""
    for row in range(first, last):
        for i in range(x.shape[1] // size):
            group = slice(i * size, (i + 1) * size)
            gates = z[row, group]
            _rms_group(y[row, group], x[row, group], weight[group], gates, gate, eps)


@Item
def _rms_item(y, x, weight, z, gate, size, eps, rows, item):
    last = min(len(x), (item + 1) * rows)
    _rms_rows(y, x, weight, z, gate, size, eps, item * rows, last)


def rms(y, x, weight, z, gate, size, eps):
    """Write rows of x divided by the root mean squares of their groups."""
    rows = _rows_per_block(y)
    options = y, x, weight, z, gate, max(size, 1), float(eps), rows
    for_each(_rms_item, -(-len(y) // rows), y.size, y.dtype, *options)


@kernel
def _normalise(y, x, mean, rest, factor, weight, bias):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = (x[c] - mean - rest) * factor * weight[c] + bias[c]


@kernel
def _layer_rows(y, x, weight, bias, eps, first, last):
    kind, sums = x.dtype.type, np.empty(2, x.dtype)
    for row in range(first, last):
        mean = kind(_mean(x[row], False))
        rest, variance = _moments(x[row], mean, sums)
        factor = kind(reciprocal_root(variance + eps))
        _normalise(y[row], x[row], mean, kind(rest), factor, weight, bias)


@Item
def _layer_item(y, x, weight, bias, eps, rows, item):
    last = min(len(x), (item + 1) * rows)
    _layer_rows(y, x, weight, bias, eps, item * rows, last)


def layer(y, x, weight, bias, eps):
    """Write rows of x with mean 0 and variance 1, times `weight`, plus `bias`."""
    rows = _rows_per_block(y)
    options = y, x, weight, bias, float(eps), rows
    for_each(_layer_item, -(-len(y) // rows), y.size, y.dtype, *options)


def _rows_per_block(y):
    return max(1, BLOCK // max(1, y.shape[1]))
