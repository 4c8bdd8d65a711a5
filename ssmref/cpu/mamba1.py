"""Mamba-1 on the CPU: see `ssmref.golden.mamba1`."""

from itertools import pairwise
from typing import Any

import numpy as np

from ..contract import heads_per_group
from ._arguments import (
    boundaries,
    checked,
    flat_tokens,
    fresh,
    next_state,
    optional,
    ready,
    rows_of,
)
from ._mamba1_blelloch import read, states_of
from ._mamba1_blocks import Inputs
from ._mamba1_scan import place_of, scan
from ._mamba1_step import advance_token
from ._outputs import output
from ._types import Integer, Number, Real
from .layers import silu, softplus

Sequence = Real[np.ndarray, "batch length channels"]
PerChannel = Real[np.ndarray, " channels"]
# B and C: constant, shared by all channels, or one per group of channels.
Projection = (
    Number[np.ndarray, "channels state"]
    | Number[np.ndarray, "batch length state"]
    | Number[np.ndarray, "batch length groups state"]
)
TokenProjection = (
    Number[np.ndarray, "batch state"] | Number[np.ndarray, "batch groups state"]
)
State = Number[np.ndarray, "sequences channels state"]
Bounds = Integer[np.ndarray, " bounds"]


@checked
def selective_scan(
    u: Sequence,
    dt: Sequence,
    A: Number[np.ndarray, "channels state"],
    B: Projection,
    C: Projection,
    *,
    D: PerChannel | None = None,
    z: Sequence | None = None,
    dt_bias: PerChannel | None = None,
    dt_softplus: bool = False,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.mamba1.selective_scan`, tile by tile, states in registers.

    Real A and varying B and C are the fast case, in groups of whole vectors of channels
    the fastest. Time is split (`_mamba1_scan`) where sequences and vectors of channels
    are fewer than threads. Besides the results, 100 KiB per thread for 16 states; a
    pass over time more needs a state per thread.
    """
    bounds = boundaries(u, cu_seqlens)
    share = min(_share(n, X, u.shape[2]) for n, X in (("B", B), ("C", C)))
    state = fresh(
        initial_state, (len(bounds) - 1, *A.shape), _dtype(A, B, initial_state)
    )
    C = C if np.iscomplexobj(state) else _twice_real(C)
    options = {
        "share": share,
        "parts": 2 if np.iscomplexobj(state) else 1,
        "wide": int(np.iscomplexobj(state) or 2 in (B.ndim, C.ndim)),
        "fixed_b": int(B.ndim == 2),
        "fixed_c": int(C.ndim == 2),
        "softplus": int(dt_softplus),
        "skip": int(D is not None),
        "gated": int(z is not None),
    }
    u_flat = _flat(u)
    inputs = Inputs(
        u=u_flat,
        dt=_flat(dt),
        z=u_flat if z is None else _flat(z),
        A=_parts(A),
        B=_parts(_tokens(B)),
        C=_parts(_tokens(C)),
        D=_zeros_if_none(D, u),
        bias=_zeros_if_none(dt_bias, u),
    )
    y = output(u.shape, u.dtype, place_of(inputs, options))
    if y.size:
        scan(inputs, options, bounds, _parts(state), y.reshape(-1))
    return y, state


@checked
def selective_scan_blelloch(
    u: Sequence,
    dt: Sequence,
    A: Number[np.ndarray, "channels state"],
    B: Projection,
    C: Projection,
    *,
    D: PerChannel | None = None,
    z: Sequence | None = None,
    dt_bias: PerChannel | None = None,
    dt_softplus: bool = False,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.mamba1.selective_scan_blelloch`, to be compared with `selective_scan`.

    Everything is written out: (length, channels, state) three times, the length rounded
    up to a power of two, and sequences one after the other.
    """
    bounds = boundaries(u, cu_seqlens)
    for name, X in (("B", B), ("C", C)):
        _share(name, X, u.shape[2])
    dtype = _dtype(A, B, initial_state)
    state = fresh(initial_state, (len(bounds) - 1, *A.shape), dtype)
    factor = 2 if np.iscomplexobj(state) or np.iscomplexobj(C) else 1
    dt = dt if dt_bias is None else dt + dt_bias
    dt = flat_tokens(softplus(dt) if dt_softplus else dt)
    x, B, C = flat_tokens(u), _tokens(B), _tokens(C)
    y = np.empty_like(x)
    for s, (start, stop) in enumerate(pairwise(bounds.tolist())):
        own = slice(start, stop)
        B_own, C_own = (X if X.shape[0] == 1 else X[own] for X in (B, C))
        states = states_of(dt[own], x[own], ready(A), B_own, state[s])
        read(states, C_own, y[own], u.dtype.type(factor))
        state[s] = states[-1]
    y = y.reshape(u.shape)
    y = y if D is None else y + D * u
    return y if z is None else y * silu(z), state


@checked
def selective_scan_step(
    u: Real[np.ndarray, "batch channels"],
    dt: Real[np.ndarray, "batch channels"],
    A: Number[np.ndarray, "channels state"],
    B: TokenProjection,
    C: TokenProjection,
    state: Number[np.ndarray, "slots channels state"],
    *,
    D: PerChannel | None = None,
    z: Real[np.ndarray, "batch channels"] | None = None,
    dt_bias: PerChannel | None = None,
    dt_softplus: bool = False,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[
    Real[np.ndarray, "batch channels"], Number[np.ndarray, "slots channels state"]
]:
    """`golden.mamba1.selective_scan_step`: states are read and written once.

    Where `slots` is given, all of the state is copied first.
    """
    B, C = _of_token("B", B, u.shape[1]), _of_token("C", C, u.shape[1])
    old = ready(state.astype(_dtype(A, B, state), copy=False))
    new = next_state(old, slots)
    y = np.empty(u.shape, u.dtype)
    C = C if old.dtype.kind == "c" else _twice_real(C)
    work = [_parts(x.astype(old.dtype, copy=False)) for x in (old, new, A, B, C)]
    gate = y[:, :0] if z is None else ready(z)
    tokens = ready(u), ready(dt), gate, optional(D, u), optional(dt_bias, u)
    advance_token(tokens, work, rows_of(slots, len(u)), dt_softplus, y)
    return y, new


def _twice_real(C: np.ndarray) -> np.ndarray:
    """Return what a real state is read with: of a complex C, 2 Re C."""
    return 2 * np.real(C) if C.dtype.kind == "c" else C


def _share(name: str, X: np.ndarray, channels: int) -> int:
    """Return how many consecutive channels read the same numbers of B or C."""
    return heads_per_group(name, X, channels, axis=2) if X.ndim == 4 else channels


def _of_token(name: str, X: np.ndarray, channels: int) -> np.ndarray:
    """Return B or C of one token as (batch, groups, state)."""
    X = X if X.ndim == 3 else X[:, None]
    heads_per_group(name, X, channels, axis=1)
    return X


def _dtype(*arrays: np.ndarray | None) -> Any:
    return np.result_type(*(x for x in arrays if x is not None))


def _flat(x: np.ndarray) -> np.ndarray:
    return ready(x).reshape(-1)


def _parts(x: np.ndarray) -> np.ndarray:
    """Return real numbers, with an axis of real and imaginary part, or of one."""
    x = ready(x)
    if x.dtype.kind != "c":
        return x[..., None]
    return x.view(np.real(x).dtype).reshape(*x.shape, 2)


def _tokens(X: np.ndarray) -> np.ndarray:
    """Return B or C as (tokens, groups, state), or (1, channels, state)."""
    if X.ndim == 2:
        return ready(X[None])
    return flat_tokens(X if X.ndim == 4 else X[:, :, None])


def _zeros_if_none(x: np.ndarray | None, u: np.ndarray) -> np.ndarray:
    return np.zeros(u.shape[-1:], u.dtype) if x is None else ready(x)
