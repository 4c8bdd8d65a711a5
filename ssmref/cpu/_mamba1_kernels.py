"""The selective scan over packed sequences: tiles of channels and tokens.

Work is divided by pieces (sequences, or stretches of them) and blocks of channels. A
block goes through its piece in tiles: the step sizes and drives of a tile are computed
into buffers, then each vector of channels runs through the tokens once for every few
states, which stay in registers; meanwhile the next tile is fetched. Buffers take a few
hundred kilobytes per thread, whatever the length.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._lanes import kernel, lane_count_of, parallel_kernel
from ._mamba1_tiles import (
    TOGETHER,
    advance_any,
    advance_complex,
    advance_moderate,
    advance_one_any,
    advance_one_moderate,
    advance_real,
    begin,
    begin_softplus,
    end,
    end_gated,
)
from ._math import LOG2_E

LINE = 64
# Within this bound of dt A log2(e) decays take the short way.
MODERATE = 126.0


class Inputs(NamedTuple):
    """What a scan reads; what is absent has size 0, but `bias`, which is zeros.

    u, dt, z and D, bias: (tokens, channels) and (channels), flattened. A: (channels,
    state, parts). B, C: (tokens, groups, state, parts), where constant (1, channels,
    state, parts). Parts are real, or real and imaginary.
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
    """How a scan is divided, and its options."""

    width: int  # channels of a block, a multiple of the lanes
    tokens: int  # of a tile
    share: int  # channels of a group, of which a block is a part
    constant_B: bool
    constant_C: bool
    softplus: bool
    whole: bool  # False: find final states and the sums of dt, write no outputs


class Tile(NamedTuple):
    """The buffers of a thread: states and rates of a block, a tile of one vector."""

    A: Any
    h: Any
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
def _is_shared(plan, parts):
    """Return whether B and C are numbers that the channels of a block share."""
    return parts == 1 and not (plan.constant_B or plan.constant_C)


