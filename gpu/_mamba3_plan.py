"""How the scan of Mamba-3 is laid over a GPU: chunks, blocks, segments of time.

A block has 64 columns of headdim of a head and walks a sequence, chunk by chunk. The
pass that computes only what segments add to the state is about a third of the work.
"""

from dataclasses import dataclass

from . import _segments
from ._rows import power_of_two

# Threads of a block, and columns of headdim that it owns (mamba3_chunk.cuh).
THREADS = 128
WIDTH = 64
# Words of addresses and sizes that a block keeps (mamba3_chunk.cuh).
PLACES = 36
# The sizes of a state that kernels are compiled for.
STATES = (16, 64, 128, 256)
# Chunks of a segment, so that its start costs little.
LEAST_CHUNKS = 4
# Tokens of a group, at least, in the sums of turns.
LEAST_GROUP = 8
# What a block may have on the smallest of the devices: 8.6, 8.9 and 12.0.
SHARED_LIMIT = 99 * 1024


@dataclass(frozen=True)
class Layout:
    """What a block computes at a time, and what it needs of shared memory."""

    state: int
    rows: int
    tokens: int
    shift: int
    shared: int


def layout(itemsize: int, size: int, ranks: int, pairs: int) -> Layout | None:
    """Return the layout for states of `size`, None where a block has no room."""
    state = next((s for s in STATES if s >= size), 0)
    rows = 64 * 2 // itemsize
    if state == STATES[-1]:
        rows //= 2
    if not state or ranks > rows:
        return None
    tokens = rows // ranks
    group = max(LEAST_GROUP, power_of_two(-(-tokens * pairs // THREADS)))
    while -(-tokens // group) * pairs > THREADS:
        group *= 2
    shared = _shared_bytes(itemsize, state, rows, ranks, tokens, pairs)
    if shared > SHARED_LIMIT:
        return None
    return Layout(state, rows, tokens, group.bit_length() - 1, shared)


def _shared_bytes(
    itemsize: int, state: int, rows: int, ranks: int, tokens: int, pairs: int
) -> int:
    """Return the bytes of a desk (mamba3_chunk.cuh)."""
    keys = 2 * rows * (state + 8) * itemsize
    numbers = 6 * (rows + 4) + 7 * rows + 2 * THREADS + 4 + PLACES
    parameters = ranks * (2 * state + 3 * WIDTH)
    inputs = 2 * tokens * (WIDTH + 8) * itemsize
    scores = rows + (4 if itemsize == 4 else 8)
    products = rows * (scores + WIDTH + 8) * itemsize // 4
    most = max(products, rows * (WIDTH + 8), -(-tokens * pairs // 4) * 4)
    angles = tokens * pairs * itemsize
    return keys + 4 * (numbers + parameters + most) + inputs + angles


def segment_length(
    layout: Layout, heads: int, headdim: int, tokens: int, longest: int, processors: int
) -> int:
    """Return how long segments are; sequences of `tokens` in all, `longest` at most."""
    blocks = heads * max(1, -(-headdim // WIDTH))
    return _segments.segment_length(
        blocks, layout.tokens, LEAST_CHUNKS, tokens, longest, processors
    )
