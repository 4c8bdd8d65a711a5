"""The arguments of the selective scan as kernels read them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._arrays import aligned, ready, strides
from ._contract import heads_per_group
from ._cupy import cupy, limit
from ._mamba1_plan import Plan, Work, plan
from ._mamba1_shared import (
    contiguous,
    in_one_type,
    is_complex,
    numbers_of,
    parts,
    state_count,
)
from ._types import WORDS, Array, word


@dataclass(frozen=True)
class Projection:
    """B or C as kernels read it: real numbers, and strides in these."""

    array: Array
    fixed: bool
    batch: int = 0
    token: int = 0
    group: int = 0


@dataclass(frozen=True)
class Operands:
    """The arguments as kernels read them, and what they write."""

    u: Array
    dt: Array
    z: Array | None
    by_time: bool
    B: Projection
    C: Projection
    A: Array
    D: Array | None
    bias: Array | None
    start: Array | None
    y: Array
    last: Array
    groups: int
    bounds: list[int] | None
    macros: dict[str, int | str]
    plan: Plan

    @property
    def channels(self) -> int:
        """Channels of all groups together."""
        return self.u.shape[2]


def operands(arguments: dict[str, Any]) -> Operands:
    """Return the arguments as kernels read them; copies only of what they cannot."""
    a = arguments
    u, A = a["u"], a["A"]
    bounds = None if a["cu_seqlens"] is None else a["cu_seqlens"].tolist()
    channels = A.shape[0]
    per_group = min(_per_group(name, a[name], channels) for name in "BC")
    states = [a[x] for x in ("A", "B", "initial_state")]
    kind = np.complex64 if any(map(is_complex, states)) else np.float32
    state = state_count(A, kind)
    by_time, (u, dt, z) = _rows(u, a["dt"], a["z"])
    B, C = map(_projection, in_one_type(a["B"], a["C"], kind, u.dtype))
    start = None if a["initial_state"] is None else ready(a["initial_state"])
    rows = u.shape[0] if bounds is None else len(bounds) - 1
    x = Operands(
        u=u,
        dt=dt,
        z=z,
        by_time=by_time,
        B=B,
        C=C,
        A=ready(A.astype(kind, copy=False)),
        D=None if a["D"] is None else ready(a["D"]),
        bias=None if a["dt_bias"] is None else ready(a["dt_bias"]),
        start=None if start is None else start.astype(kind, copy=False),
        y=_output(u, by_time),
        last=cupy().empty((rows, channels, state), kind),
        groups=channels // per_group if per_group else 1,
        bounds=bounds,
        macros={},
        plan=plan(_work(u, bounds, state, kind, per_group)),
    )
    x.macros.update(_macros(x, per_group, bool(a["dt_softplus"])))
    return x


def _work(
    u: Array, bounds: list[int] | None, state: int, kind: Any, per_group: int
) -> Work:
    batch, length, channels = u.shape
    return Work(
        state=state,
        numbers=numbers_of(kind),
        channels=channels,
        per_group=per_group,
        itemsize=u.itemsize,
        tokens=batch * length,
        longest=length if bounds is None else int(np.diff(bounds).max()),
        processors=limit(u.device.id, "MultiProcessorCount"),
    )


def _per_group(name: str, X: Array, channels: int) -> int:
    return heads_per_group(name, X, channels, axis=2) if X.ndim == 4 else channels


def _rows(*arrays: Array) -> tuple[bool, list[Array]]:
    """Return whether rows are of time, and the arrays, copied where they are not."""
    for axis in (2, 1):
        if all(x is None or contiguous(x, axis) for x in arrays):
            return axis == 1, list(arrays)
    return False, [x if x is None or contiguous(x, 2) else ready(x) for x in arrays]


def _output(u: Array, by_time: bool) -> Array:
    batch, length, channels = u.shape
    if by_time:
        return cupy().empty((batch, channels, length), u.dtype).transpose(0, 2, 1)
    return cupy().empty(u.shape, u.dtype)


def _projection(X: Array) -> Projection:
    if X.ndim == 2:
        return Projection(parts(ready(X)), fixed=True)
    X = X if X.ndim == 4 else X[:, :, None]
    if is_complex(X) or not contiguous(X, 3):
        X = ready(X)
    X = parts(X)
    batch, token, group, _ = strides(X)
    return Projection(X, False, batch, token, group if X.shape[2] > 1 else 0)


def _macros(x: Operands, per_group: int, softplus: bool) -> dict[str, int | str]:
    laid = x.plan.tiling
    macros = {
        "IO": word(x.u),
        "BC": WORDS[x.B.array.dtype],
        "STATE": x.A.shape[1],
        "PARTS": 2 if is_complex(x.A) else 1,
        "BY_TIME": int(x.by_time),
        "STATES": laid.states,
        "LANES": laid.lanes,
        "ROWS": laid.rows,
        "THREADS": laid.threads,
        "TILE": laid.tile,
        "PACKED": int(x.bounds is not None),
        "FIXED_B": int(x.B.fixed),
        "FIXED_C": int(x.C.fixed),
        "SOFTPLUS": int(softplus),
        "GATED": int(x.z is not None),
        "SKIP": int(x.D is not None),
    }
    whole = int(_whole_rows(x, per_group))
    return macros | {"WHOLE": whole, "WHOLE_BC": int(_whole_tokens(x))}


def _whole_rows(x: Operands, per_group: int) -> bool:
    """Return whether vectors of u, dt, z and y are aligned and never ragged."""
    row = x.u.shape[1] if x.by_time else per_group
    if row * x.u.itemsize % 16 or (x.by_time and x.bounds is not None):
        return False
    arrays = [a for a in (x.u, x.dt, x.z, x.y) if a is not None]
    return aligned(*(a.transpose(0, 2, 1) if x.by_time else a for a in arrays))


def _whole_tokens(x: Operands) -> bool:
    """Return whether the states of each token and group are aligned vectors."""
    varying = [p.array for p in (x.B, x.C) if not p.fixed]
    sizes = (a.shape[-1] * a.itemsize for a in varying)
    whole = aligned(*varying) and all(size % 16 == 0 for size in sizes)
    return whole and bool(varying)


def shared_bytes(m: dict[str, Any]) -> int:
    """Return the size of `Shared` in the kernel file."""
    io, bc = (4 if m[x] == "float" else 2 for x in ("IO", "BC"))
    channels = m["THREADS"] // m["LANES"] * m["ROWS"]
    slots = io * channels * (2 + m["GATED"])
    pairs = 4 * (2 * channels + (2 * m["ROWS"] if m["BY_TIME"] else 0))
    sums = 4 * (channels + (9 if m["BY_TIME"] else 8))
    varying = 2 - m["FIXED_B"] - m["FIXED_C"]
    spread = 4 * m["STATES"] * m["LANES"] * m["PARTS"] + bc * m["STATE"] * m["PARTS"]
    return m["TILE"] * (slots + pairs + sums + varying * spread) + 8 * channels


def row_strides(x: Operands, array: Array | None) -> tuple[int, int]:
    """Return the strides of batch and of rows: tokens, or channels where by time."""
    if array is None:
        return 0, 0
    batch, token, channel = strides(array)
    return batch, channel if x.by_time else token
