"""The launches of Mamba-2 over time; what they do stands in the kernels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import ready
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._mamba2_chunks import STATES, THREADS, WIDTH, Layout, layout, segment_length
from ._rows import flat, per_token, processors, steps_of, vectors
from ._segments import Segments, carry_states, segments_of
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
    segments = segments_of(bounds, cut, batch, length)
    _scan(x, segments, None if segments.whole else _starts(x, segments))
    return x.y, x.last


def _operands(call: dict[str, Any], rows: int) -> Operands:
    x, D, state = call["x"], call["D"], call["initial_state"]
    groups, size = call["B"].shape[2:]
    laid = layout(x.itemsize, size, x.shape[2] // max(groups, 1))
    if laid is None:
        raise ValueError(f"B has {size} states; at most {STATES[-1]} are supported")
    return Operands(
        tokens={name: per_token(call[name]) for name in TOKENS},
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


def _starts(x: Operands, segments: Segments) -> Array:
    """Return the states that each segment starts from."""
    heads, headdim = x.sizes[2:]
    starts = cupy().empty((segments.count, heads, headdim, x.size), FLOAT32)
    spans = cupy().empty((segments.count, heads), FLOAT32)
    _scan(x, segments, starts, spans)
    carry_states(segments, starts, spans)
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
            *(step for array in tokens.values() for step in steps_of(array)),
            *(x.A, x.D, x.dt_bias, x.state, segments.table, starts, spans, x.y, x.last),
            *(length, segments.length, segments.per_row, heads, headdim),
            *(tokens["B"].shape[2], x.size, x.D_per_row, x.dt_softplus),
            *(
                vectors(tokens["B"], tokens["C"]),
                vectors(tokens["x"], tokens["z"]),
            ),
            *x.dt_limit,
        ),
        shared=x.laid.shared(x.y.itemsize, gated=tokens["z"] is not None),
    )
