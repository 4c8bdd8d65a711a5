"""Memory of results that were dropped, kept for the next ones.

The system fills fresh memory with zeros before it is written, and takes memory back
page by page: for a result of 50 MB as long as a fast kernel needs for a third of it. So
the memory of a large result waits here, once the result and all views of it are gone,
for a result of about its size. `keep` says how much may wait.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from .toolkit.memory import LINE

# Bytes that wait at most, unless `keep` has been called.
LIMIT = 1 << 29


def keep(limit: int) -> None:
    """Keep the memory of dropped results, up to `limit` bytes in all, from now on.

    What is more goes back to the system at once; 0 keeps nothing. At first 512 MiB.
    """
    WAITING.limit = limit
    WAITING.shrink()


class Block(NamedTuple):
    """Bytes for a result, and the address of their first line."""

    memory: np.ndarray
    first: int


def new_block(size: int) -> Block:
    """Return a block of fresh memory that holds `size` bytes from a line on."""
    memory = np.empty(size + LINE, np.uint8)
    return Block(memory, memory.ctypes.data + -memory.ctypes.data % LINE)


class Waiting:
    """Blocks of memory that wait, the oldest first.

    Results are dropped in any thread, and in the middle of anything: each change here
    is one step of the interpreter, so that there is nothing to lock.
    """

    def __init__(self, limit: int):
        """Let up to `limit` bytes wait."""
        self.limit = limit
        self.blocks: dict[int, Block] = {}
        self.numbers = itertools.count()

    def add(self, block: Block) -> None:
        """Let a block wait, and give back those that have waited longest."""
        if block.memory.nbytes <= self.limit:
            self.blocks[next(self.numbers)] = block
            self.shrink()

    def shrink(self) -> None:
        """Give back what is more than the limit, the oldest first."""
        while (held := self.blocks.copy()) and _bytes(held) > self.limit:
            self.blocks.pop(min(held), None)

    def take(self, size: int) -> Block | None:
        """Return the smallest block for `size` bytes to a quarter more, if any.

        Of several threads that see it one gets it.
        """
        least, most = size + LINE, size + LINE + size // 4
        fitting = [
            (own, number)
            for number, block in self.blocks.copy().items()
            if least <= (own := block.memory.nbytes) <= most
        ]
        for _, number in sorted(fitting):
            if block := self.blocks.pop(number, None):
                return block
        return None


def _bytes(blocks: dict[int, Block]) -> int:
    return sum([block.memory.nbytes for block in blocks.values()])


WAITING = Waiting(LIMIT)


class Owner:
    """What a result and all views of it hold: with the last one its memory waits."""

    def __init__(self, block: Block, shape: tuple[int, ...], dtype: Any, place: int):
        """Offer numbers that begin `place` bytes after the first line of a block."""
        self.block, self.waiting = block, WAITING
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": np.dtype(dtype).str,
            "data": (block.first + place, False),
        }

    def __del__(self):
        self.waiting.add(self.block)