@kernel
def _aligned(size, like):
    """Return zeros that begin with a line of the cache: no vector lies on two."""
    room = np.zeros(size + LINE // like.itemsize, like.dtype)
    first = -room.ctypes.data % LINE // like.itemsize
    return room[first : first + size]


@kernel
def _buffers(inputs, plan, parts):
    states, lanes = inputs.A.shape[1], lane_count_of(inputs.u)
    state, tokens = parts * states * plan.width, plan.tokens * lanes
    like = inputs.u
    wide = parts * states * max(plan.width, tokens)
    wide = 0 if _is_shared(plan, parts) else wide
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
def _place(j, n, part, states, parts, lanes):
    """Return where state n of channel j of the block lies: vector by vector."""
    vector, lane = j // lanes, j % lanes
    return ((vector * parts + part) * states + n) * lanes + lane


@kernel
def _load_rates(A, tile, block, parts):
    """Turn rates state by state, real parts times log2(e); return the largest."""
    largest, lanes, states = A.dtype.type(0), len(tile.top), A.shape[1]
    for j in range(block.channels):
        for n in range(states):
            rate = A[block.first + j, n, 0] * A.dtype.type(LOG2_E)
            tile.A[_place(j, n, 0, states, parts, lanes)] = rate
            if not abs(rate) <= largest:
                largest = abs(rate) if abs(rate) < np.inf else A.dtype.type(np.inf)
            if A.shape[2] == 2:
                rate = A[block.first + j, n, 1]
                tile.A[_place(j, n, 1, states, parts, lanes)] = rate
    return largest


@kernel
def _load_states(h, tile, block):
    _, _, states, parts = h.shape
    for j in range(block.channels):
        for n in range(states):
            for p in range(parts):
                place = _place(j, n, p, states, parts, len(tile.top))
                tile.h[place] = h[block.piece, block.first + j, n, p]


@kernel
def _store_states(h, tile, block):
    _, _, states, parts = h.shape
    for j in range(block.channels):
        for n in range(states):
            for p in range(parts):
                place = _place(j, n, p, states, parts, len(tile.top))
                h[block.piece, block.first + j, n, p] = tile.h[place]


@kernel
def _begin(inputs, tile, plan, start, tokens, channel, channels):
    """Compute dt, dt u and D u of a tile; return the largest |dt|."""
    total = inputs.A.shape[0]
    skip = 1 if plan.whole and inputs.D.size > 0 else 0
    D = inputs.D if inputs.D.size > 0 else inputs.bias
    arguments = (
        *(tile.top, tile.dt, tile.dx, tile.y, inputs.dt, inputs.u),
        *(start * total + channel, total, tokens),
        *(inputs.bias, D, skip, channel, channels),
    )
    if plan.softplus:
        begin_softplus(*arguments)
    else:
        begin(*arguments)
    return tile.top.max()


@kernel
def _end(inputs, tile, start, tokens, channel, channels, y):
    """Gate and write the outputs of a tile."""
    total = inputs.A.shape[0]
    at = start * total + channel
    if inputs.z.size > 0:
        end_gated(y, at, total, tokens, tile.y, channels, inputs.z)
    else:
        end(y, at, total, tokens, tile.y, channels)


@kernel
def _advance_shared(inputs, tile, block, start, tokens, vector, moderate):
    """Run a vector through a tile; B and C are the same for all its channels.

    The first passes fetch u and dt of the whole block's next tile, each a part.
    """
    channels, states, _ = inputs.A.shape
    lanes = len(tile.top)
    B, C = inputs.B.reshape(-1), inputs.C.reshape(-1)
    b_row, c_row = inputs.B.shape[1] * states, inputs.C.shape[1] * states
    b = start * b_row + min(block.group, inputs.B.shape[1] - 1) * states
    c = start * c_row + min(block.group, inputs.C.shape[1] - 1) * states
    later = start + tokens if start + tokens < block.stop else start
    lines = -(-block.channels // lanes)
    later, line = later + vector * tokens // lines, vector * tokens % lines
    ahead = later * channels + block.first
    whole, n = states - states % TOGETHER, 0
    while n < states:
        near = inputs.z if n > 0 and inputs.z.size > 0 else inputs.u
        arguments = (
            *(tile.h, tile.A, (vector * states + n) * lanes, tile.dt, tile.dx, tile.y),
            *(tokens, B, b + n, b_row, C, c + n, c_row),
            *(near, inputs.dt, ahead, line, lines, channels),
        )
        if n < whole:
            if moderate:
                advance_moderate(*arguments)
            else:
                advance_any(*arguments)
            n += TOGETHER
        else:
            if moderate:
                advance_one_moderate(*arguments)
            else:
                advance_one_any(*arguments)
            n += 1


@kernel
def _spread_constant(X, wide, block, parts, factor):
    """Write constant B or C as vectors, like states."""
    states, lanes = X.shape[2], lane_count_of(wide)
    for j in range(block.channels):
        for n in range(states):
            for p in range(X.shape[3]):
                place = _place(j, n, p, states, parts, lanes)
                wide[place] = factor * X[0, block.first + j, n, p]


@kernel
def _spread(X, wide, plan, block, start, tokens, factor):
    """Write B or C of a tile as vectors of one number: parts, states, tokens."""
    lanes, (_, groups, states, parts) = lane_count_of(wide), X.shape
    group = min(block.group, groups - 1)
    for t in range(tokens):
        for n in range(states):
            for p in range(parts):
                place = ((p * states + n) * plan.tokens + t) * lanes
                wide[place : place + lanes] = factor * X[start + t, group, n, p]


@kernel
def _spread_both(inputs, tile, plan, block, start, tokens, parts):
    """Prepare B and C for `_advance_wide`; C twice where states are complex."""
    one = inputs.u.dtype.type(1)
    if not plan.constant_B:
        _spread(inputs.B, tile.B, plan, block, start, tokens, one)
    elif start == block.start:
        _spread_constant(inputs.B, tile.B, block, parts, one)
    if not plan.constant_C:
        _spread(inputs.C, tile.C, plan, block, start, tokens, one * parts)
    elif start == block.start:
        _spread_constant(inputs.C, tile.C, block, parts, one * parts)


@kernel
def _steps(constant, plan, lanes):
    """Return the distances of states and of tokens in what `_spread_both` wrote."""
    return (lanes, 0) if constant else (plan.tokens * lanes, lanes)


@kernel
def _advance_wide(tile, plan, tokens, states, vector, parts):
    """Run a vector through a tile; B or C is constant, or states are complex."""
    lanes = len(tile.top)
    b_state, b_row = _steps(plan.constant_B, plan, lanes)
    c_state, c_row = _steps(plan.constant_C, plan, lanes)
    first = vector * parts * states * lanes
    b, c = first if plan.constant_B else 0, first if plan.constant_C else 0
    tokenwise = tile.dt, tile.dx, tile.y, tokens
    for n in range(states):
        at = first + n * lanes
        own_B, own_C = (tile.B, b, b_row), (tile.C, c, c_row)
        if parts == 1:
            advance_real(tile.h, tile.A, at, *tokenwise, *own_B, *own_C)
        else:
            advance_complex(
                *(tile.h, tile.A, at, states * lanes, *tokenwise),
                *(*own_B, *own_C, states * b_state, states * c_state),
            )
        b, c = b + b_state, c + c_state


@kernel
def _add_steps(tile, tokens, channels, elapsed):
    lanes = len(tile.top)
    for t in range(tokens):
        for j in range(channels):
            elapsed[j] += tile.dt[t * lanes + j]


@kernel
def _scan_tile(inputs, tile, plan, block, start, tokens, parts, largest, elapsed, y):
    """Run all vectors of a block through the tokens of a tile."""
    lanes, shared = len(tile.top), _is_shared(plan, parts)
    if not shared:
        _spread_both(inputs, tile, plan, block, start, tokens, parts)
    for vector in range(-(-block.channels // lanes)):
        channel = block.first + vector * lanes
        channels = min(lanes, block.channels - vector * lanes)
        longest = _begin(inputs, tile, plan, start, tokens, channel, channels)
        if shared:
            moderate = largest * longest < MODERATE
            _advance_shared(inputs, tile, block, start, tokens, vector, moderate)
        else:
            _advance_wide(tile, plan, tokens, inputs.A.shape[1], vector, parts)
        if plan.whole:
            _end(inputs, tile, start, tokens, channel, channels, y)
        else:
            own = elapsed[block.piece, channel : channel + channels]
            _add_steps(tile, tokens, channels, own)


@kernel
def _scan_block(inputs, tile, plan, block, h, elapsed, y):
    """Scan some channels of a piece from the states in h, which become the last."""
    parts = h.shape[3]
    largest = _load_rates(inputs.A, tile, block, parts)
    _load_states(h, tile, block)
    for start in range(block.start, block.stop, plan.tokens):
        tokens = min(plan.tokens, block.stop - start)
        rest = start, tokens, parts, largest, elapsed, y
        _scan_tile(inputs, tile, plan, block, *rest)
    _store_states(h, tile, block)


@kernel
def _scan_share(inputs, plan, bounds, h, elapsed, y, worker, workers):
    """Scan every block whose turn is that of this worker."""
    channels = inputs.A.shape[0]
    per_group = -(-plan.share // plan.width)
    blocks = channels // plan.share * per_group
    tile = _buffers(inputs, plan, h.shape[3])
    for item in range(worker, (len(bounds) - 1) * blocks, workers):
        piece, place = item // blocks, item % blocks
        group, inside = place // per_group, place % per_group * plan.width
        width = min(plan.width, plan.share - inside)
        block = Block(
            *(piece, bounds[piece], bounds[piece + 1], group),
            *(group * plan.share + inside, width),
        )
        _scan_block(inputs, tile, plan, block, h, elapsed, y)


@parallel_kernel
def _scan_in_parallel(inputs, plan, bounds, h, elapsed, y, workers):
    for worker in prange(workers):
        _scan_share(inputs, plan, bounds, h, elapsed, y, worker, workers)
