"""Launches of the causal convolution and its steps."""

from ._arrays import ready
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._rows import flat, in_vectors, next_state, packed, processors, whole
from ._types import FLOAT32, Array, word

THREADS = 128
# So many weights of its channels a thread keeps in registers (filter.cuh: ROLLING).
TAPS = 32
# A GPU is busy with so many threads per multiprocessor; where there are fewer, tiles of
# tokens are shorter, down to what is worth the inputs that two tiles read.
BUSY = 1024
SHORTEST, LONGEST = 8, 128

LOW = ("bf16", "f16")
VARIANTS = (
    *product(IO=LOW, VEC=(8,), WIDTH=(4, 12)),
    *product(IO=LOW, VEC=(4,), WIDTH=(7,)),
    *product(IO=("float",), VEC=(4,), WIDTH=(4, 12)),
    *product(IO=("float", *LOW), VEC=(1,), WIDTH=(3,)),
)
WIDE = ("LDG.E.128", "STG.E.128")
# SiLU needs one exponential per number: so many instructions for each of them.
HOT = ("MUFU.EX2", 19.0)

CONVOLVE = Program(
    "causal_conv1d.cu",
    variants=VARIANTS,
    budgets=(
        Budget("convolve", registers=128, shared=0),
        Budget("convolve", registers=128, needs=WIDE, when={"VEC": 8}),
        Budget("convolve", registers=80, needs=WIDE, when={"IO": "float", "VEC": 4}),
        *(
            Budget("convolve", 128, needs=WIDE, per=HOT, when={"VEC": v, "WIDTH": 4})
            for v in (4, 8)
        ),
    ),
)
STEP = Program(
    "causal_conv1d_step.cu",
    variants=VARIANTS,
    budgets=(
        Budget("convolve_step", registers=96, shared=0),
        Budget("convolve_step", registers=96, needs=WIDE, when={"VEC": 8}),
    ),
)


def convolve(
    x: Array,
    weight: Array,
    bias: Array | None,
    initial: Array | None,
    cu_seqlens: Array | None,
    gated: bool,
) -> tuple[Array, Array]:
    """Return y and the final state of each row, or of each packed sequence."""
    (batch, length, channels), width = x.shape, weight.shape[1]
    x, weight, bias = packed(x, 1), ready(weight), flat(bias)
    initial = None if initial is None else ready(initial)
    bounds = whole(cu_seqlens)
    sequences = batch if bounds is None else bounds.size - 1
    y = cupy().empty((batch, length, channels), x.dtype)
    last = cupy().empty((sequences, width - 1, channels), FLOAT32)
    vec = _vector(width, x, y, flat(weight), bias, initial, last)
    vectors = channels // vec
    tile = _tile(length, batch * vectors)
    parts = -(-length // tile) + sequences * (width - 1) // (batch or 1)
    blocks = -(-parts * vectors // THREADS)
    row, step, _ = (stride // x.itemsize for stride in x.strides)
    CONVOLVE.kernel("convolve", IO=word(x), VEC=vec, WIDTH=width)(
        (batch * blocks,),
        (THREADS,),
        (
            *(x, weight, bias, initial, bounds, y, last, row, step, length, channels),
            *(sequences, tile, blocks, gated),
        ),
    )
    return y, last


def _vector(width: int, x: Array, *others: Array | None) -> int:
    """Return how many channels a thread owns: 16 bytes of them, 4, or one."""
    count = 16 // x.itemsize
    if count * width > TAPS >= 4 * width:
        count = 4
    return count if in_vectors(count, x, *others) else 1


def _tile(length: int, threads: int) -> int:
    """Return how many tokens a thread owns where a tile has so many threads."""
    tiles = -(-BUSY * processors() // max(threads, 1))
    tokens = -(-length // tiles) // 4 * 4
    return min(max(tokens, SHORTEST), LONGEST)


def convolve_step(
    x: Array,
    weight: Array,
    state: Array,
    bias: Array | None,
    slots: Array | None,
    position: Array | None,
    gated: bool,
) -> tuple[Array, Array]:
    """Return y and the next buffers, linear ones where `position` is None."""
    (batch, length, channels), width = x.shape, weight.shape[1]
    x, weight, bias, state = packed(x, 1), ready(weight), flat(bias), ready(state)
    y = cupy().empty((batch, length, channels), x.dtype)
    new = next_state(state, slots)
    vec = _vector(width, x, y, flat(weight), bias, state, new)
    blocks = -(-batch * (channels // vec) // THREADS)
    row, step, _ = (stride // x.itemsize for stride in x.strides)
    STEP.kernel("convolve_step", IO=word(x), VEC=vec, WIDTH=width)(
        (blocks,),
        (THREADS,),
        (
            *(x, weight, state, bias, whole(slots), whole(position), y, new, row, step),
            *(batch, length, channels, state.shape[1], gated),
        ),
    )
    return y, new
