"""From a kernel file to a launch: sources, macros, compilation, arguments, limits.

A module of ops states its kernel files once::

    SCAN = Program(
        "selective_scan.cu",
        variants=product(IO=("float", "bf16", "f16"), N=(1, 16, 64)),
        budgets=(Budget("scan_forward", registers=64, needs=("LDG.E.128",)),),
    )

and launches by ``SCAN.kernel("scan_forward", IO="bf16", N=16)(grid, block, args)``.
CuPy compiles at the first call on a device, by NVRTC, and keeps the result on disk.
"""

import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._arguments import Convert, converted, plan
from ._cupy import cupy, device_count, limit

KERNELS = Path(__file__).with_name("kernels")
OPTIONS = ("-std=c++17",)

Macro = int | str
Variant = Mapping[str, Macro]

# What every device of compute capability 8.0 and later has. Shared memory beyond
# PLAIN_SHARED bytes has to be asked for, up to a limit of the device.
GRID_LIMITS = (2**31 - 1, 65535, 65535)
BLOCK_LIMIT = 1024
PLAIN_SHARED = 48 * 1024
# What 8.6, 8.9 and 12.0 have; others have more.
LEAST_SHARED = 99 * 1024

INCLUDE = re.compile(r'^#include "(.+)"$')


class CompileError(RuntimeError):
    """A kernel file was refused by NVRTC: a mistake in this package."""


def product(**values: Sequence[Macro]) -> tuple[Variant, ...]:
    """Return one variant for every combination of the values of macros."""
    names = tuple(values)
    return tuple(
        dict(zip(names, choice, strict=True))
        for choice in itertools.product(*values.values())
    )


@dataclass(frozen=True)
class Budget:
    """What a compiled kernel may use, on every architecture.

    It holds for the variants that have the macros of `when`. At most `registers` per
    thread; no spills unless `spills`; every opcode of `needs` occurs, as a prefix
    ("LDG.E.128", "HMMA"). ``per=("MUFU.EX2", 9.5)``: the hot loop, that is the
    innermost loop with the most of that opcode, has at most 9.5 instructions for each.
    A launch has at most `shared` bytes of dynamic shared memory, by default what a
    block of any device may have.
    """

    kernel: str
    registers: int
    spills: bool = False
    needs: tuple[str, ...] = ()
    per: tuple[str, float] | None = None
    when: Variant | None = None
    shared: int = LEAST_SHARED

    def holds_for(self, kernel: str, variant: Variant) -> bool:
        """Return whether the budget speaks of this kernel in this variant."""
        return kernel == self.kernel and (self.when or {}).items() <= variant.items()


@dataclass(frozen=True)
class Program:
    """A kernel file, and the macros with which it may be compiled.

    `variants` are what the compile gate of the tests compiles. They state the names of
    the macros and all words that a macro may be; integers may be others at run time.
    """

    file: str
    variants: tuple[Variant, ...] = ({},)
    budgets: tuple[Budget, ...] = ()
    folder: Path = KERNELS
    _kernels: dict[tuple, "Kernel"] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @functools.cached_property
    def source(self) -> str:
        """The text with its includes in place: CuPy's cache sees every change."""
        return "\n".join(_lines(self.file, self.folder, set())) + "\n"

    def kernel(self, name: str, **macros: Macro) -> "Kernel":
        """Return the entry `name`, compiled with these macros, for any device.

        Raises ValueError for macros or words that no variant has.
        """
        key = name, *macros.items()
        found = self._kernels.get(key)
        if found is None:
            self.check(macros)
            found = self._kernels.setdefault(key, Kernel(self, name, macros))
        return found

    def check(self, macros: Variant) -> None:
        """Raise ValueError for macros or words that no variant has."""
        if not any(macros.keys() == known.keys() for known in self.variants):
            raise ValueError(f"{self.file} has no variant with macros {[*macros]}")
        for name, value in macros.items():
            words = {variant.get(name) for variant in self.variants}
            if isinstance(value, str) and value not in words:
                raise ValueError(f"{self.file} has no variant with {name}={value}")


def options(macros: Variant) -> tuple[str, ...]:
    """Return what NVRTC is told, in CuPy and in the compile gate alike."""
    return (*OPTIONS, *(f"-D{name}={value}" for name, value in macros.items()))


def _lines(file: str, folder: Path, seen: set[str]) -> Iterator[str]:
    """Yield the lines of a file with its own includes in place, each file once."""
    seen.add(file)
    path = folder / file
    text = (path if path.exists() else KERNELS / file).read_text()
    yield f'#line 1 "{file}"'
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        if found is None:
            # Every file comes once as it is, and the main file of NVRTC is no header.
            yield "" if line.strip() == "#pragma once" else line
        elif found[1] not in seen:
            yield from _lines(found[1], folder, seen)
            yield f'#line {number + 1} "{file}"'
        else:
            yield ""


class Kernel:
    """A compiled entry of a kernel file; call it as CuPy's kernels are called."""

    def __init__(self, program: Program, name: str, macros: Variant) -> None:
        """Take the entry `name` of a program, compiled at the first call."""
        self.program, self.name, self.macros = program, name, macros
        self._granted: dict[int, int] = {}

    @functools.cached_property
    def _plan(self) -> list[Convert]:
        return plan(self.program.source, self.name, self.macros)

    @functools.cached_property
    def _function(self) -> Any:
        """CuPy's kernel: it holds one compiled function per device."""
        device_count()
        compiler = cupy().cuda.compiler
        module = cupy().RawModule(
            code=self.program.source, options=options(self.macros)
        )
        try:
            return module.get_function(self.name)
        except compiler.CompileException as error:
            given = " ".join(options(self.macros))
            raise CompileError(f"{self.program.file} with {given}:\n{error}") from error

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared: int = 0,
    ) -> None:
        """Launch on the current device and stream; an empty grid launches nothing.

        Arguments are arrays, None for null pointers, and numbers; they become what the
        kernel declares. Raises TypeError where they do not fit, ValueError where the
        device has no such grid, block or shared memory.
        """
        arguments = converted(self._plan, args, self.name)
        if 0 in grid:
            return
        self._check_sizes(grid, block)
        function = self._function
        if shared > PLAIN_SHARED:
            self._grant(function, shared)
        function(grid, block, arguments, shared_mem=shared)

    def _check_sizes(self, grid: tuple[int, ...], block: tuple[int, ...]) -> None:
        for size, most in zip(grid, GRID_LIMITS, strict=False):
            if size > most:
                raise ValueError(
                    f"kernel {self.name}: grid {grid} is beyond {GRID_LIMITS}"
                )
        if not 0 < math.prod(block) <= BLOCK_LIMIT:
            raise ValueError(
                f"kernel {self.name}: block {block} needs 1 to {BLOCK_LIMIT} threads"
            )

    def _grant(self, function: Any, shared: int) -> None:
        """Ask the current device for so much shared memory, unless it was before."""
        device = cupy().cuda.runtime.getDevice()
        if shared <= self._granted.get(device, 0):
            return
        most = limit(device, "MaxSharedMemoryPerBlockOptin")
        if shared > most:
            raise ValueError(
                f"kernel {self.name} needs {shared} bytes of shared memory per block; "
                f"this GPU has {most}"
            )
        function.max_dynamic_shared_size_bytes = shared
        self._granted[device] = shared
