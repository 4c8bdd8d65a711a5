"""The launches of Mamba-2 over time; what they do stands in the kernels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import aligned, ready
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._mamba1_plan import packed_segments
from ._mamba2_chunks import STATES, THREADS, WIDTH, Layout, layout, segment_length
from ._mamba3_scan import CARRY, Segments
from ._rows import flat, packed, processors
from ._types import FLOAT32, Array, word
from .precision import parts

IO = ("float", "bf16", "f16")
LOW = IO[1:]
NEEDS = ("HMMA", "LDGSTS")
# Parts of a number in products, and rows of a chunk.
LONG = {"PARTS": (1,), "ROWS": (32,)}
EXACT = {"PARTS": (2,), "ROWS": (32,)}
SHORT = {"PARTS": (2,), "ROWS": (16,)}

SCAN = Program(
    "ssd_scan.cu",
    variants=(
        *product(IO=LOW, STATE=(128,), OUTPUT=(0, 1), HEADS=(2,), **LONG),
        *product(IO=LOW[:1], STATE=(16, 64), OUTPUT=(1,), HEADS=(2,), **LONG),
        *product(IO=LOW[1:], STATE=(64, 128), OUTPUT=(1,), HEADS=(1,), **LONG),
        *product(IO=LOW[:1], STATE=(256,), OUTPUT=(0, 1), HEADS=(1,), **LONG),
        *product(IO=IO[:1], STATE=(128,), OUTPUT=(0, 1), HEADS=(1,), **LONG),
        *product(IO=IO[:1], STATE=(128,), OUTPUT=(0, 1), HEADS=(1,), **EXACT),
        *product(IO=IO[:1], STATE=(16,), OUTPUT=(1,), HEADS=(1,), **EXACT),
        *product(IO=IO[:1], STATE=(256,), OUTPUT=(0, 1), HEADS=(1,), **SHORT),
    ),
    budgets=(Budget("ssd_scan", 255, needs=NEEDS),),
)

TOKENS = ("x", "dt", "B", "C", "z")


@dataclass(frozen=True)
class Operands:
    """The arguments as kernels read them, and what they write."""

    tokens: dict[str, Array]
    A: Array
    D: Array | None
    dt_bias: Array | None
    state: Array | None
    y: Array
    last: Array
    laid: Layout
    D_per_row: bool
    dt_softplus: bool
    dt_limit: tuple[float, float]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch, length, heads and headdim."""
        return self.y.shape

    @property
    def size(self) -> int:
        """States of a column."""
        return self.last.shape[-1]


def scan(call: dict[str, Any]) -> tuple[Array, Array]:
    """Return y and the last state for the arguments of `ssd`.

    Raises ValueError where B has more states than a block has room for.
    """
    bounds = call["cu_seqlens"]
    bounds = None if bounds is None else bounds.tolist()
    batch, length, heads, headdim = call["x"].shape
    x = _operands(call, batch if bounds is None else len(bounds) - 1)
    longest = length if bounds is None else int(np.diff(bounds).max(initial=0))
    sizes = heads, headdim, batch * length, longest
    cut = segment_length(x.laid, *sizes, processors())
    segments = _segments(bounds, cut, batch, length)
    _scan(x, segments, None if segments.whole else _starts(x, segments))
    return x.y, x.last


def _operands(call: dict[str, Any], rows: int) -> Operands:
    x, D, state = call["x"], call["D"], call["initial_state"]
    groups, size = call["B"].shape[2:]
    laid = layout(x.itemsize, size, x.shape[2] // max(groups, 1))
    if laid is None:
        raise ValueError(f"B has {size} states; at most {STATES[-1]} are supported")
    return Operands(
        tokens={name: _per_token(call[name]) for name in TOKENS},
        A=flat(call["A"]),
        D=flat(D),
        dt_bias=flat(call["dt_bias"]),
        state=None if state is None else ready(state),
        y=cupy().empty(x.shape, x.dtype),
        last=cupy().empty((rows, *x.shape[2:], size), FLOAT32),
        laid=laid,
        D_per_row=D is not None and D.ndim == 2,
        dt_softplus=call["dt_softplus"],
        dt_limit=call["dt_limit"],
    )


def _per_token(array: Array | None) -> Array | None:
    """Return an array whose tokens are packed; batch and time may have any strides."""
    return None if array is None else packed(array, array.ndim - 2)


def _segments(bounds: list[int] | None, cut: int, batch: int, length: int) -> Segments:
    if bounds is None:
        per_row = max(1, -(-length // cut))
        return Segments(cut, per_row * batch, per_row, batch)
    table, first = packed_segments(bounds, cut)
    on_device = cupy().asarray(table), cupy().asarray(first, np.int64)
    return Segments(cut, len(table), 0, len(bounds) - 1, *on_device)


def _starts(x: Operands, segments: Segments) -> Array:
    """Return the states that each segment starts from."""
    heads, headdim = x.sizes[2:]
    starts = cupy().empty((segments.count, heads, headdim, x.size), FLOAT32)
    spans = cupy().empty((segments.count, heads), FLOAT32)
    _scan(x, segments, starts, spans)
    numbers = headdim * x.size
    CARRY.kernel("mamba3_carry_states", IO=word(x.y))(
        (-(-segments.rows * heads * numbers // THREADS),),
        (THREADS,),
        (
            *(starts, spans, segments.first, segments.rows, segments.per_row),
            *(heads, numbers),
        ),
    )
    return starts


def _scan(
    x: Operands, segments: Segments, starts: Array | None, spans: Array | None = None
) -> None:
    """Run all segments; with `spans`, only for what they add to the state."""
    (_, length, heads, headdim), tokens = x.sizes, x.tokens
    tiles = -(-headdim // WIDTH)
    kernel = SCAN.kernel(
        "ssd_scan",
        IO=word(x.y),
        PARTS=parts(x.y.dtype),
        STATE=x.laid.state,
        ROWS=x.laid.rows,
        HEADS=x.laid.heads,
        OUTPUT=int(spans is None),
    )
    kernel(
        (segments.count * (heads // x.laid.heads) * tiles,),
        (THREADS,),
        (
            *tokens.values(),
            *(step for array in tokens.values() for step in _steps(array)),
            *(x.A, x.D, x.dt_bias, x.state, segments.table, starts, spans, x.y, x.last),
            *(length, segments.length, segments.per_row, heads, headdim),
            *(tokens["B"].shape[2], x.size, x.D_per_row, x.dt_softplus),
            *(_vectors(tokens["B"], tokens["C"]), _vectors(tokens["x"], tokens["z"])),
            *x.dt_limit,
        ),
        shared=x.laid.shared(x.y.itemsize, gated=tokens["z"] is not None),
    )


def _steps(array: Array | None) -> tuple[int, int]:
    """Return the strides of batch and time, in elements."""
    if array is None:
        return 0, 0
    return tuple(stride // array.itemsize for stride in array.strides[:2])  # type: ignore[return-value]


def _vectors(*arrays: Array | None) -> bool:
    """Return whether rows of a token are aligned vectors."""
    given = [array for array in arrays if array is not None]
    return aligned(*given) and all(a.shape[-1] * a.itemsize % 16 == 0 for a in given)
