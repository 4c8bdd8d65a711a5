"""Mamba-3: trapezoidal steps, rotating states, one or several inputs per head.

Lahoti et al. 2026 (arXiv 2603.15569), section 3, as in the official code of
state-spaces/mamba: ``ops/triton/mamba3`` for one input per head (SISO),
``ops/tilelang/mamba3`` for one per rank (MIMO). Besides the recurrence, with a sum over
ranks in MIMO: ``_chunked``, s in the chunk of t and H the state that enters it, and
``_rotating``, where k and q are not rotated and turn[t] = theta[t] - theta[t-1]::

    scale[t] = gamma[t] + (1 - lambda[t+1]) dt[t+1]             the last one: gamma[t]
    y[t] = sum_{s<t} e^{a[s+1] + ... + a[t]} scale[s] (q[t] k[s]) x[s]        a = A dt
           + gamma[t] (q[t] k[t]) x[t] + e^{a[0] + ... + a[t]} H q[t]
    g[t] = rotary(alpha g[t-1] + beta x[t-1] k[t-1]^T, -turn[t]) + gamma x[t] k[t]^T
"""

import numpy as np

from . import _mamba3_forms as forms
from ._contract import checked, expand_groups, in_slots, separately
from ._mamba3_parts import (
    Mamba3State,
    from_ranks,
    outer,
    outer_sum,
    plus,
    plus_ranked,
    rotate,
    skip_norm_gate,
    start,
    start_siso,
    to_ranks,
    turn,
    weights,
)
from ._types import Integer, Real
from .layers import rotary

Sequence = Real[np.ndarray, "batch length heads headdim"]
PerHead = Real[np.ndarray, "batch length heads"]
Projection = Real[np.ndarray, "batch length groups state"]
RankProjection = Real[np.ndarray, "batch length ranks groups state"]
Angles = Real[np.ndarray, "batch length heads angles"]
Token = Real[np.ndarray, "batch heads headdim"]
TokenPerHead = Real[np.ndarray, "batch heads"]
TokenProjection = Real[np.ndarray, "batch groups state"]
TokenRankProjection = Real[np.ndarray, "batch ranks groups state"]
TokenAngles = Real[np.ndarray, "batch heads angles"]
Bias = Real[np.ndarray, "heads state"]
RankBias = Real[np.ndarray, "heads ranks state"]
Skip = Real[np.ndarray, " heads"]
NormWeight = Real[np.ndarray, "heads headdim"]
RankWeight = Real[np.ndarray, "heads ranks headdim"]
Bounds = Integer[np.ndarray, " bounds"]
Slots = Integer[np.ndarray, " batch"]


@checked
def siso(
    x: Sequence,
    dt: PerHead,
    A: PerHead,
    B: Projection,
    C: Projection,
    trap: PerHead,
    angles: Angles,
    *,
    B_bias: Bias | None = None,
    C_bias: Bias | None = None,
    D: Skip | None = None,
    z: Sequence | None = None,
    norm_weight: NormWeight | None = None,
    norm_eps: float = 1e-5,
    pairing: str = "pairwise",
    initial_state: Mamba3State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, Mamba3State]:
    """Run the recurrence of one input per head, one token at a time.

    ::

        theta[t] = theta[t-1] + pi tanh(angles[t]) dt[t]                modulo 2 pi
        k[t] = rotary(B[t] + B_bias, theta[t])
        q[t] = rotary(C[t] + C_bias, theta[t])
        alpha, lambda = exp(A[t] dt[t]), sigmoid(trap[t])
        beta, gamma = (1 - lambda) dt[t] alpha, lambda dt[t]
        h[t] = alpha h[t-1] + beta x[t-1] k[t-1]^T + gamma x[t] k[t]^T
        y[t] = norm(h[t] q[t] + D x[t]) silu(z[t])

    Official ``mamba3_siso_combined``, where x, B, C are V, K, Q and ADT = A dt. dt is
    positive already, A at most 0, `trap` a logit. Head h uses group
    ``h // (heads / groups)``. The RMS norm over headdim stands before the gate, also
    without z, and is left out where `norm_weight` is None (the official module applies
    it outside). The official code rounds angles to bfloat16 and keeps k without the
    axis of ranks; here nothing is rounded.

    Raises ValueError where the groups do not divide the heads, the state is odd or has
    fewer pairs than angles, or the k of `initial_state` has several ranks.
    """
    if cu_seqlens is not None:
        return separately(siso, locals())
    B, C = (expand_groups(n, X, x.shape[2], axis=2) for n, X in (("B", B), ("C", C)))
    K, Q = plus(B, B_bias), plus(C, C_bias)
    theta, h, k, v = start_siso(initial_state, x, angles, B.shape[3])
    y = np.empty_like(x)
    for t in range(x.shape[1]):
        theta = turn(theta, angles[:, t], dt[:, t])
        alpha, beta, gamma = weights(dt[:, t], A[:, t], trap[:, t])
        k_t, q_t = (rotary(X[:, t], theta, pairing=pairing) for X in (K, Q))
        h = alpha * h + beta * outer(v, k) + gamma * outer(x[:, t], k_t)
        y[:, t] = np.einsum("bhpn,bhn->bhp", h, q_t)
        k, v = k_t, x[:, t]
    y = skip_norm_gate(y, x, D, z, norm_weight, norm_eps)
    return y, Mamba3State(theta, h, k[:, None], v.copy())


