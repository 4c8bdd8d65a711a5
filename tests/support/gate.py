"""The compile gate: every variant of every program against its budget."""

import functools
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

import ssmref.gpu
from ssmref.gpu._launch import Budget, Kernel, Program, Variant

from .nvrtc import Usage, compiled
from .sass import Listing, listings


@functools.cache
def programs() -> tuple[Program, ...]:
    """Return every program that a module of ssmref.gpu states."""
    found: dict[str, Program] = {}
    for info in pkgutil.walk_packages(ssmref.gpu.__path__, "ssmref.gpu."):
        if not info.name.endswith("__main__"):
            for value in vars(import_module(info.name)).values():
                if isinstance(value, Program):
                    assert found.setdefault(value.file, value) is value
    return tuple(found.values())


@dataclass(frozen=True)
class Finding:
    """A kernel in one variant on one architecture, and what it takes."""

    file: str
    kernel: str
    variant: Variant
    architecture: int
    usage: Usage
    listing: Listing
    budgets: tuple[Budget, ...]

    def violations(self) -> Iterator[str]:
        """Yield a sentence for everything that a budget does not allow."""
        if not self.budgets:
            yield "no budget holds for it"
        if self.usage.shared:
            yield f"has {self.usage.shared} bytes of static shared memory"
        for budget in self.budgets:
            yield from self._against(budget)

    def _against(self, budget: Budget) -> Iterator[str]:
        usage, listing = self.usage, self.listing
        if not usage.registers <= budget.registers:
            yield f"takes {usage.registers} registers of {budget.registers}"
        if not budget.spills and (usage.stack or usage.spilled or listing.has("LDL")):
            yield f"has {usage.stack} bytes of stack, {usage.spilled} of them spilled"
        for opcode in budget.needs:
            if not listing.has(opcode):
                yield f"has no {opcode}"
        if budget.per is not None:
            opcode, most = budget.per
            found = listing.per(opcode)
            if found is None or not found <= most:
                yield f"has {found} instructions per {opcode}, {most} are allowed"

    def __str__(self) -> str:
        """Name the kernel, the macros and the architecture."""
        macros = " ".join(f"{name}={value}" for name, value in self.variant.items())
        return f"{self.file}: {self.kernel} {macros} sm_{self.architecture}"


def representatives(program: Program) -> tuple[Variant, ...]:
    """Return a few variants that have every value of every macro, and every budget."""
    missing = set().union(*(_shown(program, v) for v in program.variants))
    chosen = []
    while missing:
        most = max(program.variants, key=lambda v: len(_shown(program, v) & missing))
        missing -= _shown(program, most)
        chosen.append(most)
    return tuple(chosen) or program.variants


def _shown(program: Program, variant: Variant) -> set[tuple]:
    """Return what a variant shows of its program."""
    budgets = enumerate(b.when or {} for b in program.budgets)
    held = {(i,) for i, when in budgets if when.items() <= variant.items()}
    return {*variant.items(), *held}


def findings(
    program: Program, architecture: int, variants: Sequence[Variant] | None = None
) -> Iterator[Finding]:
    """Compile variants of a program, by default all, and look at what came out."""
    chosen = program.variants if variants is None else variants
    yield from findings_among([(program, v) for v in chosen], architecture)


def findings_among(
    chosen: Sequence[tuple[Program, Variant]], architecture: int
) -> Iterator[Finding]:
    """Do that for variants of several programs, all disassembled at once."""
    made = [(p, v, compiled(p, architecture, dict(v))) for p, v in chosen]
    pieces = [(p, v, name, c) for p, v, c in made for name in sorted(c.usage)]
    texts = listings(architecture, [c.code[name] for _, _, name, c in pieces])
    for (program, variant, name, c), listing in zip(pieces, texts, strict=True):
        budgets = tuple(b for b in program.budgets if b.holds_for(name, variant))
        yield Finding(
            program.file, name, variant, architecture, c.usage[name], listing, budgets
        )


def check_shared(kernel: Kernel, shared: int) -> None:
    """Assert that a launch keeps to the shared memory of its budgets."""
    for budget in kernel.program.budgets:
        if budget.holds_for(kernel.name, kernel.macros):
            assert shared <= budget.shared, f"{kernel.name} {kernel.macros}: {shared}"


def violations(found: Sequence[Finding]) -> list[str]:
    """Return a sentence for everything that a budget does not allow."""
    return [f"{finding} {text}" for finding in found for text in finding.violations()]


def refusals(program: Program, found: Sequence[Finding]) -> list[str]:
    """Return what is wrong with a program; a budget that holds for nothing is wrong."""
    wrong = violations(found)
    used = {id(budget) for finding in found for budget in finding.budgets}
    idle = [budget for budget in program.budgets if id(budget) not in used]
    wrong += [f"{program.file}: {budget} holds for nothing" for budget in idle]
    return wrong if found else [f"{program.file} has no kernel"]
