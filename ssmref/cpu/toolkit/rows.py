"""Rows of numbers in memory: checked, scaled, transposed, brought into the cache.

Loops that Numba would not vectorise well, because it allows for negative indices, or
at all. As in `products`, arrays are one-dimensional, with offsets and steps of rows.
"""

import numpy as np
from llvmlite import ir

from .kernels import (
    INT32,
    INT64,
    Value,
    inner,
    lane_count_of,
    micro_kernel,
    stay_apart,
    stay_small,
)
from .memory import LINE


def _plain_zero_of(array, at, step, m, n):
    """Return the sum of 0 times m rows of n numbers: NaN unless all are finite."""
    r, c = np.arange(m)[:, None], np.arange(n)
    with np.errstate(invalid="ignore"):
        return (0 * array[at + r * step + c]).sum()


@micro_kernel(_plain_zero_of, number=True)
def _zero_of(lanes, array, at, step, m, n):
    """Row by row."""

    def row(r, values):
        base = lanes.builder.add(at, lanes.builder.mul(r, step))

        def part(c, sums, mask):
            number = lanes.load(array, lanes.builder.add(base, c), mask)
            return [lanes.fma(number, lanes.constant(0.0), sums[0])]

        return along(lanes, n, values, part)

    return lanes.total(lanes.loop(m, [lanes.constant(0.0)], row)[0])


@inner
def all_finite(array, at, step, m, n):
    """Return whether m rows of n numbers are finite."""
    stay_small()
    return _zero_of(array, at, step, m, n) == 0


def along(lanes, n, values, part):
    """Run ``values = part(c, values, mask)`` for the vectors of a row of n numbers."""
    builder, count = lanes.builder, INT64(lanes.count)
    whole, rest = builder.sdiv(n, count), builder.srem(n, count)
    some = builder.zext(builder.icmp_signed(">", rest, INT64(0)), INT64)
    mask = lanes.first(rest)
    values = lanes.loop(
        whole, values, lambda i, v: part(builder.mul(i, count), v, None)
    )
    end = builder.mul(whole, count)
    return lanes.loop(some, values, lambda _, v: part(end, v, mask))


def _plain_scale_rows(out, at, step, source, s_at, s_step, factors, f_at, m, n):
    """Set ``out[r] = factors[f_at + r] source[r]``; return the sum of 0 out[r]."""
    r, c = np.arange(m)[:, None], np.arange(n)
    with np.errstate(invalid="ignore", over="ignore"):
        new = factors[f_at + r] * source[s_at + r * s_step + c]
        out[at + r * step + c] = new
        return (0 * new).sum()


@micro_kernel(_plain_scale_rows, number=True)
def _scale_rows(lanes, out, at, step, source, s_at, s_step, factors, f_at, m, n):
    """Row by row."""
    builder = lanes.builder

    def row(r, values):
        to = builder.add(at, builder.mul(r, step))
        base = builder.add(s_at, builder.mul(r, s_step))
        factor = lanes.broadcast(factors, builder.add(f_at, r))

        def part(c, sums, mask):
            new = factor * lanes.load(source, builder.add(base, c), mask)
            lanes.store(new, out, builder.add(to, c), mask)
            return [lanes.fma(new, lanes.constant(0.0), sums[0])]

        return along(lanes, n, values, part)

    return lanes.total(lanes.loop(m, [lanes.constant(0.0)], row)[0])


@inner
def scale_rows(out, at, step, source, s_at, s_step, factors, f_at, m, n):
    """Multiply m rows of n numbers by factors; return whether all are finite then."""
    stay_small()
    return _scale_rows(out, at, step, source, s_at, s_step, factors, f_at, m, n) == 0


def _plain_prefetch(array, at, step, first, m, n):
    """Ask for the cache lines of rows of n numbers: they will be needed soon."""


@micro_kernel(_plain_prefetch)
def _prefetch_rows(lanes, array, at, step, first, m, n):
    """Line by line."""
    builder = lanes.builder
    line = INT64(LINE // np.dtype(lanes.dtype).itemsize)
    lines = builder.sdiv(builder.add(n, builder.sub(line, INT64(1))), line)

    def row(r, _):
        base = builder.add(at, builder.mul(builder.add(first, r), step))

        def part(i, _):
            lanes.prefetch(array, builder.add(base, builder.mul(i, line)))
            return []

        # The row may begin inside a line, and end in one more.
        lanes.prefetch(array, builder.add(base, builder.sub(n, INT64(1))))
        return lanes.loop(lines, [], part)

    lanes.loop(m, [], row)


@inner
def prefetch_rows(array, at, step, first, m, n):
    """Ask for m rows of n numbers from row `first` on, which need not exist."""
    stay_small()
    _prefetch_rows(array, at, step, first, m, n)


def _plain_transpose(out, at, step, source, s_at, s_step, rows, columns):
    """Set ``out[c, r] = source[r, c]``."""
    r, c = np.arange(rows), np.arange(columns)[:, None]
    out[at + c * step + r] = source[s_at + r * s_step + c]


@micro_kernel(_plain_transpose)
def _transpose_block(lanes, out, at, step, source, s_at, s_step, _rows, _columns):
    """As many rows and columns as a vector has lanes."""
    builder = lanes.builder
    numbers = [INT64(i) for i in range(lanes.count)]
    places = [builder.add(s_at, builder.mul(s_step, i)) for i in numbers]
    columns = _transposed(lanes, [lanes.load(source, place) for place in places])
    for i, column in zip(numbers, columns, strict=True):
        lanes.store(column, out, builder.add(at, builder.mul(step, i)))


def _transposed(lanes, rows):
    """Exchange lanes h apart with rows h apart, for h = half of them, ..., 2, 1."""
    count, half = lanes.count, lanes.count // 2
    while half:
        for i in (i for i in range(count) if not i & half):
            a, b = rows[i], rows[i + half]
            low = [k if not k & half else count + k - half for k in range(count)]
            high = [k + half if not k & half else count + k for k in range(count)]
            rows[i], rows[i + half] = _shuffle(a, b, low), _shuffle(a, b, high)
        half //= 2
    return rows


def _shuffle(a, b, places):
    """Return the lanes at these places of a followed by b."""
    chosen = ir.Constant(ir.VectorType(INT32, len(places)), places)
    return Value(a.lanes, a.lanes.builder.shuffle_vector(a.ir, b.ir, chosen))


@inner
def transpose(out, at, step, source, s_at, s_step, rows, columns):
    """Set ``out[c, r] = source[r, c]``."""
    stay_apart()
    one = lane_count_of(out)
    whole, blocks = rows - rows % one, columns - columns % one
    for r in range(0, whole, one):
        for c in range(0, blocks, one):
            _transpose_block(
                *(out, at + c * step + r, step, source, s_at + r * s_step + c, s_step),
                *(one, one),
            )
    for r in range(rows):
        for c in range(0 if r >= whole else blocks, columns):
            out[at + c * step + r] = source[s_at + r * s_step + c]
