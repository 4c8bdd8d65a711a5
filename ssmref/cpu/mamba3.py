"""Mamba-3 on the CPU: see `ssmref.golden.mamba3`."""

from typing import NamedTuple

import numpy as np

from ..contract import at_least, choose, heads_per_group
from ._arguments import boundaries, checked, next_state, ready, rows_of
from ._mamba3_kernels import Call
from ._mamba3_pieces import scan_sequences
from ._mamba3_step import StepState, step
from ._outputs import output
from ._types import Integer, Real

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


class Mamba3State(NamedTuple):
    """Angles in [0, 2 pi), the state, and key (rotated) and raw value of the token."""

    angle: Real[np.ndarray, "rows heads angles"]
    ssm: Real[np.ndarray, "rows heads headdim state"]
    k: Real[np.ndarray, "rows ranks heads state"]
    v: Real[np.ndarray, "rows heads headdim"]


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
    """`golden.mamba3.siso`, as `mimo` with one rank."""
    _check_groups(B, C, x.shape[2], axis=2)
    _check_one_rank(initial_state)
    call = _call(
        *(x, dt, A, B[:, :, None], C[:, :, None], trap, angles, B_bias, C_bias, D, z),
        *(norm_weight, norm_eps, None, None, None, pairing),
    )
    return _scan(call, x, initial_state, cu_seqlens)


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
    """`golden.mamba3.mimo`, in chunks: attention inside, a state between them.

    Workspace: per thread one chunk and the states of a few heads; where time is split,
    because sequences and heads are fewer than threads, the states of the pieces.
    """
    _check_groups(B, C, x.shape[2], axis=3)
    call = _call(
        *(x, dt, A, B, C, trap, angles, B_bias, C_bias, D, z, norm_weight, norm_eps),
        *(mimo_x, mimo_z, mimo_o, pairing),
    )
    return _scan(call, x, initial_state, cu_seqlens)


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
    """`golden.mamba3.siso_step`, as `mimo_step` with one rank."""
    _check_groups(B, C, x.shape[1], axis=1)
    _check_one_rank(state)
    call = _call(
        *(x, dt, A, B[:, None], C[:, None], trap, angles),
        *(B_bias, C_bias, D, z, norm_weight, norm_eps, None, None, None, pairing),
    )
    return _step(call, x, state, slots)


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
    """`golden.mamba3.mimo_step`: each state is read once and written once."""
    _check_groups(B, C, x.shape[1], axis=2)
    call = _call(
        *(x, dt, A, B, C, trap, angles, B_bias, C_bias, D, z, norm_weight, norm_eps),
        *(mimo_x, mimo_z, mimo_o, pairing),
    )
    return _step(call, x, state, slots)


def _scan(call, x, initial_state, cu_seqlens):
    """Return the outputs and the last state of the sequences."""
    bounds = boundaries(x, cu_seqlens)
    given = initial_state or _zeros(len(bounds) - 1, call, x.dtype)
    last = Mamba3State(*(np.array(part, order="C") for part in given))
    y = output(x.shape, x.dtype)
    if y.size:
        scan_sequences(call, bounds, tuple(map(ready, given)), last, y.reshape(-1))
    return y, last


def _step(call, x, state, slots):
    """Return the outputs of a token and the state after it."""
    old = Mamba3State(*map(ready, state))
    new = Mamba3State(*[next_state(part, slots) for part in old])
    y = output(x.shape, x.dtype)
    before, after = (StepState(*[a.ravel() for a in s]) for s in (old, new))
    step(call, before, after, y.ravel(), rows_of(slots, len(x)))
    return y, new


def _call(
    x, dt, A, B, C, trap, angles, B_bias, C_bias, D, z, norm_weight, norm_eps, mimo_x,
    mimo_z, mimo_o, pairing,
):  # fmt: skip
    """Return the arguments that scan and step share as kernels take them."""
    if len(x.shape) == 3 or x.shape[1]:
        _check_pairs(B.shape[-1], angles.shape[-1], pairing)
    if norm_weight is not None:
        at_least("eps", norm_eps, 0)
    heads, headdim = x.shape[-2:]
    ranks, groups, state = B.shape[-3:]
    sizes = (heads, headdim, ranks, groups, state, angles.shape[-1])
    tokens = (x, dt, A, B, C, trap, angles)
    options = (B_bias, C_bias, D, z, norm_weight, mimo_x, mimo_z, mimo_o)
    nothing = np.empty(0, x.dtype)
    given = [nothing if a is None else a for a in (*tokens, *options)]
    arrays = [ready(a).ravel() for a in given]
    pairwise = int(pairing == "pairwise")
    return Call._make((*sizes, pairwise, *arrays, float(norm_eps)))


def _zeros(rows, call, dtype) -> Mamba3State:
    heads, width, depth = call.heads, call.width, call.depth
    return Mamba3State(
        np.zeros((rows, heads, call.pairs), dtype),
        np.zeros((rows, heads, width, depth), dtype),
        np.zeros((rows, call.ranks, heads, depth), dtype),
        np.zeros((rows, heads, width), dtype),
    )


def _check_groups(B, C, heads, axis):
    for name, projection in (("B", B), ("C", C)):
        heads_per_group(name, projection, heads, axis)


def _check_one_rank(state: Mamba3State | None) -> None:
    if state is not None and state.k.shape[1] != 1:
        raise ValueError(f"k of the state has {state.k.shape[1]} ranks; it needs one")


def _check_pairs(state: int, angles: int, pairing: str) -> None:
    choose("pairing", pairing, "pairwise", "halved")
    if state % 2 or angles > state // 2:
        raise ValueError(
            f"theta has {angles} angles for a state of {state}; the state needs to be "
            "even and have two coordinates per angle"
        )


@checked
def to_halved(v: Real[np.ndarray, "*batch state"]) -> Real[np.ndarray, "*batch state"]:
    """`golden.mamba3.to_halved`."""
    _check_even(v)
    return np.concatenate([v[..., 0::2], v[..., 1::2]], axis=-1)


@checked
def to_pairwise(
    v: Real[np.ndarray, "*batch state"],
) -> Real[np.ndarray, "*batch state"]:
    """`golden.mamba3.to_pairwise`."""
    _check_even(v)
    pairwise = np.empty(v.shape, v.dtype)
    pairwise[..., 0::2], pairwise[..., 1::2] = np.split(v, 2, axis=-1)
    return pairwise


def _check_even(v: np.ndarray) -> None:
    if v.shape[-1] % 2:
        raise ValueError(f"v has a state of {v.shape[-1]}; it needs to be even")
