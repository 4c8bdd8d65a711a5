"""The selective scan over packed sequences: blocks of channels, tiles of tokens.

Work is divided by pieces (sequences, or stretches of them) and blocks of channels. A
block goes through its piece tile by tile: for each vector of channels, step sizes and
drives are computed into buffers, all states run through the tokens of the tile, a few
at a time, in registers, and outputs are written; meanwhile the next tile is fetched.
Buffers depend on the numbers of states and tokens per tile, not on the length.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._lanes import kernel, lane_count_of, parallel_kernel
from ._mamba1_tiles import advance, advance_complex, advance_real, begin, end
from ._math import LOG2_E

LINE = 64  # bytes of a line of the cache
# Where |dt A log2(e)| is smaller, decays take the short way.
MODERATE = 126.0


class Inputs(NamedTuple):
    """What a scan reads.

    u, dt, z: (tokens, channels), flattened. D, bias: (channels). A: (channels, state,
    parts). B, C: (tokens, groups, state, parts), where constant (1, channels, state,
    parts). Parts are real, or real and imaginary. What an option excludes is any array.
    """

    u: Any
    dt: Any
    z: Any
    A: Any
    B: Any
    C: Any
    D: Any
    bias: Any


class Plan(NamedTuple):
    """How a scan is divided, and its options (1 or 0)."""

    width: int  # channels of a block
    tokens: int  # of a tile
    share: int  # channels of a group, of which a block is a part
    fixed_b: int
    fixed_c: int
    softplus: int
    skip: int
    gated: int
    whole: int  # 0: find the last states and the sums of dt only


class Tile(NamedTuple):
    """The buffers of a thread: states and rates of a block, tokens of a vector."""

    h: Any
    A: Any
    dt: Any
    dx: Any
    y: Any
    top: Any
    B: Any
    C: Any


class Block(NamedTuple):
    """Some channels of one piece."""

    piece: int
    start: int
    stop: int
    group: int
    first: int
    channels: int


@kernel
def _aligned(size, like):
    """Return zeros that begin with a line of the cache: no vector lies on two."""
    room = np.zeros(size + LINE // like.itemsize, like.dtype)
    first = -room.ctypes.data % LINE // like.itemsize
    return room[first : first + size]


@kernel
def _buffers(like, plan, states, parts):
    lanes = lane_count_of(like)
    vectors = -(-plan.width // lanes)
    state, tokens = parts * states * vectors * lanes, plan.tokens * lanes
    wide = 0 if _is_shared(plan, parts) else max(state, parts * states * tokens)
    return Tile(
        _aligned(state, like),
        _aligned(state, like),
        _aligned(tokens, like),
        _aligned(tokens, like),
        _aligned(tokens, like),
        _aligned(lanes, like),
        _aligned(wide, like),
        _aligned(wide, like),
    )


@kernel
def _is_shared(plan, parts):
    """Return whether B and C are numbers that the channels of a block share."""
    return parts == 1 and not (plan.fixed_b or plan.fixed_c)


# What lies per channel and state, (channels, state, parts), lies in buffers vector by
# vector, part by part, state by state.


@kernel
def _load(target, source, first, channels, parts, lanes):
    """Write a block of channels to a buffer; parts that are missing stay 0."""
    _, states, given = source.shape
    for j in range(0, channels, lanes):
        for lane in range(min(lanes, channels - j)):
            for p in range(given):
                place = (j * parts + p * lanes) * states + lane
                for n in range(states):
                    target[place + n * lanes] = source[first + j + lane, n, p]


@kernel
def _store(target, source, first, channels, lanes):
    """Write the states of a block of channels from a buffer."""
    _, states, parts = target.shape
    for j in range(0, channels, lanes):
        for lane in range(min(lanes, channels - j)):
            for p in range(parts):
                place = (j * parts + p * lanes) * states + lane
                for n in range(states):
                    target[first + j + lane, n, p] = source[place + n * lanes]


@kernel
def _load_rates(tile, A, block, parts):
    """Load A, its real part times log2(e); return the largest of that, or infinity."""
    lanes, states = len(tile.top), A.shape[1]
    tile.A[:] = 0
    _load(tile.A, A, block.first, block.channels, parts, lanes)
    factor, largest = A.dtype.type(LOG2_E), A.dtype.type(0)
    for first in range(0, len(tile.A), parts * states * lanes):
        for place in range(first, first + states * lanes):
            tile.A[place] *= factor
            size = abs(tile.A[place])
            if not size <= largest:
                largest = size if size < np.inf else A.dtype.type(np.inf)
    return largest


# B and C as vectors, where they are constant or complex


@kernel
def _spread(wide, X, constant, plan, block, start, parts, factor):
    """Write B or C of a tile as vectors of one number; constant ones as they are."""
    lanes, (_, groups, states, given) = lane_count_of(wide), X.shape
    if constant:
        if start == block.start:
            _load(wide, X[0], block.first, block.channels, parts, lanes)
            wide *= factor
        return
    group = min(block.group, groups - 1)
    for t in range(min(plan.tokens, block.stop - start)):
        for n in range(states):
            for p in range(given):
                place = ((p * states + n) * plan.tokens + t) * lanes
                wide[place : place + lanes] = X[start + t, group, n, p] * factor


@kernel
def _spread_both(tile, inputs, plan, block, start, parts):
    """Prepare B and C; twice C where states are complex: one of each pair is stored."""
    one = inputs.u.dtype.type(1)
    _spread(tile.B, inputs.B, plan.fixed_b, plan, block, start, parts, one)
    _spread(tile.C, inputs.C, plan.fixed_c, plan, block, start, parts, one * parts)


@kernel
def _steps(constant, plan, lanes):
    """Return how far states and tokens lie apart in what `_spread` wrote."""
    return (lanes, 0) if constant else (plan.tokens * lanes, lanes)


# Blocks


@kernel
def _largest(top):
    largest = top[0]
    for size in top:
        largest = max(largest, size)
    return largest


@kernel
def _on_two_lines(u, dt, y, stride):
    """Return 1 where vectors may begin within lines of the cache, else 0.

    NumPy begins large arrays 16 bytes after a line.
    """
    places = u.ctypes.data | dt.ctypes.data | y.ctypes.data | stride * u.itemsize
    return 1 if places % LINE else 0


@kernel
def _add_steps(elapsed, dt, lanes, tokens):
    for t in range(tokens):
        for j in range(len(elapsed)):
            elapsed[j] += dt[t * lanes + j]


@kernel
def _scan_shared(inputs, tile, plan, block, largest, elapsed, y):
    """Run a block through its tokens; its channels share numbers B and C.

    Arrays have names of their own here and go straight into micro-kernels: to take one
    out of a tuple counts a reference, at the price of a dozen updates.
    """
    u, raw, z, A, B, C, D, bias = inputs
    h, rates, dt, dx, out, top, _, _ = tile
    stride, states, lanes = A.shape[0], A.shape[1], len(top)
    b_row, c_row = B.shape[1] * states, C.shape[1] * states
    b_group = min(block.group, B.shape[1] - 1) * states
    c_group = min(block.group, C.shape[1] - 1) * states
    vectors, target = -(-block.channels // lanes), y if plan.whole else u
    lines = vectors + _on_two_lines(u, raw, target, stride)
    for start in range(block.start, block.stop, plan.tokens):
        tokens = min(plan.tokens, block.stop - start)
        later = start + tokens if start + tokens < block.stop else start
        for vector in range(vectors):
            inside, at = vector * lanes, vector * states * lanes
            channel, some = block.first + inside, min(lanes, block.channels - inside)
            here, row = start * stride + channel, vector * tokens * lines // vectors
            begin(
                *(top, dt, dx, out, raw, u, here, stride, tokens, bias, D, channel),
                *(some, plan.softplus, plan.skip),
            )
            row, line = later + row // lines, row % lines
            moderate = 1 if largest * _largest(top) < MODERATE else 0
            advance(
                *(h, rates, at, states, dt, dx, out, tokens),
                *(B, start * b_row + b_group, b_row, C, start * c_row + c_group, c_row),
                *(moderate, u, raw, z, target),
                *(row * stride + block.first, line, lines, stride),
            )
            if plan.whole:
                end(y, here, stride, tokens, out, some, z, plan.gated)
            else:
                _add_steps(elapsed[channel : channel + some], dt, lanes, tokens)


@kernel
def _scan_wide(inputs, tile, plan, block, parts, elapsed, y):
    """Run a block through its tokens; B or C is constant, or states are complex."""
    u, raw, z, A, _, _, D, bias = inputs
    h, rates, dt, dx, out, top, B, C = tile
    stride, states, lanes = A.shape[0], A.shape[1], len(top)
    b_state, b_row = _steps(plan.fixed_b, plan, lanes)
    c_state, c_row = _steps(plan.fixed_c, plan, lanes)
    for start in range(block.start, block.stop, plan.tokens):
        tokens = min(plan.tokens, block.stop - start)
        _spread_both(tile, inputs, plan, block, start, parts)
        for inside in range(0, block.channels, lanes):
            channel, some = block.first + inside, min(lanes, block.channels - inside)
            here, at = start * stride + channel, inside * parts * states
            begin(
                *(top, dt, dx, out, raw, u, here, stride, tokens, bias, D, channel),
                *(some, plan.softplus, plan.skip),
            )
            b, c = at * plan.fixed_b, at * plan.fixed_c
            if parts == 1:
                advance_real(
                    *(h, rates, at, states, dt, dx, out, tokens),
                    *(B, b, b_state, b_row, C, c, c_state, c_row),
                )
            else:
                advance_complex(
                    *(h, rates, at, states, dt, dx, out, tokens),
                    *(B, b, b_state, b_row, C, c, c_state, c_row),
                )
            if plan.whole:
                end(y, here, stride, tokens, out, some, z, plan.gated)
            else:
                _add_steps(elapsed[channel : channel + some], dt, lanes, tokens)


@kernel
def _scan_block(inputs, tile, plan, block, h, elapsed, y):
    """Scan some channels of a piece from the states in h, which become the last."""
    lanes, parts = len(tile.top), h.shape[3]
    largest = _load_rates(tile, inputs.A, block, parts)
    _load(tile.h, h[block.piece], block.first, block.channels, parts, lanes)
    if _is_shared(plan, parts):
        own = elapsed[block.piece]
        _scan_shared(inputs, tile, plan, block, largest, own, y)
    else:
        _scan_wide(inputs, tile, plan, block, parts, elapsed[block.piece], y)
    _store(h[block.piece], tile.h, block.first, block.channels, lanes)


@kernel
def scan_share(inputs, plan, starts, stops, h, elapsed, y, worker, workers):
    """Scan every block whose turn is that of this worker.

    Piece i are the tokens ``starts[i]:stops[i]``, row i of h (pieces, channels, state,
    parts) its states, row i of `elapsed` (pieces, channels) its sums of dt.
    """
    per_group = -(-plan.share // plan.width)
    blocks = inputs.A.shape[0] // plan.share * per_group
    tile = _buffers(inputs.u, plan, h.shape[2], h.shape[3])
    for item in range(worker, len(starts) * blocks, workers):
        piece, place = item // blocks, item % blocks
        group, inside = place // per_group, place % per_group * plan.width
        block = Block(
            *(piece, starts[piece], stops[piece], group),
            *(group * plan.share + inside, min(plan.width, plan.share - inside)),
        )
        if block.start < block.stop:
            _scan_block(inputs, tile, plan, block, h, elapsed, y)


@parallel_kernel
def scan_in_parallel(inputs, plan, starts, stops, h, elapsed, y, workers):
    """Scan with so many threads; their shares are the same from run to run."""
    for worker in prange(workers):
        scan_share(inputs, plan, starts, stops, h, elapsed, y, worker, workers)
