"""Products of rows with rows: what is read by many has its terms in a row already.

``A B^T`` where the terms of a sum lie side by side in both, as parameters and the rows
of a batch do in a step. A tile of sums stays in registers, each in a vector of partial
sums; a tree of shuffles adds those up, all of the tile at once: 3 instructions per sum,
where one sum for itself needs 2 log2(lanes).
"""

import numpy as np
from llvmlite import ir

from .toolkit.kernels import INT32, INT64, Value, micro_kernel, vector_bits
from .toolkit.rows import along

# Rows of A and of B that a tile has: its sums fill half of the registers.
TILE_LEFT = 4 if vector_bits() == 512 else 2
TILE_RIGHT = 4


def _plain_tile(out, at, step, A, a_at, a_step, m, B, b_at, b_step, n, k):
    """Set ``out[i, j]`` to the sum of k products of row i of A and row j of B.

    All sums of a tile are written, at `at` with `step` numbers from row to row; those
    of rows from m or n on are the last one's.
    """
    i, j = np.arange(TILE_LEFT)[:, None], np.arange(TILE_RIGHT)
    left = A[a_at + np.minimum(i, m - 1) * a_step + np.arange(k)]
    right = B[b_at + np.minimum(j, n - 1)[:, None] * b_step + np.arange(k)]
    with np.errstate(all="ignore"):  # kernels do not warn
        out[at + i * step + j] = left @ right.T


@micro_kernel(_plain_tile)
def product_tile(lanes, out, at, step, A, a_at, a_step, m, B, b_at, b_step, n, k):
    """Term by term, then the tree."""
    builder = lanes.builder
    lefts = _places(builder, TILE_LEFT, a_at, a_step, m)
    rights = _places(builder, TILE_RIGHT, b_at, b_step, n)

    def part(c, sums, mask):
        left = [lanes.load(A, builder.add(place, c), mask) for place in lefts]
        right = [lanes.load(B, builder.add(place, c), mask) for place in rights]
        pairs = [(a, b) for a in left for b in right]
        return [lanes.fma(a, b, s) for (a, b), s in zip(pairs, sums, strict=True)]

    zeros = [lanes.constant(0.0)] * (TILE_LEFT * TILE_RIGHT)
    sums = along(lanes, k, zeros, part)
    store_sums(lanes, sums, out, at, step)


def store_sums(lanes, sums, out, at, step):
    """Store the totals of the sums of a tile, which fill whole vectors, row by row."""
    for first in range(0, len(sums), lanes.count):
        total = _totals(lanes, sums[first : first + lanes.count])
        _store_rows(lanes, total.ir, out, at, step, first)


def _store_rows(lanes, total, out, at, step, first):
    """Store sums of a tile from number `first` on, row by row."""
    builder, width = lanes.builder, min(TILE_RIGHT, lanes.count)
    for i in range(0, lanes.count, width):
        row, column = divmod(first + i, TILE_RIGHT)
        own = ir.Constant(ir.VectorType(INT32, width), list(range(i, i + width)))
        some = builder.shuffle_vector(total, total, own)
        place = builder.add(
            at, builder.add(builder.mul(step, INT64(row)), INT64(column))
        )
        pointer = builder.gep(out, [place])
        pointer = builder.bitcast(pointer, some.type.as_pointer())
        builder.store(some, pointer, align=np.dtype(lanes.dtype).itemsize)


def _places(builder, count, at, step, rows):
    """Return where rows begin; those that do not exist are the last one."""
    last = builder.sub(rows, INT64(1))
    numbers = (INT64(i) for i in range(count))
    inside = ((i, builder.icmp_signed("<", i, last)) for i in numbers)
    own = [builder.select(exists, i, last) for i, exists in inside]
    return [builder.add(at, builder.mul(i, step)) for i in own]


def _totals(lanes, vectors):
    """Return the sums of vectors, 1, 2, 4 or as many as lanes, in one of them.

    Lane by lane as in a transposition: halves of two vectors are added to the others.
    Sum i is in all lanes from i times lanes by vectors on.
    """
    half = lanes.count // 2
    while half:
        if len(vectors) > 1:
            pairs = zip(*_halves(vectors), strict=True)
            vectors = [_fold(lanes, a, b, half) for a, b in pairs]
        else:
            own = vectors[0]
            vectors = [own + _shuffle(own, own, [i ^ half for i in range(lanes.count)])]
        half //= 2
    return vectors[0]


def _halves(vectors):
    return vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :]


def store_totals(lanes, vectors, out, at):
    """Store the sums of vectors side by side."""
    builder, step = lanes.builder, lanes.count // len(vectors)
    total = _totals(lanes, vectors).ir
    own = ir.Constant(
        ir.VectorType(INT32, len(vectors)), list(range(0, lanes.count, step))
    )
    some = builder.shuffle_vector(total, total, own)
    place = builder.bitcast(builder.gep(out, [at]), some.type.as_pointer())
    builder.store(some, place, align=np.dtype(lanes.dtype).itemsize)


def _fold(lanes, a, b, half):
    """Add lanes `half` apart: sums of a where that bit of their number is not set."""
    count = lanes.count
    low = [k if not k & half else count + k - half for k in range(count)]
    high = [k + half if not k & half else count + k for k in range(count)]
    return _shuffle(a, b, low) + _shuffle(a, b, high)


def _shuffle(a, b, places):
    chosen = ir.Constant(ir.VectorType(INT32, len(places)), places)
    return Value(a.lanes, a.lanes.builder.shuffle_vector(a.ir, b.ir, chosen))
