"""One token of diagonal systems: what the steps of S4D and H3 share.

Limit: memory. A step reads A, B, C and the state and writes the state; discretising A,
10 to 20 cycles per number, hides behind that where several threads work.

States are complex numbers side by side; vectors hold pairs of real and imaginary parts.
"""

import numpy as np
from llvmlite import ir

from ._discretize import discretize
from .toolkit.kernels import INT32, INT64, Value, inner, micro_kernel, use_wide_vectors
from .toolkit.rows import along

# Channels that are discretised together, and then advanced row by row: long runs of
# memory, and constants that stay in the first-level cache.
CHANNELS = 16


def _plain_turn(M, m_at, plane, x, x_at, new, new_at, u, count):
    """Set ``new = a x + b u`` and return ``Re(c new)``: see `system`.

    `count` is twice the number of states; from m_at on there are four planes in M.
    """
    i = np.arange(count)
    own, twisted = x[x_at + i], x[x_at + (i ^ 1)]
    same, other, b, c = (M[m_at + p * plane + i] for p in range(4))
    new[new_at + i] = same * own + other * twisted + b * u
    return M.dtype.type(np.sum(c * new[new_at + i]))


@micro_kernel(_plain_turn, number=True)
def turn(lanes, M, m_at, plane, x, x_at, new, new_at, u, count):
    """`_plain_turn`."""
    builder = lanes.builder
    pairs = ir.Constant(
        ir.VectorType(INT32, lanes.count), [i ^ 1 for i in range(lanes.count)]
    )

    def part(i, sums, mask):
        own = lanes.load(x, builder.add(x_at, i), mask)
        twisted = Value(lanes, builder.shuffle_vector(own.ir, own.ir, pairs))
        places = [
            builder.add(builder.add(m_at, i), builder.mul(plane, INT64(p)))
            for p in range(4)
        ]
        same, other, b, c = (lanes.load(M, place, mask) for place in places)
        value = lanes.fma(same, own, lanes.fma(other, twisted, b * u))
        lanes.store(value, new, builder.add(new_at, i), mask)
        return [lanes.fma(c, value, sums[0])]

    return lanes.total(along(lanes, count, [lanes.constant(0.0)], part)[0])


def _plain_dot(a, a_at, b, b_at, count):
    """Return the sum of the products of two rows."""
    return np.dot(a[a_at : a_at + count], b[b_at : b_at + count])


@micro_kernel(_plain_dot, number=True)
def dot(lanes, a, a_at, b, b_at, count):
    """Four sums at a time: one would wait for itself."""
    builder, size = lanes.builder, INT64(4 * lanes.count)

    def add(place, total, mask=None):
        rows = (a, a_at), (b, b_at)
        x, y = (lanes.load(X, builder.add(at, place), mask) for X, at in rows)
        return lanes.fma(x, y, total)

    def four(i, sums):
        first = builder.mul(i, size)
        places = (builder.add(first, INT64(j * lanes.count)) for j in range(4))
        return [add(place, s) for place, s in zip(places, sums, strict=True)]

    turns = builder.sdiv(count, size)
    sums = lanes.loop(turns, [lanes.constant(0.0)] * 4, four)
    done = builder.mul(turns, size)

    def part(i, total, mask):
        return [add(builder.add(done, i), total[0], mask)]

    total = (sums[0] + sums[1]) + (sums[2] + sums[3])
    return lanes.total(along(lanes, builder.sub(count, done), [total], part)[0])


def _plain_move(old, at, new, weights, w_at, count):
    """Move numbers one place on; return the sum of their products with weights."""
    own = old[at : at + count].copy()
    new[at + 1 : at + 1 + count] = own
    return np.dot(own, weights[w_at : w_at + count])


@micro_kernel(_plain_move, number=True)
def move(lanes, old, at, new, weights, w_at, count):
    """One sum per lane, then the sum of the lanes.

    The last numbers go first: both arrays often lie equally far from the beginning of
    a page, and then the processor takes a load from behind a store for one from it.
    """
    builder = lanes.builder
    target, whole = builder.add(at, INT64(1)), builder.sdiv(count, INT64(lanes.count))

    def part(i, total, mask):
        own = lanes.load(old, builder.add(at, i), mask)
        lanes.store(own, new, builder.add(target, i), mask)
        weight = lanes.load(weights, builder.add(w_at, i), mask)
        return lanes.fma(own, weight, total)

    def back(i, sums):
        i = builder.sub(whole, builder.add(i, INT64(1)))
        return [part(builder.mul(i, INT64(lanes.count)), sums[0], None)]

    done = builder.mul(whole, INT64(lanes.count))
    rest = part(done, lanes.constant(0.0), lanes.first(builder.sub(count, done)))
    return lanes.total(lanes.loop(whole, [rest], back)[0])


@inner
def system(dt, A, B, C, hold, first, last, M):
    """Fill the planes of rows `first` to `last`: what `turn` multiplies by.

    M is (4, rows, 2 state): a_re twice, -a_im and a_im, b, and 2 c conjugated. A, B and
    C have parts side by side.
    """
    state = A.shape[1] // 2
    size = (last - first) * state
    z, a, g = np.empty((2, size)), np.empty((2, size)), np.empty((2, size))
    for row in range(last - first):
        own = slice(row * state, (row + 1) * state)
        _exponents(dt[first + row], A[first + row], z[0, own], z[1, own])
    discretize(z, a, g, hold)
    for row in range(last - first):
        own = slice(row * state, (row + 1) * state)
        _decays(a[0, own], a[1, own], M[0, row], M[1, row])
        _drives(g[0, own], g[1, own], dt[first + row], B[first + row], M[2, row])
        _reads(C[first + row], M[3, row])


# Loops over arrays that begin where the loops do: Numba allows for negative indices
# wherever it cannot exclude them, and then LLVM gives up.


@inner
def _exponents(dt, A, re, im):
    use_wide_vectors()
    step = np.float64(dt)
    for n in range(len(re)):
        re[n], im[n] = step * A[2 * n], step * A[2 * n + 1]


@inner
def _decays(re, im, same, other):
    use_wide_vectors()
    for n in range(len(re)):
        same[2 * n] = same[2 * n + 1] = re[n]
        other[2 * n], other[2 * n + 1] = -im[n], im[n]


@inner
def _drives(g_re, g_im, dt, B, b):
    use_wide_vectors()
    step = np.float64(dt)
    for n in range(len(g_re)):
        re, im = step * B[2 * n], step * B[2 * n + 1]
        b[2 * n], b[2 * n + 1] = (
            g_re[n] * re - g_im[n] * im,
            g_re[n] * im + g_im[n] * re,
        )


@inner
def _reads(C, c):
    use_wide_vectors()
    for n in range(len(C) // 2):
        c[2 * n], c[2 * n + 1] = 2 * C[2 * n], -2 * C[2 * n + 1]