@checked
def siso_step(
    x: Token,
    dt: TokenPerHead,
    A: TokenPerHead,
    B: TokenProjection,
    C: TokenProjection,
    trap: TokenPerHead,
    angles: TokenAngles,
    state: Mamba3State,
    *,
    B_bias: Bias | None = None,
    C_bias: Bias | None = None,
    D: Skip | None = None,
    z: Token | None = None,
    norm_weight: NormWeight | None = None,
    norm_eps: float = 1e-5,
    pairing: str = "pairwise",
    slots: Slots | None = None,
) -> tuple[Token, Mamba3State]:
    """Advance `siso` by one token; `slots` as in `ssd_step` of Mamba-2.

    Official ``mamba3_siso_step``.
    """
    if slots is not None:
        return in_slots(siso_step, locals())
    B, C = (expand_groups(n, X, x.shape[1], axis=1) for n, X in (("B", B), ("C", C)))
    theta, h, k, v = start_siso(state, x, angles, B.shape[2])
    theta = turn(theta, angles, dt)
    alpha, beta, gamma = weights(dt, A, trap)
    k_t = rotary(plus(B, B_bias), theta, pairing=pairing)
    q_t = rotary(plus(C, C_bias), theta, pairing=pairing)
    h = alpha * h + beta * outer(v, k) + gamma * outer(x, k_t)
    y = np.sum(h * q_t[:, :, None], axis=-1)
    y = skip_norm_gate(y, x, D, z, norm_weight, norm_eps)
    return y, Mamba3State(theta, h, k_t[:, None], x.copy())


