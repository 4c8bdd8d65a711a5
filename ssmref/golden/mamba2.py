"""Mamba-2: state space duality (SSD) of Dao & Gu 2024 (arXiv 2405.21060)."""

import math

import numpy as np

from ._contract import at_least, checked, expand_groups, in_slots, separately
from ._types import Integer, Real
from .layers import segsum, silu, softplus

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
    """Run the scalar-decay recurrence one token at a time.

    ::

        dt[t] = clip(softplus(dt[t] + dt_bias), dt_limit)
        h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t]^T
        y[t] = (h[t] C[t] + D x[t]) silu(z[t])

    Mamba-2 section 3, definition 3.1 with one decay per head; official
    ``mamba_chunk_scan_combined``. `dt_bias` is added before, softplus (threshold 20)
    applied if `dt_softplus`; the limits always apply. Head h uses group
    ``h // (heads / groups)``. In the official code cu_seqlens only selects final
    states; here it makes sequences independent, each with its own initial state.

    Raises ValueError where the groups do not divide the heads or dt_limit is empty.
    """
    if cu_seqlens is not None:
        return separately(ssd, locals())
    dt = _step_size(dt, dt_bias, dt_softplus, dt_limit)
    B, C = (expand_groups(n, X, x.shape[2], axis=2) for n, X in (("B", B), ("C", C)))
    h = _start(initial_state, x, B)
    y = np.empty_like(x)
    for t in range(x.shape[1]):
        decay = np.exp(dt[:, t] * A)
        drive = np.einsum("bh,bhp,bhn->bhpn", dt[:, t], x[:, t], B[:, t])
        h = decay[:, :, None, None] * h + drive
        y[:, t] = np.einsum("bhpn,bhn->bhp", h, C[:, t])
    return _skip_and_gate(y, x, D, z), h


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
    """Advance the scalar-decay recurrence by one token.

    One iteration of `ssd`; row i of the batch uses row ``slots[i]`` of the state (row
    i where `slots` is None), and a negative slot is padding: its output is 0 and no
    state changes.

    Official ``selective_state_update`` with A, dt and dt_bias tied over headdim and
    state; it overwrites the state, has no dt_limit and no D per head.
    """
    if slots is not None:
        return in_slots(ssd_step, locals())
    dt = _step_size(dt, dt_bias, dt_softplus, dt_limit)[:, :, None, None]
    B, C = (expand_groups(n, X, x.shape[1], axis=1) for n, X in (("B", B), ("C", C)))
    decay = np.exp(dt * A[:, None, None])
    state = decay * state + dt * x[..., None] * B[:, :, None]
    y = np.sum(state * C[:, :, None], axis=-1)
    return _skip_and_gate(y, x, D, z), state


@checked
def ssd_quadratic(
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
    """`ssd` as masked attention: one lower-triangular matrix per head.

    ::

        L = exp(segsum(dt A))
        y = (L o C B^T) (dt x) + L[:, start] C h[-1]

    Mamba-2 section 3.3, equation 16. The initial state takes part as a token before
    the first, so the last row of L also gives the final state.
    """
    if cu_seqlens is not None:
        return separately(ssd_quadratic, locals())
    dt = _step_size(dt, dt_bias, dt_softplus, dt_limit)
    B, C = (expand_groups(n, X, x.shape[2], axis=2) for n, X in (("B", B), ("C", C)))
    h, X = _start(initial_state, x, B), dt[..., None] * x
    a = np.concatenate([np.zeros_like(dt, shape=(len(x), 1, len(A))), dt * A], axis=1)
    L = np.exp(segsum(np.swapaxes(a, 1, 2)))
    scores = L[:, :, 1:, 1:] * np.einsum("bthn,bshn->bhts", C, B)
    y = np.einsum("bhts,bshp->bthp", scores, X)
    y += np.einsum("bht,bthn,bhpn->bthp", L[:, :, 1:, 0], C, h)
    final = np.einsum("bhs,bshp,bshn->bhpn", L[:, :, -1, 1:], X, B)
    final += L[:, :, -1, 0, None, None] * h
    return _skip_and_gate(y, x, D, z), final


@checked
def ssd_chunked(
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
    chunk_size: int = 64,
) -> tuple[Sequence, State]:
    """`ssd` as the fast kernels run it: attention inside chunks, states between.

    Mamba-2 section 6, listing 1. A ragged last chunk is filled up with dt = 0, after
    softplus and limits: decay 1, input 0.
    """
    if cu_seqlens is not None:
        return separately(ssd_chunked, locals())
    at_least("chunk_size", chunk_size, 1)
    B, C = (expand_groups(n, X, x.shape[2], axis=2) for n, X in (("B", B), ("C", C)))
    dt = _step_size(dt, dt_bias, dt_softplus, dt_limit)
    h = _start(initial_state, x, B)
    X, a, B, C = (_in_chunks(v, chunk_size) for v in (dt[..., None] * x, dt * A, B, C))
    L = np.exp(segsum(np.swapaxes(a, 2, 3)))
    added = np.einsum("bchs,bcshp,bcshn->bchpn", L[..., -1, :], X, B)
    kept = np.exp(np.sum(a, axis=2))[..., None, None]
    entering = np.empty_like(added)
    for c in range(a.shape[1]):
        entering[:, c] = h
        h = kept[:, c] * h + added[:, c]
    scores = L * np.einsum("bcthn,bcshn->bchts", C, B)
    y = np.einsum("bchts,bcshp->bcthp", scores, X)
    decay = np.exp(np.cumsum(a, axis=2))
    y += np.einsum("bcth,bcthn,bchpn->bcthp", decay, C, entering)
    y = y.reshape(len(x), -1, *x.shape[2:])[:, : x.shape[1]]
    return _skip_and_gate(y, x, D, z), h


def _step_size(dt, dt_bias, dt_softplus, dt_limit):
    low, high = dt_limit
    if not low <= high:
        raise ValueError(f"dt_limit is {dt_limit}; it needs to be (low, high)")
    dt = dt if dt_bias is None else dt + dt_bias
    dt = softplus(dt) if dt_softplus else dt
    return np.clip(dt, dt.dtype.type(low), dt.dtype.type(high))


def _start(initial_state, x: np.ndarray, B: np.ndarray) -> np.ndarray:
    if initial_state is not None:
        return initial_state.copy()
    return np.zeros((len(x), *x.shape[2:], B.shape[-1]), x.dtype)


def _in_chunks(v: np.ndarray, size: int) -> np.ndarray:
    """Split time into (chunks, size), the last one filled up with zeros."""
    chunks = -(-v.shape[1] // size)
    padded = np.zeros((len(v), chunks * size, *v.shape[2:]), v.dtype)
    padded[:, : v.shape[1]] = v
    return padded.reshape(len(v), chunks, size, *v.shape[2:])


def _skip_and_gate(y, x, D, z):
    if D is not None:
        y = y + (D[:, None] if D.ndim == 1 else D) * x
    return y if z is None else y * silu(z)
