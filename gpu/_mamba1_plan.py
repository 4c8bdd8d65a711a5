"""How the selective scan is laid over a GPU: lanes, blocks, segments of time.

A row is one sequence of one channel. Whole rows are the least work: one exponential for
each state and token. Rows alone fill a GPU where there are enough of them; fewer are
cut in segments that run side by side, at the cost of a pass over time more (every
exponential twice) and of a carry. It pays where it brings at least `WORTHWHILE` times
the blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ._mamba1_shared import power_of_two

# Lanes that the registers of one multiprocessor have room for (28 warps, see BLOCKS).
LANES_PER_SM = 28 * 32
WORTHWHILE = 4
# Numbers of B that a tile may have: 12 to 16 bytes of shared memory each, with C.
TILE_NUMBERS = 2048
# Segments are multiples of this, so of every tile and vector.
LEAST_SEGMENT = 128


@dataclass(frozen=True)
class Tiling:
    """Which thread owns what; the macros of the kernels say what each number is."""

    states: int
    lanes: int
    rows: int
    threads: int
    tile: int

    @property
    def channels(self) -> int:
        """Channels of a block."""
        return self.threads // self.lanes * self.rows


def tiling(
    state: int, numbers: int, channels_per_group: int, itemsize: int, *, rows: int = 1
) -> Tiling:
    """Return the tiling for `state` states of so many `numbers`, of tokens' `itemsize`.

    A lane has 4 states of few, 8 of many, more where a warp cannot share more; a
    block about 32 channels, fewer where a group has fewer; a thread one vector of a
    tile, or two, unless B and C of a tile need too much memory.
    """
    lanes = power_of_two(-(-state // (4 if state <= 16 else 8)), 32)
    states = -(-state // lanes)
    threads = min(max(32 * lanes, 128), 512)
    while threads > 32 and threads // lanes * rows >= 2 * max(channels_per_group, 8):
        threads //= 2
    own = 16 // itemsize * lanes // rows
    room = TILE_NUMBERS // (state * numbers)
    tile = next((size for size in (32, 16) if size <= min(own, room)), 8)
    return Tiling(states, lanes, rows, threads, tile)


def segment_length(tokens: int, longest: int, lanes: int, multiprocessors: int) -> int:
    """Return the length of segments; `longest` for rows that stay whole.

    `tokens` of all rows together, `lanes` for each of them.
    """
    wanted = max(1, multiprocessors * LANES_PER_SM // max(lanes, 1))
    length = max(1, -(-tokens // wanted))
    length = -(-length // LEAST_SEGMENT) * LEAST_SEGMENT
    return length if longest >= WORTHWHILE * length else max(longest, 1)


def packed_segments(bounds: Sequence[int], length: int) -> tuple[np.ndarray, list[int]]:
    """Cut each sequence of a pack in segments of at most `length` tokens.

    Returns rows of (sequence, begin, end, whether it is the last of its sequence), at
    least one for each, and where the segments of each sequence begin in the table.
    """
    table, first = [], [0]
    for row, (begin, end) in enumerate(pairwise(bounds)):
        starts = range(begin, end, length) or [begin]
        table += [(row, at, min(at + length, end), at == starts[-1]) for at in starts]
        first.append(len(table))
    return np.array(table, np.int64).reshape(-1, 4), first
