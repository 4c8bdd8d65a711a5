"""Launch of one token of Mamba-3, of one or several ranks."""

from typing import Any

from ._arrays import ready
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._rows import by_row, flat, in_vectors, lanes_of, next_state, whole
from ._types import Array, word

THREADS = 256

WIDE = ("LDG.E.128", "STG.E.128")
IO = ("float", "bf16", "f16")
STEP = Program(
    "mamba3_step.cu",
    variants=(
        *product(IO=IO, VEC=(4,), LANES=(32,), RANKS=(1, 4)),
        *product(IO=IO, VEC=(1,), LANES=(8,), RANKS=(2,)),
    ),
    budgets=(
        Budget("mamba3_step", registers=128),
        Budget("mamba3_step", 80, needs=WIDE, per=("STG.E.128", 42), when={"RANKS": 1}),
        Budget(
            "mamba3_step", 128, needs=WIDE, per=("STG.E.128", 84), when={"RANKS": 4}
        ),
    ),
)


def advance(call: dict[str, Any], ranks: int, groups: int) -> tuple[Array, tuple]:
    """Return y and the parts of the next state.

    `call` has the arguments of `mimo_step`; those that SISO lacks are None.
    """
    x, state, slots = call["x"], call["state"], call["slots"]
    (batch, heads, headdim), size = x.shape, state.ssm.shape[-1]
    angle, ssm, k, v = map(ready, state)
    y = cupy().empty(x.shape, x.dtype)
    new = [next_state(part, slots) for part in state]
    vec = 4 if in_vectors(4, ssm, new[1]) else 1
    lanes = lanes_of(size, vec)
    tokens = ("x", "dt", "A", "B", "C", "trap", "angles", "z")
    arrays, steps = zip(*(by_row(call[name]) for name in tokens), strict=True)
    options = ("B_bias", "C_bias", "D", "norm_weight", "mimo_x", "mimo_z", "mimo_o")
    STEP.kernel("mamba3_step", IO=word(x), VEC=vec, LANES=lanes, RANKS=ranks)(
        (batch * heads,),
        (THREADS,),
        (
            *(*arrays, *steps, angle, ssm, k, v),
            *(flat(call[name]) for name in options),
            *(whole(slots), y, *new, heads, headdim, groups, size),
            *(call["angles"].shape[-1], call["pairing"] == "pairwise"),
            call["norm_eps"],
        ),
        shared=_shared(ranks, size, headdim),
    )
    return y, tuple(new)


def _shared(ranks: int, size: int, headdim: int) -> int:
    """Return the bytes of a desk (mamba3_step.cu)."""
    rows = 3 * (-(-size // 4) * 4) + 3 * (-(-headdim // 4) * 4)
    return 4 * ranks * (rows + 1)