@checked
def mimo(
    x: Sequence,
    dt: PerHead,
    A: PerHead,
    B: RankProjection,
    C: RankProjection,
    trap: PerHead,
    angles: Angles,
    *,
    B_bias: RankBias | None = None,
    C_bias: RankBias | None = None,
    D: Skip | None = None,
    z: Sequence | None = None,
    norm_weight: NormWeight | None = None,
    norm_eps: float = 1e-5,
    mimo_x: RankWeight | None = None,
    mimo_z: RankWeight | None = None,
    mimo_o: RankWeight | None = None,
    pairing: str = "halved",
    initial_state: Mamba3State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, Mamba3State]:
    """Run the recurrence of one input per rank, one token at a time.

    ::

        theta[t] = theta[t-1] + pi tanh(angles[t]) dt[t]                modulo 2 pi
        k[t,r] = rotary(B[t,r] + B_bias[r], theta[t])
        q[t,r] = rotary(C[t,r] + C_bias[r], theta[t])
        v[t,r] = mimo_x[r] x[t]
        alpha, lambda = exp(A[t] dt[t]), sigmoid(trap[t])
        beta, gamma = (1 - lambda) dt[t] alpha, lambda dt[t]
        h[t] = alpha h[t-1] + sum_r beta v[t-1,r] k[t-1,r]^T + gamma v[t,r] k[t,r]^T
        y[t] = sum_r mimo_o[r] norm(h[t] q[t,r] + D v[t,r]) silu(mimo_z[r] z[t])

    Official ``mamba3_mimo``, where x, B, C are V, K, Q, and mimo_x, mimo_z, mimo_o are
    MIMO_V, MIMO_Z, MIMO_Out (None: ones). With one rank it is `siso`, but the official
    kernels pair other coordinates (see `to_halved`). The norm is per head and rank, its
    weight shared by the ranks. The official code has no initial state here, no norm
    without z, and takes theta for angles in the kernel.

    Raises ValueError where the groups do not divide the heads, or the state is odd or
    has fewer pairs than angles.
    """
    if cu_seqlens is not None:
        return separately(mimo, locals())
    B, C = (expand_groups(n, X, x.shape[2], axis=3) for n, X in (("B", B), ("C", C)))
    K, Q, ranks = plus_ranked(B, B_bias), plus_ranked(C, C_bias), B.shape[2]
    theta, h, k, v = start(initial_state, x, angles, ranks, B.shape[4])
    V, Z = to_ranks(x, mimo_x, ranks), None if z is None else to_ranks(z, mimo_z, ranks)
    y = np.empty_like(V)
    for t in range(x.shape[1]):
        theta = turn(theta, angles[:, t], dt[:, t])
        alpha, beta, gamma = weights(dt[:, t], A[:, t], trap[:, t])
        k_t, q_t = (rotate(X[:, t], theta[:, None], pairing) for X in (K, Q))
        early, new = outer_sum(to_ranks(v, mimo_x, ranks), k), outer_sum(V[:, t], k_t)
        h = alpha * h + beta * early + gamma * new
        y[:, t] = np.einsum("bhpn,brhn->brhp", h, q_t)
        k, v = k_t, x[:, t]
    y = skip_norm_gate(y, V, D, Z, norm_weight, norm_eps)
    return from_ranks(y, mimo_o), Mamba3State(theta, h, k, v.copy())


@checked
def mimo_step(
    x: Token,
    dt: TokenPerHead,
    A: TokenPerHead,
    B: TokenRankProjection,
    C: TokenRankProjection,
    trap: TokenPerHead,
    angles: TokenAngles,
    state: Mamba3State,
    *,
    B_bias: RankBias | None = None,
    C_bias: RankBias | None = None,
    D: Skip | None = None,
    z: Token | None = None,
    norm_weight: NormWeight | None = None,
    norm_eps: float = 1e-5,
    mimo_x: RankWeight | None = None,
    mimo_z: RankWeight | None = None,
    mimo_o: RankWeight | None = None,
    pairing: str = "halved",
    slots: Slots | None = None,
) -> tuple[Token, Mamba3State]:
    """Advance `mimo` by one token; `slots` as in `ssd_step` of Mamba-2.

    Official ``mamba3_step_fn``, which takes B and C rotated already and the sigmoid of
    `trap`. The official test reference keeps v projected; here as in the modules raw.
    """
    if slots is not None:
        return in_slots(mimo_step, locals())
    B, C = (expand_groups(n, X, x.shape[1], axis=2) for n, X in (("B", B), ("C", C)))
    ranks = B.shape[1]
    theta = turn(state.angle, angles, dt)
    alpha, beta, gamma = weights(dt, A, trap)
    k_t = rotate(plus_ranked(B, B_bias), theta[:, None], pairing)
    q_t = rotate(plus_ranked(C, C_bias), theta[:, None], pairing)
    V, Z = to_ranks(x, mimo_x, ranks), None if z is None else to_ranks(z, mimo_z, ranks)
    early = outer_sum(to_ranks(state.v, mimo_x, ranks), state.k)
    h = alpha * state.ssm + beta * early + gamma * outer_sum(V, k_t)
    y = np.sum(h[:, None] * q_t[:, :, :, None], axis=-1)
    y = skip_norm_gate(y, V, D, Z, norm_weight, norm_eps)
    return from_ranks(y, mimo_o), Mamba3State(theta, h, k_t, x.copy())


