"""The selective scan in one launch, parallel in time, on the GPU.

Another way than segments (`_mamba1_scan`) for rows that are few and long: every
exponential once, and no input twice. Its sums over time go through shuffles, which by
counted instructions cost more than the exponentials that they save. So `_mamba1_scan`
takes this one only where it is told to, until both have been timed on a GPU.
"""

from typing import Any

from ._cupy import cupy
from ._launch import Budget, Program, product
from ._mamba1_operands import Operands, row_strides
from ._mamba1_shared import parts
from ._segments import segments_of

RUN, WARPS, CHANNELS = 8, 8, 8
TOKENS = 32 * RUN
# B and C of all tokens of a block have to fit beside each other.
MOST_STATES = 16

MACROS = ("IO", "STATE", "BY_TIME", "PACKED", "SOFTPLUS", "GATED", "SKIP")


def _variants(**changes: Any) -> tuple:
    """Return variants that differ in `changes` from the one of Mamba's checkpoints."""
    usual = {"IO": "bf16", "STATE": 16, "BY_TIME": 0, "PACKED": 0, "SOFTPLUS": 1}
    usual |= {"GATED": 1, "SKIP": 1, "WHOLE": 1, "WHOLE_BC": 1}
    usual |= {"WARPS": WARPS, "CHANNELS": CHANNELS}
    return product(**{name: (value,) for name, value in (usual | changes).items()})


LOOKBACK = Program(
    "selective_scan_lookback.cu",
    variants=(
        *_variants(),
        *_variants(IO="f16"),
        *_variants(IO="float"),
        *_variants(BY_TIME=1, PACKED=1, WHOLE=0, WHOLE_BC=0, STATE=5),
    ),
    budgets=(
        Budget("scan_lookback", registers=120, shared=86_020),
        Budget(
            "scan_lookback",
            registers=120,
            needs=("LDG.E.128", "STG.E.128"),
            when={"WHOLE": 1, "WHOLE_BC": 1},
        ),
    ),
)


def possible(x: Operands) -> bool:
    """Return whether the kernel has this form of the op."""
    real = x.macros["PARTS"] == 1 and x.macros["BC"] == x.macros["IO"]
    varying = not (x.B.fixed or x.C.fixed)
    return real and varying and x.A.shape[1] <= MOST_STATES


def scan_lookback(x: Operands) -> None:
    """Fill `x.y` and `x.last`."""
    cut = segments_of(x.bounds, TOKENS, *x.u.shape[:2])
    channels, state = x.A.shape
    zeros, empty = cupy().zeros, cupy().empty
    workspace = (
        empty((cut.count, channels, state, 2), "float32"),
        empty((cut.count, channels, state), "float32"),
        zeros((2, cut.count, channels, WARPS), "uint32"),
        zeros(1, "uint32"),
    )
    arguments = (
        *(x.u, x.dt, x.z, x.B.array, x.C.array, x.A, x.D, x.bias, x.start),
        *(cut.table, cut.first, x.y, parts(x.last), *workspace),
        *(x.groups, channels, cut.per_row, cut.count, x.u.shape[1]),
        *(s for array in (x.u, x.dt, x.z, x.y) for s in row_strides(x, array)),
        *(s for p in (x.B, x.C) for s in (p.batch, p.token, p.group)),
    )
    macros = {name: x.macros[name] for name in (*MACROS, "WHOLE", "WHOLE_BC")}
    macros |= {"WARPS": WARPS, "CHANNELS": CHANNELS}
    tiles = -(-(channels // x.groups) // CHANNELS)
    kernel = LOOKBACK.kernel("scan_lookback", **macros)
    rows = 2 * CHANNELS + 2 * state + WARPS
    shared = 4 * (rows * (TOKENS + 4 * 32) + 1)
    kernel((cut.count * x.groups * tiles,), (32 * WARPS,), arguments, shared=shared)
