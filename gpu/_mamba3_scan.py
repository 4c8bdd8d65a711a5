"""The launches of Mamba-3 over time; what they do stands in the kernels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import ready
from ._cupy import cupy
from ._launch import Budget, Macro, Program, Variant, product
from ._mamba3_plan import (
    ROWS,
    STATES,
    WIDTH,
    Layout,
    layout,
    segment_length,
)
from ._rows import flat, per_token, processors, steps_of, vectors
from ._segments import Segments, carry_states, segments_of
from ._types import FLOAT32, Array, word
from .precision import parts

IO = ("float", "bf16", "f16")
LOW = IO[1:]
# Ranks that kernels are compiled for; 0 is any number.
FIXED = (1, 2, 4, 8)


def _variants(pairwise: int, ranks: int, **macros: Sequence[Macro]) -> tuple:
    return product(**macros, RANKS=(ranks,), PAIRWISE=(pairwise,))


VARIANTS = (
    *_variants(1, 1, IO=LOW, PARTS=(1,), STATE=(128,), ROWS=(32,), OUTPUT=(0, 1)),
    *_variants(0, 4, IO=LOW, PARTS=(1,), STATE=(128,), ROWS=(32,), OUTPUT=(0, 1)),
    *_variants(0, 0, IO=LOW, PARTS=(1,), STATE=(16,), ROWS=(32,), OUTPUT=(1,)),
    *_variants(1, 0, IO=LOW[:1], PARTS=(1,), STATE=(64,), ROWS=(32,), OUTPUT=(1,)),
    *_variants(0, 8, IO=LOW[:1], PARTS=(1,), STATE=(128,), ROWS=(32,), OUTPUT=(1,)),
    *_variants(0, 2, IO=LOW[:1], PARTS=(1,), STATE=(256,), ROWS=(32,), OUTPUT=(0, 1)),
    *_variants(1, 1, IO=IO[:1], PARTS=(1, 2), STATE=(128,), ROWS=(32,), OUTPUT=(1,)),
    *_variants(0, 2, IO=IO[:1], PARTS=(2,), STATE=(128,), ROWS=(32,), OUTPUT=(1,)),
    *_variants(0, 4, IO=IO[:1], PARTS=(2,), STATE=(128,), ROWS=(32,), OUTPUT=(1,)),
    *_variants(0, 0, IO=IO[:1], PARTS=(2,), STATE=(16,), ROWS=(32,), OUTPUT=(0, 1)),
    *_variants(1, 1, IO=IO[:1], PARTS=(2,), STATE=(256,), ROWS=(16,), OUTPUT=(1,)),
)


def _room(variant: Variant) -> Budget:
    """Return the budget of known ranks: shared memory for the most angles."""
    itemsize = 4 if variant["IO"] == "float" else 2
    state, ranks = int(variant["STATE"]), int(variant["RANKS"])
    laid = layout(itemsize, state, ranks, state // 2, fixed=True)
    assert laid is not None
    return Budget("mamba3_scan", 255, True, when=variant, shared=laid.shared)


SCAN = Program(
    "mamba3_scan.cu",
    variants=VARIANTS,
    budgets=(
        # As many registers as eight warps on a multiprocessor may have. A few words are
        # spilled in some variants: none on 9.0 of bf16 and f16 with 128 states.
        Budget("mamba3_scan", 255, spills=True, needs=("HMMA", "LDGSTS.E.BYPASS.128")),
        *(Budget("mamba3_scan", 255, True, ("LDSM",), when={"IO": io}) for io in LOW),
        Budget("mamba3_scan", 255, when={"STATE": 16}),
        *(_room(v) for v in VARIANTS if v["RANKS"] and v["OUTPUT"]),
    ),
)
CARRY = Program(
    "mamba3_carry.cu",
    variants=product(IO=IO),
    budgets=(
        Budget("mamba3_turns", registers=48),
        Budget("mamba3_carry_turns", registers=40),
    ),
)
NORM = Program(
    "mamba3_norm.cu",
    variants=product(IO=IO),
    budgets=(Budget("mamba3_norm", registers=48),),
)

# Threads of a block of the carries and of the norm.
THREADS = 128

TOKENS = ("x", "dt", "A", "B", "C", "trap", "angles", "z")
OPTIONS = ("B_bias", "C_bias", "D", "norm_weight", "mimo_x", "mimo_z", "mimo_o")
STATE = ("angle", "ssm", "k", "v")


@dataclass(frozen=True)
class Operands:
    """The arguments as kernels read them, and what they write."""

    tokens: dict[str, Array]
    options: dict[str, Array | None]
    state: dict[str, Array | None]
    y: Array
    last: dict[str, Array]
    laid: Layout
    ranks: int
    fixed: int
    groups: int
    size: int
    pairwise: bool
    eps: float

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch, length, heads and headdim."""
        return self.y.shape

    @property
    def pairs(self) -> int:
        """How many pairs of coordinates turn."""
        return self.tokens["angles"].shape[3]


def scan(call: dict[str, Any], ranks: int, groups: int) -> tuple[Array, tuple]:
    """Return y and the parts of the last state.

    `call` has the arguments of `mimo`; those that SISO lacks are None. Raises
    ValueError where a block has no room for the state and ranks of B.
    """
    bounds = call["cu_seqlens"]
    bounds = None if bounds is None else bounds.tolist()
    batch, length = call["x"].shape[:2]
    rows = batch if bounds is None else len(bounds) - 1
    x = _operands(call, ranks, groups, rows)
    longest = length if bounds is None else int(np.diff(bounds).max(initial=0))
    heads, headdim = x.sizes[2:]
    cut = segment_length(x.laid, heads, headdim, batch * length, longest, processors())
    segments = segments_of(bounds, cut, batch, length)
    turns, starts = (None, None) if segments.whole else _starts(x, segments)
    _scan(x, segments, turns, starts)
    return x.y, tuple(x.last.values())


