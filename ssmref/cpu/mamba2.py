"""Mamba-2 on the CPU: see `ssmref.golden.mamba2`."""

import math
from typing import Any

import numpy as np

from ..contract import heads_per_group
from ._arguments import boundaries, checked, flat_tokens, ready, rows_of
from ._mamba2_kernels import Call
from ._mamba2_pieces import scan_sequences
from ._mamba2_step import advance
from ._types import Integer, Real

Sequence = Real[np.ndarray, "batch length heads headdim"]
Projection = Real[np.ndarray, "batch length groups state"]
PerHead = Real[np.ndarray, " heads"]
Skip = Real[np.ndarray, " heads"] | Real[np.ndarray, "heads headdim"]
State = Real[np.ndarray, "sequences heads headdim state"]
Bounds = Integer[np.ndarray, " bounds"]
Token = Real[np.ndarray, "batch heads headdim"]
TokenProjection = Real[np.ndarray, "batch groups state"]
Slots = Real[np.ndarray, "slots heads headdim state"]


@checked
def ssd(
    x: Sequence,
    dt: Real[np.ndarray, "batch length heads"],
    A: PerHead,
    B: Projection,
    C: Projection,
    *,
    D: Skip | None = None,
    z: Sequence | None = None,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.mamba2.ssd`, chunk by chunk: products inside, a state between.

    Threads divide sequences and heads. Where there are too few of them, time is split
    too, which changes results within rounding. Besides the results, memory of about
    300 KiB per thread, and one state per piece of time.
    """
    limits = _limits(dt_limit, dt)
    for name, array in (("B", B), ("C", C)):
        _ = heads_per_group(name, array, x.shape[2], axis=2)
    bounds = boundaries(x, cu_seqlens)
    call = Call(
        *(flat_tokens(x), flat_tokens(dt), ready(A), flat_tokens(B), flat_tokens(C)),
        *(_skip(D, x), flat_tokens(x[:0] if z is None else z)),
        *(_bias(dt_bias, A), *limits, bool(dt_softplus)),
    )
    y, state = scan_sequences(call, bounds, initial_state)
    return y.reshape(x.shape), state


@checked
def ssd_step(
    x: Token,
    dt: Real[np.ndarray, "batch heads"],
    A: PerHead,
    B: TokenProjection,
    C: TokenProjection,
    state: Slots,
    *,
    D: Skip | None = None,
    z: Token | None = None,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Token, Slots]:
    """`golden.mamba2.ssd_step`: one pass over the state updates and reads it."""
    limits = _limits(dt_limit, dt)
    for name, array in (("B", B), ("C", C)):
        _ = heads_per_group(name, array, x.shape[1], axis=1)
    call = Call(
        *(ready(x), ready(dt), ready(A), ready(B), ready(C)),
        *(_skip(D, x), ready(x[:0] if z is None else z)),
        *(_bias(dt_bias, A), *limits, bool(dt_softplus)),
    )
    rows = rows_of(slots, len(x))
    return advance(call, ready(state), rows, slots is not None)


def _limits(dt_limit: tuple[float, float], dt: np.ndarray) -> tuple[Any, Any]:
    low, high = dt_limit
    if not low <= high:
        raise ValueError(f"dt_limit is {dt_limit}; it needs to be (low, high)")
    return dt.dtype.type(low), dt.dtype.type(high)


def _skip(D: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    """Return D as (heads, headdim), or no rows if there is none."""
    heads, headdim = x.shape[-2:]
    if D is None:
        return np.empty((0, headdim), x.dtype)
    skip = np.empty((heads, headdim), x.dtype)
    skip[:] = D if D.ndim == 2 else D[:, None]
    return skip


def _bias(dt_bias: np.ndarray | None, A: np.ndarray) -> np.ndarray:
    return np.zeros(A.shape, A.dtype) if dt_bias is None else ready(dt_bias)
