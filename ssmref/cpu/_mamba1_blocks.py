"""How a selective scan over packed sequences is done: blocks of channels, tiles.

Work is divided by pieces (sequences, or stretches of them) and blocks of channels. A
block goes through its piece tile by tile: for each vector of channels, step sizes and
drives are computed into buffers, all states run through the tokens of the tile, a few
at a time, in registers, and outputs are written; meanwhile the next tile is fetched.
Buffers depend on the numbers of states and tokens per tile, not on the length.
"""

from typing import Any, NamedTuple

import numpy as np

from ._mamba1_tiles import add_up
from .toolkit.elementary import LOG2_E
from .toolkit.kernels import kernel, lane_count_of
from .toolkit.memory import new_zeros


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
    parts: int  # of a state
    wide: int  # B and C are vectors, not numbers that the channels of a block share
    fixed_b: int
    fixed_c: int
    softplus: int
    skip: int
    gated: int
    whole: int  # 0: find the last states and the sums of dt only
    streaming: int  # outputs are written past the caches
    direct: int  # blocks are single vectors, whose states stay in registers
    pad: int  # numbers of a line of the cache before the first channel


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
def buffers(like, plan, states):
    """Return the buffers of a thread."""
    lanes = lane_count_of(like)
    parts, vectors = plan.parts, -(-plan.width // lanes)
    state, tokens = parts * states * vectors * lanes, plan.tokens * lanes
    wide = max(state, parts * states * tokens) if plan.wide else 0
    return Tile(
        new_zeros(state, like),
        new_zeros(state, like),
        new_zeros(tokens, like),
        new_zeros(tokens, like),
        new_zeros(tokens, like),
        new_zeros(lanes, like),
        new_zeros(wide, like),
        new_zeros(wide, like),
    )


# What lies per channel and state, (channels, state, parts), lies in buffers vector by
# vector, part by part, state by state.


@kernel
def load(target, source, first, channels, parts, lanes):
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
    load(tile.A, A, block.first, block.channels, parts, lanes)
    factor, largest = A.dtype.type(LOG2_E), A.dtype.type(0)
    for vector in range(-(-block.channels // lanes)):
        first = vector * parts * states * lanes
        for place in range(first, first + states * lanes):
            tile.A[place] *= factor
            size = abs(tile.A[place])
            if not size <= largest:
                largest = size if size < np.inf else A.dtype.type(np.inf)
    return largest


@kernel
def add_steps(elapsed, top, dt, tokens, channel, channels):
    """Add the step sizes of a tile to the sums of its channels, in double precision."""
    add_up(top, dt, tokens)
    for j in range(channels):
        elapsed[channel + j] += top[j]


@kernel
def items_of(starts, plan, channels):
    """Return how many items of work there are: pieces times blocks."""
    return len(starts) * (channels // plan.share) * _blocks(plan)


@kernel
def _blocks(plan):
    """Return how many blocks a group has: they begin with lines of the cache."""
    return -(-(plan.pad + plan.share) // plan.width)


@kernel
def block_of(item, starts, stops, plan, channels):
    """Return what an item is: pieces one after the other, blocks inside."""
    per_group = _blocks(plan)
    blocks = channels // plan.share * per_group
    piece, place = item // blocks, item % blocks
    group, first = place // per_group, place % per_group * plan.width - plan.pad
    stop = min(first + plan.width, plan.share)
    first = max(first, 0)
    return Block(
        *(piece, starts[piece], stops[piece], group),
        *(group * plan.share + first, stop - first),
    )


@kernel
def enter(tile, A, h, block, parts):
    """Load rates and states of a block; return the largest rate."""
    lanes, own = len(tile.top), h[block.piece]
    load(tile.h, own, block.first, block.channels, parts, lanes)
    return _load_rates(tile, A, block, parts)


@kernel
def leave(tile, h, block):
    """Write the last states of a block."""
    own = h[block.piece]
    _store(own, tile.h, block.first, block.channels, len(tile.top))
