"""Large results, whose memory is in place before threads write to it.

The system fills fresh memory with zeros page by page, when a page is first written, in
the thread that writes. Threads that go through time side by side, each with channels or
heads of its own, would all wait for one page after the other; here each thread asks for
a share of the pages first, so that all are filled at once. Memory of results that were
dropped is in place (`recycling`).
"""

import math
import tracemalloc
from typing import Any

import numpy as np
from numba import prange

from .recycling import WAITING, Owner, new_block
from .toolkit.kernels import parallel_kernel
from .toolkit.memory import aligned_empty

# Bytes of a page where they are not larger; touching each 4096 bytes of one that is in
# place costs nothing that can be measured.
PAGE = 4096
# Below so many bytes memory is used again and again, and there is nothing to fill.
LARGE = 1 << 20


def output(shape: tuple[int, ...], dtype: Any, place: int = 0) -> np.ndarray:
    """Return numbers, yet to be written.

    Large arrays begin `place` bytes after the begin of a line of the caches.
    While `tracemalloc` counts, all memory is fresh: what a call takes without that
    which others have left.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        # The first result of any size compiles: who has tried a small one has it all.
        if not getattr(touch, "overloads", True):
            touch(np.empty(1, np.uint8))
        return np.empty(shape, dtype)
    if tracemalloc.is_tracing():
        memory = aligned_empty((place + size,), np.uint8)
        touch(memory)
        return memory[place:].view(dtype).reshape(shape)
    block = WAITING.take(place + size)
    if block is None:
        block = new_block(place + size)
        touch(block.memory)
    return np.asarray(Owner(block, shape, dtype, place))


@parallel_kernel
def touch(memory):
    """Write one byte of each page; equally many in a row per thread."""
    for page in prange(math.ceil(memory.size / PAGE)):
        memory[page * PAGE] = 0
