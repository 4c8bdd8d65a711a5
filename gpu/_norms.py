"""Launches of the norms."""

import math

from ._cupy import cupy
from ._launch import Budget, Program, product
from ._rows import collapsed, flat, in_vectors, power_of_two
from ._types import Array, word

# When the gate is applied, as the kernel counts.
NO_GATE, GATE_BEFORE, GATE_AFTER = 0, 1, 2
# So many vectors a thread may hold in registers.
HELD = 4
# Teams are a part of a warp, or a block: at least THREADS of them.
WARP, THREADS, LARGEST = 32, 128, 512

LOW = ("bf16", "f16")
WIDE = ("LDG.E.128", "STG.E.128")

NORMS = Program(
    "norms.cu",
    variants=(
        *product(IO=LOW, VEC=(8,), TEAM=(256,), HELD=(4,), GATE=(1, 2), CENTRED=(0,)),
        *product(
            IO=("bf16",), VEC=(8,), TEAM=(32,), HELD=(2,), GATE=(0,), CENTRED=(1,)
        ),
        *product(
            IO=("float",), VEC=(4,), TEAM=(512,), HELD=(4,), GATE=(1,), CENTRED=(0,)
        ),
        *product(
            IO=("float",), VEC=(4,), TEAM=(8,), HELD=(1,), GATE=(0,), CENTRED=(1,)
        ),
        *product(
            IO=("float", *LOW), VEC=(1,), TEAM=(4,), HELD=(1,), GATE=(1,), CENTRED=(0,)
        ),
    ),
    budgets=(
        Budget("normalise", registers=96, shared=128),
        Budget("normalise", registers=96, needs=WIDE, when={"VEC": 8}),
        Budget("normalise", registers=64, needs=WIDE, when={"VEC": 4}),
    ),
)


def normalise(
    x: Array,
    weight: Array | None,
    *,
    eps: float,
    bias: Array | None = None,
    z: Array | None = None,
    gate: int = NO_GATE,
    size: int | None = None,
    centred: bool = False,
) -> Array:
    """Return x normalised over blocks of `size` channels, all of them if None."""
    channels = x.shape[-1]
    block = channels if size is None else size
    y = cupy().empty(x.shape, x.dtype)
    if not x.size:
        return y
    (x, x_step), weight, bias = collapsed(x), flat(weight), flat(bias)
    z, z_step = (None, 0) if z is None else collapsed(z)
    gate = NO_GATE if z is None else gate
    count = 16 // x.itemsize
    wide = block % count == 0 and in_vectors(count, x, y, z, weight, bias)
    vec = count if wide else 1
    team, held = _team(block // vec)
    rows, groups = math.prod(x.shape[:-1]), channels // block
    macros = {"TEAM": team, "HELD": held, "GATE": gate, "CENTRED": int(centred)}
    threads = max(team, THREADS)
    NORMS.kernel("normalise", IO=word(x), VEC=vec, **macros)(
        (-(-rows * groups * team // threads),),
        (threads,),
        (x, weight, bias, z, y, x_step, z_step, rows, groups, block, eps),
        shared=threads // 8,
    )
    return y


def _team(vectors: int) -> tuple[int, int]:
    """Return how many threads share a group, and how many vectors each one holds.

    Lanes of a warp as long as they can hold all of it: they need no barrier.
    """
    if vectors <= WARP * HELD:
        team = power_of_two(vectors, WARP)
    else:
        team = max(power_of_two(-(-vectors // HELD), LARGEST), THREADS)
    return team, power_of_two(-(-vectors // team), HELD)
