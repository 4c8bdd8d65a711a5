"""How the scan of Mamba-3 is laid over a GPU: chunks, blocks, segments of time.

A block has 64 columns of headdim of a head and walks a sequence, chunk by chunk. The
pass that computes only what segments add to the state is about a third of the work.
"""

from dataclasses import dataclass

from . import _segments
from ._rows import power_of_two

# Columns of headdim of a block (mamba3_chunk.cuh).
WIDTH = 64
# Rows of tokens and ranks of a chunk, of states of at most 128 numbers or float16.
ROWS = 32
# Words of addresses that a block keeps (mamba3_chunk.cuh).
PLACES = 44
# Warps that a multiprocessor has registers for.
WARPS = 8
# The sizes of a state that kernels are compiled for.
STATES = (16, 64, 128, 256)
# Chunks of a segment, so that its start costs little.
LEAST_CHUNKS = 8
# Tokens of a group, at least, in the sums of turns.
LEAST_GROUP = 4
# What a block may have on the smallest of the devices: 8.6, 8.9 and 12.0.
SHARED_LIMIT = 99 * 1024


@dataclass(frozen=True)
class Layout:
    """What a block computes at a time, and what it needs of shared memory."""

    state: int
    rows: int
    tokens: int
    threads: int
    shift: int
    shared: int


def layout(
    itemsize: int, size: int, ranks: int, pairs: int, *, fixed: bool = False
) -> Layout | None:
    """Return the layout for states of `size`, None where a block has no room.

    Ranks are `fixed` where kernels are compiled for their number.
    """
    state = next((s for s in STATES if s >= size), 0)
    rows = ROWS // 2 if state * itemsize > 512 else ROWS
    if not state or ranks > rows:
        return None
    tokens = rows // ranks
    threads = 128 if state > 128 or itemsize == 4 else 64
    group = max(LEAST_GROUP, power_of_two(-(-tokens * pairs // threads)))
    while -(-tokens // group) * pairs > threads:
        group *= 2
    shared = _shared_bytes(itemsize, state, rows, ranks, tokens, pairs, threads, fixed)
    if shared > SHARED_LIMIT:
        return None
    return Layout(state, rows, tokens, threads, group.bit_length() - 1, shared)


def _shared_bytes(
    itemsize: int,
    state: int,
    rows: int,
    ranks: int,
    tokens: int,
    pairs: int,
    threads: int,
    fixed: bool,
) -> int:
    """Return the bytes of a desk (mamba3_chunk.cuh)."""
    stride = WIDTH + 8
    numbers = (8 + threads // 32) * rows + 5 * threads + 4 + PLACES
    numbers += max(0 if fixed else rows * stride, tokens * state)
    numbers += ranks * (2 * state + 3 * WIDTH)
    elements = 2 * rows * (state + 8) + rows * (rows + (4 if itemsize == 4 else 8))
    elements += 2 * tokens * stride
    elements += 0 if fixed else rows * stride + tokens * pairs
    return 4 * numbers + itemsize * elements


def segment_length(
    layout: Layout, heads: int, headdim: int, tokens: int, longest: int, processors: int
) -> int:
    """Return how long segments are; sequences of `tokens` in all, `longest` at most."""
    warps = heads * max(1, -(-headdim // WIDTH)) * layout.threads // 32
    return _segments.segment_length(
        warps * _segments.BLOCKS // WARPS or 1,
        *(layout.tokens, LEAST_CHUNKS, tokens, longest, processors),
    )
