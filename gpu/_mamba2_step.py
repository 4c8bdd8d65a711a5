"""Launch of one token of Mamba-2."""

from ._arrays import ready
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._rows import by_row, flat, in_vectors, lanes_of, next_state, whole
from ._types import Array, word

THREADS = 128
# So many rows of a state are in work per team of lanes (ssd_step.cu: ROWS).
ROWS = 4

WIDE = ("LDG.E.128", "STG.E.128")
IO = ("float", "bf16", "f16")
STEP = Program(
    "ssd_step.cu",
    variants=(
        *product(IO=IO, VEC=(4,), LANES=(4, 32)),
        *product(IO=IO, VEC=(1,), LANES=(8,)),
    ),
    budgets=(
        Budget("ssd_step", registers=72, shared=0),
        Budget("ssd_step", 72, needs=WIDE, per=("STG.E.128", 34), when={"VEC": 4}),
    ),
)


def advance(
    x: Array,
    dt: Array,
    A: Array,
    B: Array,
    C: Array,
    state: Array,
    *,
    D: Array | None,
    z: Array | None,
    dt_bias: Array | None,
    dt_softplus: bool,
    dt_limit: tuple[float, float],
    slots: Array | None,
) -> tuple[Array, Array]:
    """Return y and the next state."""
    (batch, heads, headdim), (_, groups, size) = x.shape, B.shape
    state = ready(state)
    y, new = cupy().empty(x.shape, x.dtype), next_state(state, slots)
    vec = 4 if in_vectors(4, state, new, B, C) else 1
    lanes = lanes_of(size, vec)
    blocks = -(-headdim // (THREADS // lanes * ROWS))
    (x, x_step), (dt, dt_step), (z, z_step) = by_row(x), by_row(dt), by_row(z)
    (B, B_step), (C, C_step) = by_row(B), by_row(C)
    skip_per_row = D is not None and D.ndim == 2
    STEP.kernel("ssd_step", IO=word(y), VEC=vec, LANES=lanes)(
        (batch * heads * blocks,),
        (THREADS,),
        (
            *(x, dt, flat(A), B, C, state, flat(D), z, flat(dt_bias), whole(slots)),
            *(y, new, x_step, dt_step, B_step, C_step, z_step, heads, headdim, groups),
            *(size, blocks, skip_per_row, dt_softplus, *dt_limit),
        ),
    )
    return y, new