@checked
def siso_chunked(
    x: Sequence,
    dt: PerHead,
    A: PerHead,
    B: Projection,
    C: Projection,
    trap: PerHead,
    angles: Angles,
    *,
    B_bias: Bias | None = None,
    C_bias: Bias | None = None,
    D: Skip | None = None,
    z: Sequence | None = None,
    norm_weight: NormWeight | None = None,
    norm_eps: float = 1e-5,
    pairing: str = "pairwise",
    initial_state: Mamba3State | None = None,
    cu_seqlens: Bounds | None = None,
    chunk_size: int = 16,
) -> tuple[Sequence, Mamba3State]:
    """`siso` as ``mamba3_siso_fwd`` runs it: attention in chunks, states between."""
    if cu_seqlens is not None:
        return separately(siso_chunked, locals())
    return forms.chunked(forms.as_mimo(locals()), chunk_size)


@checked
def siso_rotating(
    x: Sequence,
    dt: PerHead,
    A: PerHead,
    B: Projection,
    C: Projection,
    trap: PerHead,
    angles: Angles,
    *,
    B_bias: Bias | None = None,
    C_bias: Bias | None = None,
    D: Skip | None = None,
    z: Sequence | None = None,
    norm_weight: NormWeight | None = None,
    norm_eps: float = 1e-5,
    pairing: str = "pairwise",
    initial_state: Mamba3State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, Mamba3State]:
    """`siso` with a state that rotates instead of keys and queries."""
    if cu_seqlens is not None:
        return separately(siso_rotating, locals())
    return forms.rotating(forms.as_mimo(locals()))


@checked
def mimo_chunked(
    x: Sequence,
    dt: PerHead,
    A: PerHead,
    B: RankProjection,
    C: RankProjection,
    trap: PerHead,
    angles: Angles,
    *,
    B_bias: RankBias | None = None,
    C_bias: RankBias | None = None,
    D: Skip | None = None,
    z: Sequence | None = None,
    norm_weight: NormWeight | None = None,
    norm_eps: float = 1e-5,
    mimo_x: RankWeight | None = None,
    mimo_z: RankWeight | None = None,
    mimo_o: RankWeight | None = None,
    pairing: str = "halved",
    initial_state: Mamba3State | None = None,
    cu_seqlens: Bounds | None = None,
    chunk_size: int = 16,
) -> tuple[Sequence, Mamba3State]:
    """`mimo` as ``mamba_mimo_forward`` runs it: attention in chunks, states between."""
    if cu_seqlens is not None:
        return separately(mimo_chunked, locals())
    return forms.chunked(locals(), chunk_size)


@checked
def mimo_rotating(
    x: Sequence,
    dt: PerHead,
    A: PerHead,
    B: RankProjection,
    C: RankProjection,
    trap: PerHead,
    angles: Angles,
    *,
    B_bias: RankBias | None = None,
    C_bias: RankBias | None = None,
    D: Skip | None = None,
    z: Sequence | None = None,
    norm_weight: NormWeight | None = None,
    norm_eps: float = 1e-5,
    mimo_x: RankWeight | None = None,
    mimo_z: RankWeight | None = None,
    mimo_o: RankWeight | None = None,
    pairing: str = "halved",
    initial_state: Mamba3State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, Mamba3State]:
    """`mimo` with a state that rotates instead of keys and queries."""
    if cu_seqlens is not None:
        return separately(mimo_rotating, locals())
    return forms.rotating(locals())


@checked
def to_halved(v: Real[np.ndarray, "*batch state"]) -> Real[np.ndarray, "*batch state"]:
    """Reorder coordinates so that halved rotation does what pairwise rotation did.

    ``rotary(to_halved(v), theta, pairing="halved")`` is ``to_halved`` of the pairwise
    rotation of v. Apply it to B, C, their biases and norm weights, and to ssm and k of
    the state. Raises ValueError for an odd state.
    """
    _check_even(v)
    return np.concatenate([v[..., 0::2], v[..., 1::2]], axis=-1)


@checked
def to_pairwise(
    v: Real[np.ndarray, "*batch state"],
) -> Real[np.ndarray, "*batch state"]:
    """Undo `to_halved`."""
    _check_even(v)
    halves = np.split(v, 2, axis=-1)
    return np.stack(halves, axis=-1).reshape(v.shape)


def _check_even(v: np.ndarray) -> None:
    if v.shape[-1] % 2:
        raise ValueError(f"v has a state of {v.shape[-1]}; it needs to be even")
