"""How attention is laid over a GPU: blocks of queries, and parts of a cache.

None of the limits has been tuned on a GPU yet.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# The sizes of a row of keys or values that kernels are compiled for.
SIZES = (16, 64, 128, 256)
# Bytes of what a block keeps for its end (Kept in attention.cu).
KEPT = 40
# Blocks of a step that a multiprocessor should have, so that its loads hide each other.
BLOCKS = 4
# Keys of a block of a step: so many that its start costs little, and that weights of
# all have room.
LEAST_KEYS, MOST_KEYS = 64, 1024


def padded(headdim: int, valuedim: int) -> int | None:
    """Return the size that rows are padded to, None where they are too wide."""
    return next((size for size in SIZES if size >= max(headdim, valuedim)), None)


def tile(itemsize: int, size: int) -> tuple[int, int]:
    """Return how many queries a block has, and how many keys at a time.

    These are QUERIES and KEYS of attention_tiles.cuh.
    """
    if size < SIZES[-1]:
        return 64, 128 // itemsize
    return (64, 32) if itemsize == 2 else (32, 16)


def shared_bytes(itemsize: int, size: int) -> int:
    """Return the bytes of queries, keys and values (attention.cu)."""
    queries, keys = tile(itemsize, size)
    held = itemsize == 2 and size < SIZES[-1]
    row, value = size + 8, size + (8 if itemsize == 2 else 4)
    numbers = (0 if held else queries * row) + keys * (row + value)
    return itemsize * numbers + 4 * (queries // 16) + KEPT


def blocks_of_queries(bounds: Sequence[int], queries: int) -> np.ndarray:
    """Cut sequences of a pack in blocks of queries; those with most keys come first.

    Returns rows of (begin of the sequence, begin, end).
    """
    table = [
        (first, at, min(at + queries, end))
        for first, end in pairwise(bounds)
        for at in range(first, end, queries)
    ]
    table.sort(key=lambda row: row[0] - row[2])
    return np.array(table, np.int64).reshape(-1, 3)


def keys_per_block(keys: int, blocks: int, processors: int) -> int:
    """Return how many keys a block of a step has; a part takes `blocks` of them."""
    wanted = max(1, processors * BLOCKS // max(blocks, 1))
    parts = -(-keys // wanted)
    whole = -(-parts // LEAST_KEYS) * LEAST_KEYS
    return min(max(whole, LEAST_KEYS), MOST_KEYS)
