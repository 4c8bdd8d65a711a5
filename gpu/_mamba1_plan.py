"""How the selective scan is laid over a GPU: lanes, blocks, segments of time.

A row is one sequence of one channel. Whole rows are the least work: one exponential for
each state and token. Lanes that share two channels each (`Tiling.rows`) read B and C
half as often; they are taken where rows fill the GPU even so. Where rows do not fill
it at all, they are cut in segments that run side by side, at the cost of a pass over
time more (every exponential twice) and of a carry. That pays where it brings at least
`WORTHWHILE` times the blocks.

What fills a GPU is counted in lanes that an SM has registers for. None of the limits
has been tuned on a GPU yet.
"""

from dataclasses import dataclass

from ._rows import power_of_two

# Lanes that the registers of one multiprocessor have room for (see BLOCKS).
LANES_PER_SM = 20 * 32
WORTHWHILE = 4
# Channels of a block beyond which a tile of 16 tokens takes too much memory.
WIDE = 64
# Numbers of a channel that a lane may have to share two channels.
MOST_NUMBERS = 4
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
    state: int, numbers: int, per_group: int, itemsize: int, *, rows: int = 1
) -> Tiling:
    """Return the tiling for `state` states of so many `numbers`, of tokens' `itemsize`.

    A lane has 4 states of few, 8 of many, more where a warp cannot share more; a
    block about 32 channels, fewer where a group has fewer; a thread one vector of a
    tile, or two, unless B and C of a tile need too much memory.
    """
    lanes = power_of_two(-(-state // (4 if state <= 16 else 8)), 32)
    states = -(-state // lanes)
    threads = min(max(32 * lanes, 128), 512)
    while threads > 32 and threads // lanes * rows >= 2 * max(per_group, 8):
        threads //= 2
    own = 16 // itemsize * lanes // rows
    room = TILE_NUMBERS // (state * numbers)
    if threads // lanes * rows <= WIDE:
        own = max(own, 16)  # what a tile costs by itself counts less
    tile = next((size for size in (32, 16) if size <= min(own, room)), 8)
    return Tiling(states, lanes, rows, threads, tile)


@dataclass(frozen=True)
class Work:
    """What there is to do, and on how many multiprocessors."""

    state: int
    numbers: int
    channels: int
    per_group: int
    itemsize: int
    tokens: int
    longest: int
    processors: int


@dataclass(frozen=True)
class Plan:
    """The tiling, and the length of segments: that of the longest row where whole."""

    tiling: Tiling
    length: int


def plan(work: Work) -> Plan:
    """Return how to run the scan."""
    sizes = work.state, work.numbers, work.per_group, work.itemsize
    narrow = wide = tiling(*sizes)
    if narrow.states * work.numbers <= MOST_NUMBERS and work.per_group > 1:
        wide = tiling(*sizes, rows=2)
    whole = max(work.longest, 1)
    if _segment(work, wide) >= whole:
        return Plan(wide, whole)
    if whole < WORTHWHILE * _segment(work, narrow):
        return Plan(narrow, whole)
    return Plan(wide, _segment(work, wide))


def _segment(work: Work, laid: Tiling) -> int:
    """Return how long segments are of which just enough run side by side."""
    lanes = -(-work.channels * laid.lanes // laid.rows)
    wanted = max(1, work.processors * LANES_PER_SM // max(lanes, 1))
    return max(1, -(-work.tokens // (wanted * LEAST_SEGMENT))) * LEAST_SEGMENT