def _operands(call: dict[str, Any], ranks: int, groups: int, rows: int) -> Operands:
    x, state, size = call["x"], call["initial_state"], call["B"].shape[-1]
    pairs, (heads, headdim) = call["angles"].shape[-1], x.shape[2:]
    fixed = fixed_ranks(call, ranks)
    laid = layout(x.itemsize, size, ranks, pairs, fixed=fixed > 0)
    if laid is None:
        raise ValueError(
            f"B has a state of {size} and {ranks} ranks; as {x.dtype} a block has room "
            f"for at most {STATES[-1]} and {ROWS}, not for the most of "
            "both"
        )
    shapes = (heads, pairs), (heads, headdim, size), (ranks, heads, size)
    shapes = zip(STATE, (*shapes, (heads, headdim)), strict=True)
    return Operands(
        tokens={name: per_token(call[name]) for name in TOKENS},
        options={name: flat(call[name]) for name in OPTIONS},
        state={n: None if state is None else ready(getattr(state, n)) for n in STATE},
        y=cupy().empty(x.shape, x.dtype),
        last={name: cupy().empty((rows, *shape), FLOAT32) for name, shape in shapes},
        laid=laid,
        ranks=ranks,
        fixed=fixed,
        groups=groups,
        size=size,
        pairwise=call["pairing"] == "pairwise",
        eps=call["norm_eps"],
    )


def fixed_ranks(call: dict[str, Any], ranks: int) -> int:
    """Return the number of ranks that a kernel is compiled for, 0 for any number.

    That of one rank is without weights.
    """
    weights = (call["mimo_x"], call["mimo_z"], call["mimo_o"])
    weighted = any(w is not None for w in weights)
    return ranks if ranks in FIXED and (ranks > 1 or not weighted) else 0


def _starts(x: Operands, segments: Segments) -> tuple[Array, Array]:
    """Return where angles and states of each segment start."""
    heads, headdim = x.sizes[2:]
    kernels = {
        name: CARRY.kernel(f"mamba3_{name}", IO=word(x.y))
        for name in ("turns", "carry_turns")
    }
    turns = cupy().empty((segments.count, heads, x.pairs), FLOAT32)
    angles, dt = x.tokens["angles"], x.tokens["dt"]
    kernels["turns"](
        (segments.count * heads,),
        (THREADS,),
        (
            *(angles, dt, *steps_of(angles), *steps_of(dt), segments.table, turns),
            *(x.sizes[1], segments.length, segments.per_row, heads, x.pairs),
        ),
        shared=4 * THREADS,
    )
    rows = segments.first, segments.rows, segments.per_row
    numbers = heads * x.pairs
    kernels["carry_turns"](
        (-(-segments.rows * numbers // THREADS),),
        (THREADS,),
        (x.state["angle"], turns, *rows, numbers),
    )
    starts = cupy().empty((segments.count, heads, headdim, x.size), FLOAT32)
    spans = cupy().empty((segments.count, heads), FLOAT32)
    _scan(x, segments, turns, starts, spans)
    carry_states(segments, starts, spans)
    return turns, starts


def _scan(
    x: Operands,
    segments: Segments,
    turns: Array | None,
    starts: Array | None,
    spans: Array | None = None,
) -> None:
    """Run all segments; with `spans`, only for what they add to the state."""
    batch, length, heads, headdim = x.sizes
    raw = None
    if spans is None and x.options["norm_weight"] is not None and headdim > WIDTH:
        raw = cupy().empty((batch, length, heads, x.ranks, headdim), FLOAT32)
    tiles = max(1, -(-headdim // WIDTH))
    kernel = SCAN.kernel(
        "mamba3_scan",
        IO=word(x.y),
        PARTS=parts(x.y.dtype),
        STATE=x.laid.state,
        ROWS=x.laid.rows,
        RANKS=x.fixed,
        PAIRWISE=int(x.pairwise),
        OUTPUT=int(spans is None),
    )
    kernel(
        (segments.count * heads * tiles,),
        (x.laid.threads,),
        (
            *(x.tokens.values()),
            *(step for array in x.tokens.values() for step in steps_of(array)),
            *(*x.state.values(), *x.options.values(), segments.table),
            *(turns, starts, spans, x.y, raw, *x.last.values()),
            *(length, segments.length, segments.per_row, heads, headdim, x.groups),
            *(x.size, x.ranks, x.pairs, x.laid.shift, *_whole(x), x.eps),
        ),
        shared=x.laid.shared,
    )
    if raw is not None:
        _norm(x, raw)


def _norm(x: Operands, raw: Array) -> None:
    batch, length, heads, headdim = x.sizes
    warps, z, options = THREADS // 32, x.tokens["z"], x.options
    weights = (options[name] for name in ("norm_weight", "mimo_z", "mimo_o"))
    NORM.kernel("mamba3_norm", IO=word(x.y))(
        (-(-batch * length * heads // warps),),
        (THREADS,),
        (
            *(raw, z, *weights, x.y, *steps_of(z), batch * length, length),
            *(heads, x.ranks, headdim, x.eps),
        ),
        shared=4 * warps * x.ranks,
    )


def _whole(x: Operands) -> tuple[bool, bool, bool]:
    """Return whether keys, values and angles of a token are aligned vectors."""
    tokens = x.tokens
    return (
        vectors(tokens["B"], tokens["C"]),
        vectors(tokens["x"], tokens["z"], x.y),
        vectors(tokens["angles"]),
    )
