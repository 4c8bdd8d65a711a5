"""What the compiled kernels take, as a table.

Compiled and emulated, not run on a GPU: the numbers are of the compiler. Run

    python tests/gpu_report.py > reports/gpu.md
    python tests/gpu_report.py selective_scan.cu      # one file only

It exits with status 1, after the table, where a kernel is beyond its budget.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata

from ssmref.gpu._arguments import entries
from ssmref.gpu._launch import Program, Variant
from support.gate import Finding, findings, programs, refusals
from support.nvrtc import ARCHITECTURES

# The loops are counted for the architecture of the figures in the plans.
COUNTED = 90
INTRODUCTION = """# Kernels of ssmref.gpu

**Compiled by NVRTC {version} and emulated, not run on a GPU.**

Numbers of the compiler, not measurements. Registers are per thread, on {names};
stack is in bytes, and holds what was spilled; shared is what a launch may have, in
bytes; instructions and the hot loop (innermost, per operation named) are those of
sm_{counted}. By `python tests/gpu_report.py > reports/gpu.md`.
"""
HEAD = (
    "| kernel | macros | registers | budget | stack | shared | instructions "
    "| hot loop |\n"
    "|---|---|---|---|---|---|---|---|"
)


def table(found: Iterable[Finding]) -> Iterator[str]:
    """Yield the lines of a table, one for each kernel in each variant."""
    rows: dict[tuple, list[Finding]] = {}
    for finding in found:
        key = finding.kernel, *finding.variant.items()
        rows.setdefault(key, []).append(finding)
    yield HEAD
    for same in rows.values():
        yield _row(same)


def _row(same: Sequence[Finding]) -> str:
    """Return the line of one kernel in one variant on all architectures."""
    counted = next(f for f in same if f.architecture == COUNTED)
    registers = [f.usage.registers for f in same]
    cells = (
        *_named(counted.kernel, counted.variant),
        " ".join(map(str, registers)),
        str(min((b.registers for b in counted.budgets), default="none")),
        str(max(f.usage.stack for f in same)),
        str(min((b.shared for b in counted.budgets), default="none")),
        str(counted.listing.count("")),
        _hot(counted),
    )
    return f"| {' | '.join(cells)} |"


def _named(kernel: str, variant: Variant) -> tuple[str, str]:
    """Return the first two cells of a line."""
    return f"`{kernel}`", " ".join(f"{n}={value}" for n, value in variant.items())


def outdated(page: str, chosen: Iterable[Program]) -> list[str]:
    """Return what a page lacks of programs, and what it has that they have not.

    Cheap: nothing is compiled. A kernel may be left out of some variants.
    """
    _, *pieces = page.split("\n## ")
    sections = dict(piece.split("\n", 1) for piece in pieces)
    chosen = {program.file: program for program in chosen}
    wrong = [f"{file}: in one only" for file in chosen.keys() ^ sections.keys()]
    for file in chosen.keys() & sections.keys():
        lines = (line for line in sections[file].split("\n") if line.startswith("| `"))
        found = {tuple(line.removeprefix("| ").split(" | ")[:2]) for line in lines}
        names, variants = entries(chosen[file].source), chosen[file].variants
        known = {_named(name, variant) for name in names for variant in variants}
        for kept in (0, 1):
            lacking = {row[kept] for row in known} - {row[kept] for row in found}
            wrong += [f"{file}: no line for {cell}" for cell in sorted(lacking)]
        wrong += [f"{file}: has no {' '.join(row)}" for row in sorted(found - known)]
    return sorted(wrong)


def _hot(finding: Finding) -> str:
    pairs = dict(b.per for b in finding.budgets if b.per is not None)
    figures = ((op, finding.listing.per(op), most) for op, most in pairs.items())
    return ", ".join(
        f"none with {op}" if found is None else f"{found:.2f} per {op} (at most {most})"
        for op, found, most in figures
    )


def _findings(program: Program, architecture: int) -> list[Finding]:
    return list(findings(program, architecture))


def main(files: Sequence[str]) -> int:
    """Print the tables of some programs, of all without names."""
    chosen = [p for p in programs() if not files or p.file in files]
    names = ", ".join(f"sm_{number}" for number in ARCHITECTURES)
    version = metadata.version("nvidia-cuda-nvrtc")
    print(INTRODUCTION.format(version=version, names=names, counted=COUNTED))
    wrong: list[str] = []
    for program in chosen:
        # NVRTC leaves Python free meanwhile.
        with ThreadPoolExecutor() as pool:
            own = partial(_findings, program)
            found = [f for part in pool.map(own, ARCHITECTURES) for f in part]
        print(f"## {program.file}\n", *table(found), "", sep="\n")
        wrong += refusals(program, found)
    print(*wrong, sep="\n", file=sys.stderr)
    return bool(wrong or not chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
