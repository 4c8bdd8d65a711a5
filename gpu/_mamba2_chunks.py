"""How the scan of Mamba-2 is laid over a GPU: chunks, blocks, segments of time.

A block has 64 columns of headdim, of one head or of two that share B and C, and walks a
sequence, chunk by chunk. Two heads take a third less work than one by one, and wherever
their states have room in registers, blocks have two. Where sequences and heads are too
few to fill the GPU, sequences are cut in segments that run side by side, at the cost of
a pass that computes only what they add to the state: about half of the work. That pays
where it brings at least `WORTHWHILE` times the blocks. None of the limits has been
tuned on a GPU yet.
"""

from dataclasses import dataclass

# Threads of a block, and columns of a head that it owns (ssd_scan_chunk.cuh).
THREADS = 128
WIDTH = 64
# Arrays of which threads keep in shared memory where they are.
TRACKS = 6
# Blocks that a multiprocessor has registers for.
BLOCKS = 2
WORTHWHILE = 3
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
    """Return how long segments are: as long as the longest sequence where it is whole.

    `tokens` are those of all sequences together.
    """
    whole = max(longest, 1)
    per_segment = max(1, heads // laid.heads * -(-headdim // WIDTH))
    wanted = max(1, processors * BLOCKS // per_segment)
    length = laid.rows * max(LEAST_CHUNKS, -(-tokens // (wanted * laid.rows)))
    return whole if whole < WORTHWHILE * length else length
