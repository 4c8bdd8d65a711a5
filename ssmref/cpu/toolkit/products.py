"""Matrix products of tiles that lie in cache, between arbitrary strides.

A BLAS call per chunk and head costs packing, a lock and its own threads; the products
inside a scan are small, their operands are in cache already, and nothing is shared
between threads. `add_product` and `scaled_product` hold a tile of the result in
registers, which reaches the rate of fused multiply-adds that the processor has: 95 to
100 % of it where the tile divides the result and the sums have 32 terms or more.
"""

import numpy as np

from .kernels import INT64, kernel, lane_count_of, micro_kernel, stay_apart, vector_bits

# Rows and vectors of the tile in registers: 16 sums, a row of the right operand and a
# number of the left one. Two loads go with each multiply-add; more rows would need
# fewer, but would not divide the sizes of heads, states and chunks.
TILE_ROWS = 4
TILE_VECTORS = 4 if vector_bits() == 512 else 2


def _plain_tile(C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k):
    """Add A[m, k] B[k, n] to C[m, n], given offsets and steps in elements.

    C, A and B are one-dimensional; rows of B and C are consecutive numbers.
    """
    i, j, s = np.arange(m)[:, None], np.arange(n), np.arange(k)
    left = A[a_at + i * a_row + s * a_column]
    right = B[b_at + s[:, None] * b_row + j]
    with np.errstate(all="ignore"):  # kernels do not warn
        C[at + i * step + j] += (left @ right).astype(C.dtype)


def _plain_scaled_tile(
    F, f_at, f_step, C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k
):
    """Multiply row i of C by ``F[f_at + i f_step]``, then do as `_plain_tile`."""
    i, j = np.arange(m)[:, None], np.arange(n)
    C[at + i * step + j] *= F[f_at + i * f_step]
    _plain_tile(C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k)


def _tile(lanes, vectors, masked, C, at, step, A, a_at, a_row, a_column, *rest):
    """Emit the tile of TILE_ROWS by `vectors`; rows from m on repeat the last one.

    A repeated row computes and stores the same numbers as the last: no branch.
    """
    B, b_at, b_row, m, n, k, *scale = rest
    builder = lanes.builder
    mask = lanes.first(n) if masked else None
    rows = _rows(lanes, m)
    c_places = [builder.add(at, builder.mul(row, step)) for row in rows]
    a_places = [builder.mul(row, a_row) for row in rows]
    columns = [INT64(v * lanes.count) for v in range(vectors)]
    places = [builder.add(place, column) for place in c_places for column in columns]

    def body(_, values):
        a, b, sums = values[0], values[1], values[2:]
        row = [lanes.load(B, builder.add(b, c), mask) for c in columns]
        new = []
        for i, place in enumerate(a_places):
            left = lanes.broadcast(A, builder.add(a, place))
            own = sums[i * vectors : (i + 1) * vectors]
            new += [lanes.fma(left, r, s) for r, s in zip(row, own, strict=True)]
        return [builder.add(a, a_column), builder.add(b, b_row), *new]

    sums = [lanes.load(C, place, mask) for place in places]
    if scale:
        factors = _factors(lanes, rows, *scale)
        sums = [s * factors[i // vectors] for i, s in enumerate(sums)]
    sums = lanes.loop(k, [a_at, b_at, *sums], body)[2:]
    for place, value in zip(places, sums, strict=True):
        lanes.store(value, C, place, mask)


def _rows(lanes, m):
    """Return the numbers of the rows of a tile: none beyond the last of m."""
    last = lanes.builder.sub(m, INT64(1))
    inside = [lanes.builder.icmp_signed("<", INT64(i), m) for i in range(TILE_ROWS)]
    return [lanes.builder.select(c, INT64(i), last) for i, c in enumerate(inside)]


def _factors(lanes, rows, F, f_at, f_step):
    """Load what each row of a tile is to be multiplied by."""
    builder = lanes.builder
    places = [builder.add(f_at, builder.mul(row, f_step)) for row in rows]
    return [lanes.broadcast(F, place) for place in places]


@micro_kernel(_plain_tile)
def _wide_tile(lanes, *arguments):
    """Up to TILE_ROWS rows, exactly TILE_VECTORS vectors."""
    _tile(lanes, TILE_VECTORS, False, *arguments)


@micro_kernel(_plain_tile)
def _narrow_tile(lanes, *arguments):
    """Up to TILE_ROWS rows, exactly one vector."""
    _tile(lanes, 1, False, *arguments)


@micro_kernel(_plain_tile)
def _last_tile(lanes, *arguments):
    """Up to TILE_ROWS rows, less than a vector."""
    _tile(lanes, 1, True, *arguments)


@micro_kernel(_plain_scaled_tile)
def _wide_scaled_tile(lanes, F, f_at, f_step, *arguments):
    """`_wide_tile` on scaled rows."""
    _tile(lanes, TILE_VECTORS, False, *arguments, F, f_at, f_step)


@micro_kernel(_plain_scaled_tile)
def _narrow_scaled_tile(lanes, F, f_at, f_step, *arguments):
    """`_narrow_tile` on scaled rows."""
    _tile(lanes, 1, False, *arguments, F, f_at, f_step)


@micro_kernel(_plain_scaled_tile)
def _last_scaled_tile(lanes, F, f_at, f_step, *arguments):
    """`_last_tile` on scaled rows."""
    _tile(lanes, 1, True, *arguments, F, f_at, f_step)


@kernel
def add_product(C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k):
    """Add A[m, k] B[k, n] to C[m, n]: offsets and steps as in `_plain_tile`.

    All three are one-dimensional views. Row i of C begins at ``at + i step``, element
    (i, s) of A lies at ``a_at + i a_row + s a_column``, row s of B at
    ``b_at + s b_row``.
    """
    stay_apart()
    one = lane_count_of(C)
    wide = TILE_VECTORS * one
    for i in range(0, m, TILE_ROWS):
        rows = min(TILE_ROWS, m - i)
        c, a = at + i * step, a_at + i * a_row
        j = 0
        while n - j >= wide:
            _wide_tile(
                *(C, c + j, step, A, a, a_row, a_column, B, b_at + j, b_row),
                *(rows, wide, k),
            )
            j += wide
        while n - j >= one:
            _narrow_tile(
                *(C, c + j, step, A, a, a_row, a_column, B, b_at + j, b_row),
                *(rows, one, k),
            )
            j += one
        if j < n:
            _last_tile(
                *(C, c + j, step, A, a, a_row, a_column, B, b_at + j, b_row),
                *(rows, n - j, k),
            )


@kernel
def scaled_product(
    F, f_at, f_step, C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k
):
    """Multiply row i of C by ``F[f_at + i f_step]``, then do as `add_product`."""
    stay_apart()
    one = lane_count_of(C)
    wide = TILE_VECTORS * one
    for i in range(0, m, TILE_ROWS):
        rows = min(TILE_ROWS, m - i)
        f, c, a = f_at + i * f_step, at + i * step, a_at + i * a_row
        j = 0
        while n - j >= wide:
            _wide_scaled_tile(
                *(F, f, f_step, C, c + j, step, A, a, a_row, a_column),
                *(B, b_at + j, b_row, rows, wide, k),
            )
            j += wide
        while n - j >= one:
            _narrow_scaled_tile(
                *(F, f, f_step, C, c + j, step, A, a, a_row, a_column),
                *(B, b_at + j, b_row, rows, one, k),
            )
            j += one
        if j < n:
            _last_scaled_tile(
                *(F, f, f_step, C, c + j, step, A, a, a_row, a_column),
                *(B, b_at + j, b_row, rows, n - j, k),
            )
