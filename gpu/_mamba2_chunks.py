"""How the scan of Mamba-2 is laid over a GPU: chunks, blocks, segments of time.

A block has 64 columns of headdim of a head and walks a sequence, chunk by chunk. Where
sequences and heads are too few to fill the GPU, sequences are cut in segments that run
side by side, at the cost of a pass that computes only what they add to the state:
about a third of the work. That pays where it brings at least `WORTHWHILE` times the
blocks. None of the limits has been tuned on a GPU yet.
"""

from dataclasses import dataclass

# Threads of a block, and columns of headdim that it owns (ssd_scan_chunk.cuh).
THREADS = 128
WIDTH = 64
# Blocks that a multiprocessor has registers for.
BLOCKS = 2
WORTHWHILE = 3
# The sizes of a state that kernels are compiled for.
STATES = (16, 64, 128, 256)
# Chunks of a segment, so that its start costs little.
LEAST_CHUNKS = 4


@dataclass(frozen=True)
class Layout:
    """What a block computes at a time: states, and tokens of a chunk."""

    state: int
    rows: int

    def shared(self, itemsize: int, *, gated: bool) -> int:
        """Return the bytes of a desk (ssd_scan_chunk.cuh)."""
        numbers = 2 * (5 * self.rows + 4) + WIDTH + 2 * 6
        scores = self.rows + (4 if itemsize == 4 else 8)
        values = (2 if gated else 1) * (WIDTH + 8)
        row = 2 * (self.state + 8) + scores + values
        return 4 * numbers + itemsize * self.rows * row


def layout(itemsize: int, size: int) -> Layout | None:
    """Return the layout for states of `size`, None where a block has no room."""
    state = next((s for s in STATES if s >= size), None)
    if state is None:
        return None
    rows = 64 * 2 // itemsize
    return Layout(state, rows // 2 if state == STATES[-1] else rows)


def segment_length(
    rows: int, heads: int, headdim: int, tokens: int, longest: int, processors: int
) -> int:
    """Return how long segments are: as long as the longest sequence where it is whole.

    `rows` are the tokens of a chunk, `tokens` those of all sequences together.
    """
    whole = max(longest, 1)
    per_segment = max(1, heads * -(-headdim // WIDTH))
    wanted = max(1, processors * BLOCKS // per_segment)
    length = rows * max(LEAST_CHUNKS, -(-tokens // (wanted * rows)))
    return whole if whole < WORTHWHILE * length else length
