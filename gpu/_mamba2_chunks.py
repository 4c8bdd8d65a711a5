"""How the scan of Mamba-2 is laid over a GPU: chunks, blocks, segments of time.

A block has 64 columns of headdim, of one head or of two that share B and C, and walks a
sequence, chunk by chunk. Two heads take a third less work than one by one, and wherever
their states have room in registers, blocks have two. The pass that computes only what
segments add to the state is about half of the work.
"""

from dataclasses import dataclass

from . import _segments

# Threads of a block, and columns of a head that it owns (ssd_scan_chunk.cuh).
THREADS = 128
WIDTH = 64
# Arrays of which threads keep in shared memory where they are.
TRACKS = 6
# The sizes of a state that kernels are compiled for.
STATES = (16, 64, 128, 256)
# Of two heads there are registers for states of so many numbers, and for inputs of so
# many bytes.
MOST_OF_TWO, WIDEST_OF_TWO = 128, 2
# Chunks of a segment, so that its start costs little.
LEAST_CHUNKS = 8


@dataclass(frozen=True)
class Layout:
    """What a block computes at a time: states, tokens of a chunk, and heads."""

    state: int
    rows: int
    heads: int

    def shared(self, itemsize: int, *, gated: bool) -> int:
        """Return the bytes of a desk (ssd_scan_chunk.cuh)."""
        weights = 2 * self.heads * (5 * self.rows + 4) + self.heads * WIDTH
        wide = 6 + 3 * THREADS // 32 + TRACKS * THREADS
        scores = self.rows + (4 if itemsize == 4 else 8)
        values = 2 * (2 if gated else 1) * (WIDTH + 8)
        row = 2 * (self.state + 8) + self.heads * (scores + values)
        return 4 * weights + 8 * wide + itemsize * self.rows * row


def layout(itemsize: int, size: int, per_group: int) -> Layout | None:
    """Return the layout for states of `size`, None where a block has no room.

    `per_group` heads have the same B and C.
    """
    state = next((s for s in STATES if s >= size), None)
    if state is None:
        return None
    paired = itemsize <= WIDEST_OF_TWO and state <= MOST_OF_TWO and per_group % 2 == 0
    rows = 16 if itemsize == 4 and state == STATES[-1] else 32
    return Layout(state, rows, 2 if paired else 1)


def segment_length(
    laid: Layout, heads: int, headdim: int, tokens: int, longest: int, processors: int
) -> int:
    """Return how long segments are; sequences of `tokens` in all, `longest` at most."""
    blocks = heads // laid.heads * -(-headdim // WIDTH)
    return _segments.segment_length(
        blocks, laid.rows, LEAST_CHUNKS, tokens, longest, processors
    )
