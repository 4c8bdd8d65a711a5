"""The launch of one step of the selective scan; what it does stands in the kernel."""

from typing import Any

import numpy as np

from ._arrays import aligned, ready, strides
from ._contract import heads_per_group
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._mamba1_shared import (
    contiguous,
    in_one_type,
    is_complex,
    parts,
    state_count,
)
from ._rows import power_of_two
from ._types import WORDS, Array, word

THREADS = 128
# A thread takes several rows of the batch where one each would fill the GPU anyway.
BATCH = 4
MANY_ROWS = 16


def _variants(**changes: Any) -> tuple:
    """Return variants that differ in `changes` from the one of Mamba's checkpoints."""
    usual = {"IO": "bf16", "BC": "bf16", "STATE": 16, "PARTS": 1, "STATES": 4}
    usual |= {"LANES": 4, "BATCH": BATCH, "THREADS": THREADS, "SOFTPLUS": 1}
    usual |= {"GATED": 1, "SKIP": 1, "WHOLE": 1, "WHOLE_BC": 1}
    return product(**{name: (value,) for name, value in (usual | changes).items()})


STEP = Program(
    "selective_scan_step.cu",
    variants=(
        *_variants(),
        *_variants(IO="f16", BC="f16", BATCH=1),
        *_variants(IO="float", BC="float"),
        *_variants(STATE=64, LANES=16),
        *_variants(
            STATE=5, STATES=3, LANES=2, BATCH=1, WHOLE=0, WHOLE_BC=0, GATED=0, SKIP=0
        ),
        *_variants(BC="float", PARTS=2, STATES=2, LANES=8),
    ),
    budgets=(
        Budget("scan_step", registers=96, shared=0),
        Budget("scan_step", registers=80, needs=("LDG.E.128",), when={"WHOLE": 1}),
        Budget("scan_step", registers=80, needs=("STG.E.128",), when={"WHOLE": 1}),
    ),
)


def advance(arguments: dict[str, Any]) -> tuple[Array, Array]:
    """Run the op.

    Raises ValueError where groups do not divide the channels or states are too many.
    """
    a = arguments
    u, A, slots = a["u"], a["A"], a["slots"]
    B, C = (X if X.ndim == 3 else X[:, None] for X in (a["B"], a["C"]))
    per_group = min(
        heads_per_group(name, X, u.shape[1], axis=1) for name, X in (("B", B), ("C", C))
    )
    kind = np.complex64 if any(map(is_complex, (A, B, a["state"]))) else np.float32
    _ = state_count(A, kind)
    old = ready(a["state"].astype(kind, copy=False))
    new = cupy().empty_like(old) if slots is None else old.copy()
    y = cupy().empty(u.shape, u.dtype)
    if u.size:
        rows = [_row(x) for x in (u, a["dt"], a["z"])]
        B, C = (parts(_row(X)) for X in in_one_type(B, C, kind, u.dtype))
        A = ready(A.astype(kind, copy=False))
        D, bias = (None if x is None else ready(x) for x in (a["D"], a["dt_bias"]))
        if slots is not None:
            old, slots = new, ready(slots.astype(np.int64, copy=False))
        macros = _macros(a, A, (old, new), (B, C))
        states = slots, parts(old), parts(new)
        _launch(macros, rows, (B, C), (parts(A), D, bias), states, y, per_group)
    return y, new


def _row(x: Array | None) -> Array | None:
    """Return `x`, a copy where its last axis is not contiguous."""
    return x if x is None or contiguous(x) else ready(x)


def _macros(
    a: dict[str, Any], A: Array, old_and_new: tuple, projections: tuple
) -> dict[str, int | str]:
    state, numbers = A.shape[1], 2 if is_complex(A) else 1
    per_vector = 4 // numbers
    lanes = power_of_two(-(-state // per_vector), 32)
    states = -(-state // lanes)
    even = states * lanes == state and states % per_vector == 0
    return {
        "IO": word(a["u"]),
        "BC": WORDS[projections[0].dtype],
        "STATE": state,
        "PARTS": numbers,
        "STATES": states,
        "LANES": lanes,
        "BATCH": BATCH if len(a["u"]) >= MANY_ROWS else 1,
        "THREADS": THREADS,
        "SOFTPLUS": int(a["dt_softplus"]),
        "GATED": int(a["z"] is not None),
        "SKIP": int(a["D"] is not None),
        "WHOLE": int(even and aligned(A, *old_and_new)),
        "WHOLE_BC": int(even and aligned(*projections)),
    }


def _launch(
    macros: dict[str, Any],
    rows: list[Array | None],
    projections: tuple[Array, ...],
    channels: tuple[Array | None, ...],
    states: tuple[Array | None, ...],
    y: Array,
    per_group: int,
) -> None:
    size = y.shape[1] * macros["LANES"]
    grid = -(-size // THREADS), -(-len(y) // macros["BATCH"])
    arguments = (
        *(*rows, *projections, *channels, *states, y, *y.shape, per_group),
        *(0 if x is None else strides(x)[0] for x in rows),
        *(s for X in projections for s in _row_and_group(X)),
    )
    STEP.kernel("scan_step", **macros)(grid, (THREADS,), arguments)


def _row_and_group(X: Array) -> tuple[int, int]:
    row, group, _ = strides(X)
    return row, group if X.shape[1] > 1 else 0
