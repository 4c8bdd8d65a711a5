"""The kernel of `linear.linear`: tokens times the rows of a weight, as it is stored.

Both operands are consecutive along the sum, so nothing is packed or transposed: a tile
of tokens times rows is held in registers as vectors, whose lanes are summed up at its
end. A single token is held against several rows, to have many loads under way.

Limits: few tokens read the weight once, which is memory; many tokens have 24
multiply-adds for 10 loads, of which those of the weight come from the second level of
cache, 11 bytes per multiply-add of a vector.
"""

import numpy as np
from numba import prange

from .toolkit.kernels import INT64, micro_kernel, parallel_kernel
from .toolkit.rows import along
from .toolkit.threads import launch, threads

# Tokens and rows of a tile: 24 sums, 4 rows, and a token in 29 of 32 registers; with
# 16 registers 8 sums.
TOKENS, ROWS = 6, 4
# Rows that a single token is held against.
MANY_ROWS = 8
# Bytes of the weight that a thread goes through again and again; they stay in the
# second level of the caches.
BLOCK_BYTES = 1 << 18
# Tokens of one work item: their numbers are in the third level.
BLOCK_TOKENS = 384


def product(y: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
    """Set y (tokens, outputs) to ``x weight^T + bias``; x is (tokens, inputs)."""
    tokens, outputs = y.shape
    share = -(-outputs // threads())
    rows = min(BLOCK_BYTES // max(weight[:1].nbytes, 1), share)
    rows = max(-(-rows // MANY_ROWS) * MANY_ROWS, MANY_ROWS)
    launch(_blocks, weight.size * tokens, y, x, weight, bias, rows, BLOCK_TOKENS)


def _plain_tile(y, at, step, x, x_at, w, w_at, bias, b_at, m, n, k):
    """Set y[m, n] to ``x[m, k] w[n, k]^T + bias[n]``, rows of x and w k apart."""
    i, j, s = np.arange(m)[:, None], np.arange(n), np.arange(k)
    with np.errstate(all="ignore"):
        sums = x[x_at + i * k + s] @ w[w_at + j[:, None] * k + s].T
        y[at + i * step + j] = sums + bias[b_at + j]


def _tile(lanes, tokens, rows, y, at, step, x, x_at, w, w_at, bias, b_at, m, n, k):
    """Emit a tile; tokens from m on and rows from n on repeat the last ones.

    What is repeated computes and stores the same numbers as the last: no branch.
    """
    builder = lanes.builder
    own, others = _numbers(builder, tokens, m), _numbers(builder, rows, n)
    x_places = [builder.add(x_at, builder.mul(i, k)) for i in own]
    w_places = [builder.add(w_at, builder.mul(j, k)) for j in others]

    def part(s, sums, mask):
        row = [lanes.load(w, builder.add(place, s), mask) for place in w_places]
        new = []
        for i, place in enumerate(x_places):
            token = lanes.load(x, builder.add(place, s), mask)
            before = sums[i * rows : (i + 1) * rows]
            new += [lanes.fma(token, r, t) for r, t in zip(row, before, strict=True)]
        return new

    sums = along(lanes, k, [lanes.constant(0.0)] * (tokens * rows), part)
    places = [builder.add(builder.mul(i, step), j) for i in own for j in others]
    offsets = [builder.load(builder.gep(bias, [builder.add(b_at, j)])) for j in others]
    for number, (place, value) in enumerate(zip(places, sums, strict=True)):
        result = builder.fadd(lanes.total(value), offsets[number % rows])
        builder.store(result, builder.gep(y, [builder.add(at, place)]))


def _numbers(builder, most, count):
    """Return 0, 1, ..., most - 1; none beyond the last of `count`."""
    last = builder.sub(count, INT64(1))
    inside = [builder.icmp_signed("<", INT64(i), count) for i in range(most)]
    return [builder.select(c, INT64(i), last) for i, c in enumerate(inside)]


@micro_kernel(_plain_tile)
def _wide(lanes, *arguments):
    """Up to TOKENS tokens and ROWS rows."""
    _tile(lanes, TOKENS, ROWS, *arguments)


@micro_kernel(_plain_tile)
def _single(lanes, *arguments):
    """One token, up to MANY_ROWS rows."""
    _tile(lanes, 1, MANY_ROWS, *arguments)


@parallel_kernel
def _blocks(y, x, weight, bias, block_rows, block_tokens):
    """Share blocks of rows and tokens among threads."""
    tokens, outputs, inputs = y.shape[0], y.shape[1], x.shape[1]
    across = (outputs + block_rows - 1) // block_rows
    down = (tokens + block_tokens - 1) // block_tokens
    out, numbers, rows = y.reshape(-1), x.reshape(-1), weight.reshape(-1)
    for item in prange(across * down):
        number = np.int64(item)
        first, start = number // down * block_rows, number % down * block_tokens
        end = min(start + block_tokens, tokens)
        last = min(first + block_rows, outputs)
        token = start
        while token < end:
            together = 1 if end - token < TOKENS // 2 else min(TOKENS, end - token)
            for row in range(first, last, MANY_ROWS if together == 1 else ROWS):
                tile = (
                    *(out, token * outputs + row, outputs, numbers, token * inputs),
                    *(rows, row * inputs, bias, row),
                )
                if together == 1:
                    _single(*tile, 1, min(MANY_ROWS, last - row), inputs)
                else:
                    _wide(*tile, together, min(ROWS, last - row), inputs)
            token += together
