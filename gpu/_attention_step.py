"""The launches of one token of attention."""

from typing import Any

from ._arrays import ready
from ._attention_forward import rotation, scale_of, size_of
from ._attention_plan import keys_per_block
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._rows import by_row, in_vectors, lanes_of, power_of_two, processors
from ._types import FLOAT32, Array, word

THREADS, MOST_GROUP = 128, 4
WARPS = THREADS // 32
IO = ("float", "bf16", "f16")
WIDE = ("LDG.E.128", "STG.E.128")
STEP = Program(
    "attention_step.cu",
    variants=(
        *product(IO=IO, VEC=(4,), LANES=(32,), MOST=(1,), GROUP=(1, 4)),
        *product(IO=IO[:1], VEC=(4,), LANES=(32,), MOST=(2,), GROUP=(4,)),
        *product(IO=IO[:2], VEC=(1,), LANES=(8,), MOST=(1,), GROUP=(2,)),
        *product(IO=IO[:1], VEC=(1,), LANES=(32,), MOST=(8,), GROUP=(4,)),
    ),
    budgets=(
        Budget("attention_step", registers=128),
        Budget("attention_step", 128, needs=WIDE, when={"VEC": 4}),
        Budget("attention_combine", registers=40),
    ),
)


def advance(call: dict[str, Any]) -> tuple[Array, tuple[Array, Array]]:
    """Return y and the parts of the longer cache.

    Raises ValueError where rows of q or v are too wide for a block.
    """
    q, k, v = (call[name] for name in "qkv")
    _ = size_of(q, v)
    old = [ready(part) for part in call["state"]]
    batch, cached, kv_heads, headdim = old[0].shape
    heads, valuedim = q.shape[1], v.shape[2]
    new = [
        cupy().empty((batch, cached + 1, kv_heads, part.shape[3]), FLOAT32)
        for part in old
    ]
    y = cupy().empty((batch, heads, valuedim), q.dtype)
    group = min(power_of_two(heads // max(kv_heads, 1)), MOST_GROUP)
    blocks = batch * kv_heads * -(-(heads // max(kv_heads, 1)) // group)
    span = keys_per_block(cached + 1, blocks, processors())
    parts = -(-(cached + 1) // span)
    vec = 4 if in_vectors(4, *old, *new) else 1
    arrays, steps = zip(*map(by_row, (q, k, v)), strict=True)
    partial = _partial(batch * heads * parts, valuedim) if parts > 1 else (None,) * 3
    turn = rotation(call)
    size = max(headdim, valuedim)
    lanes = lanes_of(size, vec)
    most = power_of_two(-(-size // (vec * lanes)))
    macros = {"IO": word(q), "VEC": vec, "LANES": lanes, "MOST": most, "GROUP": group}
    STEP.kernel("attention_step", **macros)(
        (blocks * parts,),
        (THREADS,),
        (
            *(*arrays, *steps, *old, turn.high, turn.low, *new, y, *partial),
            *(cached, parts, span, heads, kv_heads, headdim, valuedim, turn.dim),
            *(turn.interleaved, scale_of(call)),
        ),
        shared=_shared(group, size, span, vec),
    )
    if parts > 1:
        STEP.kernel("attention_combine", **macros)(
            (batch * heads,), (THREADS,), (*partial, y, parts, valuedim)
        )
    return y, tuple(new)


def _partial(rows: int, valuedim: int) -> tuple[Array, Array, Array]:
    """Return room for sums, largest scores and sums of weights of each part."""
    empty = cupy().empty
    return empty((rows, valuedim), FLOAT32), empty(rows, FLOAT32), empty(rows, FLOAT32)


def _shared(group: int, size: int, span: int, vec: int) -> int:
    """Return the bytes of a desk (attention_step.cu)."""
    width = -(-size // vec) * vec
    return 4 * (group * (width + span + WARPS * width + 2) + width)
