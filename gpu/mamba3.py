"""Mamba-3 on the GPU: see `ssmref.golden.mamba3`."""

from typing import Any, NamedTuple

from ._contract import at_least, checked, choose, heads_per_group
from ._mamba3_scan import scan
from ._mamba3_step import advance
from ._types import Array, Integer, Real, Wide

Sequence = Real[Array, "batch length heads headdim"]
PerHead = Real[Array, "batch length heads"]
Projection = Real[Array, "batch length groups state"]
RankProjection = Real[Array, "batch length ranks groups state"]
Angles = Real[Array, "batch length heads angles"]
Token = Real[Array, "batch heads headdim"]
TokenPerHead = Real[Array, "batch heads"]
TokenProjection = Real[Array, "batch groups state"]
TokenRankProjection = Real[Array, "batch ranks groups state"]
TokenAngles = Real[Array, "batch heads angles"]
Bias = Wide[Array, "heads state"]
RankBias = Wide[Array, "heads ranks state"]
Skip = Wide[Array, " heads"]
NormWeight = Wide[Array, "heads headdim"]
RankWeight = Wide[Array, "heads ranks headdim"]
Bounds = Integer[Array, " bounds"]
Slots = Integer[Array, " batch"]


class Mamba3State(NamedTuple):
    """Angles in [0, 2 pi), the state, and key (rotated) and raw value of the token."""

    angle: Wide[Array, "rows heads angles"]
    ssm: Wide[Array, "rows heads headdim state"]
    k: Wide[Array, "rows ranks heads state"]
    v: Wide[Array, "rows heads headdim"]


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
    """`golden.mamba3.siso`, in chunks on tensor cores: `mimo` here, of one rank."""
    call = {**locals(), "mimo_x": None, "mimo_z": None, "mimo_o": None}
    _check_groups(B, C, x.shape[2], axis=2)
    if initial_state is not None:
        _check_one_rank(initial_state)
    _check_options(call)
    y, parts = scan(call, ranks=1, groups=B.shape[2])
    return y, Mamba3State(*parts)


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
    """`golden.mamba3.mimo`, in chunks of tokens and ranks on tensor cores.

    Batch and time of all inputs may have any strides; B and C are read per group, and
    nothing that is rotated goes to memory. Sequences and heads too few to fill the GPU
    are cut in time (`_mamba3_plan`). Products are of bfloat16 or float16 where inputs
    are; of float32, each is the sum of three of TF32, as exact as float32. States of at
    most 256, and up to 16 ranks at all sizes.
    """
    call = locals()
    _check_groups(B, C, x.shape[2], axis=3)
    at_least("the number of ranks of B", B.shape[2], 1)
    _check_options(call)
    y, parts = scan(call, ranks=B.shape[2], groups=B.shape[3])
    return y, Mamba3State(*parts)


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
    """`golden.mamba3.siso_step`, one launch: the state is read and written once.

    Where `slots` is given, all of the state is copied first. Rows of the batch may have
    any strides; B and C are read per group.
    """
    call = {**locals(), "mimo_x": None, "mimo_z": None, "mimo_o": None}
    _check_groups(B, C, x.shape[1], axis=1)
    _check_one_rank(state)
    return _step(call, ranks=1, groups=B.shape[1])


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
    """`golden.mamba3.mimo_step`, as `siso_step` here, at any number of ranks."""
    call = locals()
    _check_groups(B, C, x.shape[1], axis=2)
    at_least("the number of ranks of B", B.shape[1], 1)
    return _step(call, ranks=B.shape[1], groups=B.shape[2])


def _check_groups(B: Array, C: Array, heads: int, axis: int) -> None:
    for name, projection in (("B", B), ("C", C)):
        heads_per_group(name, projection, heads, axis)


def _check_one_rank(state: Mamba3State) -> None:
    if state.k.shape[1] != 1:
        raise ValueError(f"k of the state has {state.k.shape[1]} ranks; it needs one")


def _step(call: dict[str, Any], ranks: int, groups: int) -> tuple[Array, Mamba3State]:
    _check_options(call)
    y, parts = advance(call, ranks, groups)
    return y, Mamba3State(*parts)


def _check_options(call: dict[str, Any]) -> None:
    angles, size = call["angles"].shape[-1], call["B"].shape[-1]
    choose("pairing", call["pairing"], "pairwise", "halved")
    if size % 2 or angles > size // 2:
        raise ValueError(
            f"theta has {angles} angles for a state of {size}; the state needs to be "
            "even and have two coordinates per angle"
        )
    if call["norm_weight"] is not None:
        at_least("eps", call["norm_eps"], 0)
