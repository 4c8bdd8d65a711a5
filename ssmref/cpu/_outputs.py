"""Large results, whose memory is in place before threads write to it.

The system fills fresh memory with zeros page by page, when a page is first written, in
the thread that writes. Threads that go through time side by side, each with channels or
heads of its own, would all wait for one page after the other; here each thread asks for
a share of the pages first, so that all are filled at once.
"""

import math
from typing import Any

import numpy as np
from numba import prange

from .toolkit.kernels import parallel_kernel
from .toolkit.memory import aligned_empty

# Bytes of a page where they are not larger; touching each 4096 bytes of one that is in
# place costs nothing that can be measured.
PAGE = 4096
# Below so many bytes memory is used again and again, and there is nothing to fill.
LARGE = 1 << 22


def output(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return numbers, yet to be written, that begin with a line of the caches."""
    result = aligned_empty(shape, dtype)
    # The first result of any size compiles: who has tried a small one has it all.
    if result.nbytes >= LARGE or not getattr(touch, "signatures", True):
        touch(result.reshape(-1).view(np.uint8))
    return result


@parallel_kernel
def touch(memory):
    """Write one byte of each page; equally many in a row per thread."""
    for page in prange(math.ceil(memory.size / PAGE)):
        memory[page * PAGE] = 0
