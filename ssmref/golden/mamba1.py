"""Mamba-1: the selective state space model of Gu & Dao 2023 (arXiv 2312.00752)."""

from collections.abc import Callable

import numpy as np

from ._contract import checked, expand_groups, in_slots, separately
from ._types import Integer, Number, Real
from .layers import segsum, silu, softplus
from .scan import (
    linear_scan_blelloch,
    linear_scan_chunked,
    linear_scan_hillis_steele,
)

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
    """Run the selective recurrence one token at a time.

    ::

        dt[t] = softplus(dt[t] + dt_bias)
        h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] u[t]
        y[t] = (C[t] h[t] + D u[t]) silu(z[t])

    Mamba section 3.2, algorithm 2, with B held to its first-order (Euler) form as in
    the authors' own code (the paper prints zero-order hold). Complex A: the output is
    ``2 Re(C[t] h[t])``, one of each conjugate pair being stored. Channel d uses group
    ``d // (channels / groups)``. `dt_bias` is added before, softplus (threshold 20)
    applied if `dt_softplus`. The official code packs variable complex B and C as
    interleaved reals, and has neither initial_state nor cu_seqlens.

    Returns y and the last state, one per sequence. Raises ValueError where the groups
    do not divide the channels.
    """
    if cu_seqlens is not None:
        return separately(selective_scan, locals())
    dt = _step_size(dt, dt_bias, dt_softplus)
    B, C = _per_channel("B", B, u.shape), _per_channel("C", C, u.shape)
    h = _start(initial_state, u, A, B)
    y = np.empty_like(u)
    for t in range(u.shape[1]):
        decay = np.exp(dt[:, t, :, None] * A)
        drive = dt[:, t, :, None] * B[:, t] * u[:, t, :, None]
        h = decay * h + drive
        y[:, t] = _read(np.einsum("bdn,bdn->bd", C[:, t], h))
    return _skip_and_gate(y, u, D, z), h


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
    """Advance the selective recurrence by one token.

    One iteration of `selective_scan`; row i of the batch uses row ``slots[i]`` of the
    state (row i where `slots` is None), and a negative slot is padding: its output is
    0 and no state changes. Constant B and C have to be broadcast to (batch, groups,
    state): a (channels, state) could not be told from a (batch, state).

    Official ``selective_state_update``, which overwrites the state; here the new one
    is returned.
    """
    if slots is not None:
        return in_slots(selective_scan_step, locals())
    dt = _step_size(dt, dt_bias, dt_softplus)[:, :, None]
    B, C = (_of_token(n, X, u.shape) for n, X in (("B", B), ("C", C)))
    state = np.exp(dt * A) * state + dt * B * u[:, :, None]
    y = _read(np.sum(C * state, axis=-1))
    return _skip_and_gate(y, u, D, z), state


@checked
def selective_scan_hillis_steele(
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
    """`selective_scan` by the scan of Hillis & Steele: log2(length) parallel steps."""
    if cu_seqlens is not None:
        return separately(selective_scan_hillis_steele, locals())
    return _by_scan(linear_scan_hillis_steele, locals())


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
    """`selective_scan` by Blelloch's work-efficient up-sweep and down-sweep."""
    if cu_seqlens is not None:
        return separately(selective_scan_blelloch, locals())
    return _by_scan(linear_scan_blelloch, locals())


@checked
def selective_scan_chunked(
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
    chunk_size: int = 16,
) -> tuple[Sequence, State]:
    """`selective_scan` in three phases: local scans, carries, fix-up."""
    if cu_seqlens is not None:
        return separately(selective_scan_chunked, locals())

    def scan(a, b, *, initial_state):
        return linear_scan_chunked(
            a, b, initial_state=initial_state, chunk_size=chunk_size
        )

    return _by_scan(scan, locals())


@checked
def selective_scan_attention(
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
    """`selective_scan` as one lower-triangular matrix per channel.

    ::

        y[t] = sum_{s<=t} C[t] e^{A (dt[s+1] + ... + dt[t])} B[s] dt[s] u[s]
               + C[t] e^{A (dt[0] + ... + dt[t])} h[-1]

    The hidden attention of Ali et al. 2024 (arXiv 2403.01590), section 3.
    """
    if cu_seqlens is not None:
        return separately(selective_scan_attention, locals())
    dt = _step_size(dt, dt_bias, dt_softplus)
    B, C = _per_channel("B", B, u.shape), _per_channel("C", C, u.shape)
    h = _start(initial_state, u, A, B)
    span = segsum(np.swapaxes(dt, 1, 2))[..., None]
    past = np.isfinite(span)
    # Masked before exp: A times -inf would be NaN where A is 0 or complex.
    decay = past * np.exp(np.where(past, span, 0) * A[:, None, None])
    states = np.einsum("bdtsn,bsdn->btdn", decay, B * (dt * u)[..., None])
    states = states + np.exp(np.cumsum(dt, axis=1)[..., None] * A) * h[:, None]
    y = _read(np.einsum("btdn,btdn->btd", C, states)).astype(u.dtype)
    return _skip_and_gate(y, u, D, z), states[:, -1] if u.shape[1] else h


def _by_scan(scan: Callable, arguments: dict) -> tuple[np.ndarray, np.ndarray]:
    """Discretise, run `scan` over all tokens at once, read out."""
    u, A = arguments["u"], arguments["A"]
    dt = _step_size(arguments["dt"], arguments["dt_bias"], arguments["dt_softplus"])
    B, C = (_per_channel(name, arguments[name], u.shape) for name in "BC")
    h = _start(arguments["initial_state"], u, A, B)
    decay, drive = np.exp(dt[..., None] * A), (dt * u)[..., None] * B
    states = scan(decay, drive, initial_state=h)
    y = _read(np.einsum("btdn,btdn->btd", C, states))
    y = _skip_and_gate(y, u, arguments["D"], arguments["z"])
    return y, states[:, -1] if u.shape[1] else h


def _step_size(dt, dt_bias, dt_softplus):
    dt = dt if dt_bias is None else dt + dt_bias
    return softplus(dt) if dt_softplus else dt


def _per_channel(name: str, X: np.ndarray, shape: tuple) -> np.ndarray:
    """Return B or C as (batch, length, channels, state), whatever was given."""
    if X.ndim == 4:
        return expand_groups(name, X, shape[2], axis=2)
    varying = X[:, :, None] if X.ndim == 3 else X[None, None]
    return np.broadcast_to(varying, (*shape, X.shape[-1]))


def _of_token(name: str, X: np.ndarray, shape: tuple) -> np.ndarray:
    """Return B or C of one token as (batch, channels, state)."""
    return expand_groups(name, X if X.ndim == 3 else X[:, None], shape[1], axis=1)


def _start(initial_state, u, A, B) -> np.ndarray:
    if initial_state is not None:
        return initial_state.astype(np.result_type(initial_state, A, B))
    return np.zeros((u.shape[0], *A.shape), np.result_type(u, A, B))


def _read(y: np.ndarray) -> np.ndarray:
    """One of each conjugate pair is stored: the other doubles the real part."""
    return 2 * np.real(y) if np.iscomplexobj(y) else y


def _skip_and_gate(y, u, D, z):
    y = y if D is None else y + D * u
    return y if z is None else y * silu(z)
