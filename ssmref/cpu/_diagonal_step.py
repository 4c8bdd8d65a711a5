"""One token of diagonal systems: what the steps of S4D and H3 share.

Limit: memory. A step reads A, B, C and the state and writes the state; discretising A,
10 to 20 cycles per number, hides behind that where several threads work.

States are complex numbers side by side; vectors hold pairs of real and imaginary parts.
"""

import numpy as np
from llvmlite import ir

from ._discretize import discretize
from .toolkit.kernels import (
    INT32,
    INT64,
    Value,
    inner,
    micro_kernel,
    use_wide_vectors,
)
from .toolkit.rows import along, scale_rows

# Channels that an item advances row by row, at most: long runs of memory, while what
# they are multiplied by stays in the second-level cache. Their systems are found for so
# many at a time, in the first-level cache.
CHANNELS, SYSTEMS = 64, 8


def channels_at_once(channels):
    """Return how many channels an item has: there are 8 items if that is possible."""
    return max(SYSTEMS, min(CHANNELS, -(-channels // 8)))


def _plain_turn_rows(
    M, m_at, m_step, plane, old, new, at, u, u_at, y, y_at, sums, ranks, rows, count, _
):
    """Set ``new = a x + b u - sum_r g_r Re(f_r x)`` and ``y = Re(c new)``, row by row.

    Rows of states have `count` real numbers and lie behind each other from `at` on. M
    has what they are multiplied by: from m_at on for the first row, `m_step` numbers
    further for each other one, and `plane` numbers apart the planes of `system`, then
    g and then f of each rank. `sums` holds a number per rank on the way. The last
    argument says where states will be needed soon.
    """
    i = np.arange(count)
    for row in range(rows):
        x, place = old[at + row * count + i], m_at + row * m_step
        twisted = x[i ^ 1]
        same, other, b, c, *low = (
            M[place + p * plane + i] for p in range(4 + 2 * ranks)
        )
        value = same * x + other * twisted + b * u[u_at + row]
        for r in range(ranks):
            sums[r] = np.sum(low[ranks + r] * x)
            value -= low[r] * sums[r]
        new[at + row * count + i] = value
        y[y_at + row] = np.sum(c * value)


@micro_kernel(_plain_turn_rows)
def turn_rows(
    lanes, M, m_at, m_step, plane, old, new, at, u, u_at, y, y_at, sums, ranks, rows,
    count, soon
):  # fmt: skip
    """Vector by vector: first what is read for the ranks, then the new state."""
    builder, add, mul = lanes.builder, lanes.builder.add, lanes.builder.mul

    def one_row(row, _):
        here, m_row = add(at, mul(row, count)), add(m_at, mul(row, m_step))
        later = add(soon, mul(row, count))
        drive = lanes.broadcast(u, add(u_at, row))

        def from_plane(p, i, mask):
            return lanes.load(M, add(add(m_row, i), mul(plane, p)), mask)

        def turn(i, total, mask):
            lanes.prefetch(old, add(later, i))
            lanes.prefetch(new, add(later, i))
            own = lanes.load(old, add(here, i), mask)
            same, other, b, c = (from_plane(INT64(p), i, mask) for p in range(4))
            value = lanes.fma(same, own, lanes.fma(other, _swapped(own), b * drive))

            def subtract(r, values):
                g = from_plane(add(INT64(4), r), i, mask)
                less = lanes.constant(0.0) - lanes.broadcast(sums, r)
                return [lanes.fma(g, less, values[0])]

            (value,) = lanes.loop(ranks, [value], subtract)
            lanes.store(value, new, add(here, i), mask)
            return [lanes.fma(c, value, total[0])]

        _read_ranks(lanes, from_plane, old, here, sums, ranks, count)
        (total,) = along(lanes, count, [lanes.constant(0.0)], turn)
        builder.store(lanes.total(total), builder.gep(y, [add(y_at, row)]))
        return []

    lanes.loop(rows, [], one_row)


def _read_ranks(lanes, from_plane, old, here, sums, ranks, count):
    """Emit the products of a state with f of each rank."""
    builder = lanes.builder

    def one_rank(r, _):
        number = builder.add(INT64(4), builder.add(ranks, r))

        def part(i, total, mask):
            x = lanes.load(old, builder.add(here, i), mask)
            return [lanes.fma(from_plane(number, i, mask), x, total[0])]

        (total,) = along(lanes, count, [lanes.constant(0.0)], part)
        builder.store(lanes.total(total), builder.gep(sums, [r]))
        return []

    lanes.loop(ranks, [], one_rank)


def _swapped(pairs):
    """Exchange real and imaginary parts."""
    lanes = pairs.lanes
    places = ir.VectorType(INT32, lanes.count)
    swapped = ir.Constant(places, [i ^ 1 for i in range(lanes.count)])
    return Value(lanes, lanes.builder.shuffle_vector(pairs.ir, pairs.ir, swapped))


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


def _plain_move(old, new, at, weights, w_at, keys, shifted, j, rows, count, _):
    """Move rows of numbers one place on and put keys in front.

    The products of the new rows with those of `weights` are summed in `shifted`.
    """
    for row in range(rows):
        own = slice(at + row * count, at + (row + 1) * count)
        moved = np.append(keys[j + row], old[own][:-1])
        new[own] = moved
        taps = weights[w_at + row * count : w_at + (row + 1) * count]
        shifted[j + row] = np.dot(moved, taps)


@micro_kernel(_plain_move)
def move(lanes, old, new, at, weights, w_at, keys, shifted, j, rows, count, soon):
    """What leaves a vector enters the next one: all are stored where others were."""
    builder, add, mul = lanes.builder, lanes.builder.add, lanes.builder.mul
    places = list(range(lanes.count - 1, 2 * lanes.count - 1))
    behind = ir.Constant(ir.VectorType(INT32, lanes.count), places)

    def one_row(row, _):
        first = mul(row, count)
        here, later = add(at, first), add(soon, first)

        def part(i, values, mask):
            lanes.prefetch(old, add(later, i))
            lanes.prefetch(new, add(later, i))
            before, total = values
            own = lanes.load(old, add(here, i), mask)
            moved = Value(lanes, builder.shuffle_vector(before.ir, own.ir, behind))
            lanes.store(moved, new, add(here, i), mask)
            weight = lanes.load(weights, add(add(w_at, first), i), mask)
            # The last key leaves the row: whatever it is meets no weight.
            known = moved if mask is None else lanes.select(mask, moved, 0.0)
            return [own, lanes.fma(known, weight, total)]

        place = add(j, row)
        start = [lanes.broadcast(keys, place), lanes.constant(0.0)]
        _, total = along(lanes, count, start, part)
        builder.store(lanes.total(total), builder.gep(shifted, [place]))
        return []

    lanes.loop(rows, [], one_row)


def _plain_combine(out, at, keep, source, s_at, factors, f_at, m, n):
    """Set m rows of n numbers to others times a factor each, or add if `keep`."""
    rows = slice(at, at + m * n)
    scaled = source[s_at : s_at + m * n] * np.repeat(factors[f_at : f_at + m], n)
    out[rows] = out[rows] + scaled if keep else scaled


@micro_kernel(_plain_combine)
def combine(lanes, out, at, keep, source, s_at, factors, f_at, m, n):
    """Row by row."""
    builder, add = lanes.builder, lanes.builder.add

    def row(r, _):
        first, factor = builder.mul(r, n), lanes.broadcast(factors, add(f_at, r))
        to, place = add(at, first), add(s_at, first)

        def part(i, _, mask):
            before = lanes.load(out, add(to, i), mask)
            before = lanes.select(
                builder.icmp_signed("!=", keep, INT64(0)), before, 0.0
            )
            own = lanes.load(source, add(place, i), mask)
            lanes.store(lanes.fma(own, factor, before), out, add(to, i), mask)
            return []

        return along(lanes, n, [], part)

    lanes.loop(m, [], row)


@inner
def add_skip(y, D, u):
    """Add D u."""
    use_wide_vectors()
    for c in range(len(D)):
        y[c] += D[c] * u[c]


@inner
def system(dt, A, B, C, hold, first, last, M):
    """Fill the planes of rows `first` to `last`: what `turn_rows` multiplies by.

    M is (4, rows times 2 state): a_re twice, -a_im and a_im, b, and 2 c conjugated. A,
    B and C have parts side by side.
    """
    size, most = A.shape[1], min(SYSTEMS, last - first)
    work, steps = np.empty((6, most * size // 2)), np.empty(most)
    for row in range(first, last, SYSTEMS):
        stop = min(row + SYSTEMS, last)
        for d in range(row, stop):
            steps[d - row] = dt[d]
        parameters = slice(row * size, stop * size)
        own = slice((row - first) * size, (stop - first) * size)
        _system(
            *(steps[: stop - row], A.ravel()[parameters], B.ravel()[parameters]),
            *(C.ravel()[parameters], hold, work),
            *(M[0][own], M[1][own], M[2][own], M[3][own]),
        )


@inner
def _system(steps, A, B, C, hold, work, same, other, b, c):
    """Find a and b in double precision, and round them."""
    count, plane = len(A) // 2, work.shape[1]
    split(A, work[0], work[1])
    scale_planes(work.ravel(), 0, plane, steps, count // len(steps))
    discretize(work[0:2], work[2:4], work[4:6], hold)
    scale_planes(work.ravel(), 4 * plane, plane, steps, count // len(steps))
    decays(work[2], work[3], same, other)
    _drives(work[4], work[5], B, b)
    _reads(C, c)


@inner
def scale_planes(planes, at, plane, factors, n):
    """Multiply rows of n numbers of two planes by a factor each."""
    m = len(factors)
    for part in range(2):
        place = at + part * plane
        _ = scale_rows(planes, place, n, planes, place, n, factors, 0, m, n)


# Loops over arrays that begin where the loops do: Numba allows for negative indices
# wherever it cannot exclude them, and then LLVM gives up.


@inner
def split(pairs, re, im):
    """Part numbers whose parts lie side by side."""
    use_wide_vectors()
    for n in range(len(pairs) // 2):
        re[n], im[n] = pairs[2 * n], pairs[2 * n + 1]


@inner
def decays(re, im, same, other):
    """Fill two planes: real parts twice, imaginary parts with both signs."""
    use_wide_vectors()
    for n in range(len(same) // 2):
        same[2 * n] = same[2 * n + 1] = re[n]
        other[2 * n], other[2 * n + 1] = -im[n], im[n]


@inner
def _drives(g_re, g_im, B, b):
    use_wide_vectors()
    for n in range(len(b) // 2):
        re, im = np.float64(B[2 * n]), np.float64(B[2 * n + 1])
        b[2 * n], b[2 * n + 1] = (
            g_re[n] * re - g_im[n] * im,
            g_re[n] * im + g_im[n] * re,
        )


@inner
def _reads(C, c):
    use_wide_vectors()
    for n in range(len(C) // 2):
        c[2 * n], c[2 * n + 1] = 2 * C[2 * n], -2 * C[2 * n + 1]
