"""Sequences in segments of time, side by side, and the states that they start from.

Where sequences and heads are too few to fill the GPU, sequences are cut, at the cost of
a pass that computes only what each segment adds to the state. That pays where it brings
at least `WORTHWHILE` times the blocks. None of the limits has been tuned on a GPU yet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ._cupy import cupy
from ._launch import Budget, Program
from ._types import Array

# Threads of a block.
THREADS = 128
# Blocks that a multiprocessor has registers for.
BLOCKS = 2
WORTHWHILE = 3

CARRY = Program(
    "state_carry.cu",
    variants=({},),
    budgets=(Budget("state_carry", registers=56),),
)


@dataclass(frozen=True)
class Segments:
    """All segments of all rows: so many for each, or as the table of a pack says."""

    length: int
    count: int
    per_row: int
    rows: int
    table: Array | None = None
    first: Array | None = None

    @property
    def whole(self) -> bool:
        """Whether no sequence is cut."""
        return self.count == self.rows


def segment_length(
    per_segment: int, step: int, least: int, tokens: int, longest: int, processors: int
) -> int:
    """Return how long segments are: as long as the longest sequence where it is whole.

    A segment has `per_segment` blocks, and of chunks of `step` tokens at least `least`;
    `tokens` are those of all sequences together.
    """
    whole = max(longest, 1)
    wanted = max(1, processors * BLOCKS // max(per_segment, 1))
    length = step * max(least, -(-tokens // (wanted * step)))
    return whole if whole < WORTHWHILE * length else length


def segments_of(
    bounds: list[int] | None, length: int, batch: int, tokens: int
) -> Segments:
    """Return the segments, of `length` each, of a pack or of a batch of sequences."""
    if bounds is None:
        per_row = max(1, -(-tokens // length))
        return Segments(length, per_row * batch, per_row, batch)
    table, first = packed_segments(bounds, length)
    on_device = cupy().asarray(table), cupy().asarray(first, np.int64)
    return Segments(length, len(table), 0, len(bounds) - 1, *on_device)


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


def carry_states(segments: Segments, starts: Array, spans: Array) -> None:
    """Turn what segments add to the state into what they start from, in place."""
    heads, numbers = starts.shape[1], math.prod(starts.shape[2:])
    CARRY.kernel("state_carry")(
        (-(-segments.rows * heads * numbers // THREADS),),
        (THREADS,),
        (
            *(starts, spans, segments.first, segments.rows, segments.per_row),
            *(heads, numbers),
        ),
    )
