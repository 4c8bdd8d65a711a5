"""Machine code of a kernel as opcodes and jumps: what it loads, and its hot loop."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from .nvrtc import disassembled

LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);")
TARGET = re.compile(r"0x([0-9a-f]+)\s*$")
# Bytes of an instruction, since Volta.
WIDTH = 16
# What pads the end of a kernel, and waits for nothing.
IDLE = ("NOP",)


@dataclass(frozen=True)
class Loop:
    """A jump back: the addresses of its first and its last instruction."""

    first: int
    last: int

    def holds(self, other: "Loop") -> bool:
        """Return whether `other` lies inside."""
        return self != other and self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class Listing:
    """The instructions of a kernel by address, and the jumps among them."""

    opcodes: dict[int, str]
    jumps: tuple[tuple[int, int], ...]

    def has(self, opcode: str) -> bool:
        """Return whether an instruction begins with `opcode`."""
        return self.count(opcode) > 0

    def count(self, opcode: str, loop: Loop | None = None) -> int:
        """Count the instructions that begin with `opcode`, in a loop or in all."""
        return sum(
            name.startswith(opcode) and name not in IDLE
            for address, name in self.opcodes.items()
            if loop is None or loop.first <= address <= loop.last
        )

    @cached_property
    def inner_loops(self) -> tuple[Loop, ...]:
        """The loops without a loop in them; a jump to itself is no loop."""
        loops = {Loop(to, at) for at, to in self.jumps if to < at}
        return tuple(p for p in loops if not any(p.holds(other) for other in loops))

    def per(self, opcode: str) -> float | None:
        """Return instructions per `opcode` in the hot loop, None where none has it.

        Hot is the innermost loop with most of them.
        """
        counts = {loop: self.count(opcode, loop) for loop in self.inner_loops}
        hot = max(counts, key=counts.__getitem__, default=None)
        if hot is None or counts[hot] == 0:
            return None
        return self.count("", hot) / counts[hot]


# Address, opcode, and where to if it is a jump.
Instruction = tuple[int, str, int | None]


def instructions(text: str) -> list[Instruction]:
    """Read a listing of nvdisasm."""
    found = []
    for address, opcode, operands in LINE.findall(text):
        target = TARGET.search(operands) if opcode.startswith("BRA") else None
        found.append((int(address, 16), opcode, int(target[1], 16) if target else None))
    return found


def listing(found: Sequence[Instruction], start: int = 0) -> Listing:
    """Return instructions as a kernel; jumps to before `start` are not its own."""
    jumps = ((at, to) for at, _, to in found if to is not None and to >= start)
    return Listing({address: opcode for address, opcode, _ in found}, tuple(jumps))


def listings(architecture: int, codes: Sequence[bytes]) -> Iterator[Listing]:
    """Yield the listing of each piece of code; nvdisasm, slow to start, runs once."""
    text = disassembled(architecture, b"".join(codes)) if codes else ""
    found, start = iter(instructions(text)), 0
    for code in codes:
        own = list(itertools.islice(found, len(code) // WIDTH))
        assert own[0][0] == start, "a line of the listing was not understood"
        yield listing(own, start)
        start += len(code)
