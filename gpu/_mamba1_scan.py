"""The launches of the selective scan on the GPU; what they do stands in the kernels."""

import math
from typing import Any

from ._cupy import cupy
from ._launch import Budget, Program, product
from ._mamba1_lookback import possible, scan_lookback
from ._mamba1_operands import Operands, operands, row_strides, shared_bytes
from ._mamba1_shared import parts
from ._segments import Segments, segments_of
from ._types import Array

CARRY_THREADS = 256


def _variants(**changes: Any) -> tuple:
    """Return variants that differ in `changes` from the one of Mamba's checkpoints."""
    usual = {"IO": "bf16", "BC": "bf16", "STATE": 16, "PARTS": 1, "BY_TIME": 0}
    usual |= {"STATES": 4, "LANES": 4, "ROWS": 1, "THREADS": 128, "TILE": 32}
    usual |= {"PACKED": 0, "FIXED_B": 0, "FIXED_C": 0, "SOFTPLUS": 1, "GATED": 1}
    usual |= {"SKIP": 1, "WHOLE": 1, "WHOLE_BC": 1}
    return product(**{name: (value,) for name, value in (usual | changes).items()})


def _budgets(registers: int, forward: float, states: float, **when: int) -> tuple:
    """Return the budgets of the fast case; instructions are for each exponential."""
    fast = {"STATES": 4, "PARTS": 1, "WHOLE": 1, "WHOLE_BC": 1, **when}
    vectors = "LDGSTS.E.BYPASS.128", "STG.E.128"
    return (
        Budget("scan_forward", registers, False, vectors, ("MUFU.EX2", forward), fast),
        Budget(
            "scan_states", registers, False, vectors[:1], ("MUFU.EX2", states), fast
        ),
    )


ENTRIES = "scan_forward", "scan_states"
USUAL = {"STATE": 16, "PARTS": 1}
SCAN = Program(
    "selective_scan.cu",
    variants=(
        *_variants(),
        *_variants(IO="f16", BC="f16"),
        *_variants(IO="float", BC="float", TILE=16),
        *_variants(BY_TIME=1),
        *_variants(PACKED=1, WHOLE=0, WHOLE_BC=0),
        *_variants(ROWS=2, TILE=16),
        *_variants(ROWS=2, TILE=16, IO="float", BC="float"),
        *_variants(STATE=64, STATES=8, LANES=8, THREADS=256),
        *_variants(STATE=5, STATES=3, LANES=2, TILE=16, WHOLE_BC=0, GATED=0, SKIP=0),
        *_variants(BC="float", PARTS=2),
        *_variants(BC="float", PARTS=2, FIXED_B=1, FIXED_C=1, SOFTPLUS=0),
    ),
    budgets=(
        *(Budget(name, 128, shared=69_088) for name in ENTRIES),
        *(Budget(name, 128, shared=30_016, when=USUAL) for name in ENTRIES),
        *_budgets(registers=96, forward=7.2, states=5.1, ROWS=1),
        *_budgets(registers=72, forward=7.0, states=4.9, ROWS=2),
    ),
)
CARRY = Program(
    "selective_scan_carry.cu",
    variants=product(PARTS=(1, 2), THREADS=(CARRY_THREADS,)),
    budgets=(Budget("scan_carry", registers=40, shared=0),),
)


def scan(arguments: dict[str, Any], how: str = "") -> tuple[Array, Array]:
    """Run the op as planned, or by "lookback" where it has that form.

    Raises ValueError where groups do not divide the channels or states are too many.
    """
    x = operands(arguments)
    if x.u.size == 0:
        x.last[...] = 0 if x.start is None else x.start
    elif how == "lookback" and possible(x):
        scan_lookback(x)
    else:
        segments = segments_of(x.bounds, x.plan.length, *x.u.shape[:2])
        _forward(x, segments, x.start if segments.whole else _starts(x, segments))
    return x.y, x.last


def _starts(x: Operands, segments: Segments) -> Array:
    """Return the state at the start of each segment."""
    shape = segments.count, *x.A.shape
    added, spans = (cupy().empty(shape, x.last.dtype) for _ in range(2))
    arguments = (
        *(x.u, x.dt, x.B.array, parts(x.A), x.bias, segments.table),
        *(parts(added), parts(spans), *_sizes(x, segments)),
        *(s for array in (x.u, x.dt) for s in row_strides(x, array)),
        *(x.B.batch, x.B.token, x.B.group),
    )
    _launch(x, "scan_states", segments, arguments)
    kernel = CARRY.kernel("scan_carry", PARTS=x.macros["PARTS"], THREADS=CARRY_THREADS)
    initial = None if x.start is None else parts(x.start)
    rows, numbers = x.last.shape[0], math.prod(x.A.shape)
    arguments = (
        *(initial, parts(added), parts(spans), segments.first),
        *(rows, segments.per_row, numbers),
    )
    kernel((-(-rows * numbers // CARRY_THREADS),), (CARRY_THREADS,), arguments)
    return added


def _forward(x: Operands, segments: Segments, start: Array | None) -> None:
    arguments = (
        *(x.u, x.dt, x.z, x.B.array, x.C.array, parts(x.A), x.D, x.bias),
        *(None if start is None else parts(start), segments.table),
        *(x.y, parts(x.last), *_sizes(x, segments)),
        *(s for array in (x.u, x.dt, x.z, x.y) for s in row_strides(x, array)),
        *(s for p in (x.B, x.C) for s in (p.batch, p.token, p.group)),
    )
    _launch(x, "scan_forward", segments, arguments)


def _sizes(x: Operands, segments: Segments) -> tuple[int, ...]:
    length = x.u.shape[1]
    return x.groups, x.channels, segments.per_row, segments.length, length


def _launch(x: Operands, name: str, segments: Segments, arguments: tuple) -> None:
    tiles = -(-(x.channels // x.groups) // x.plan.tiling.channels)
    grid = (segments.count * x.groups * tiles,)
    kernel = SCAN.kernel(name, **x.macros)
    kernel(grid, (x.plan.tiling.threads,), arguments, shared=shared_bytes(x.macros))
