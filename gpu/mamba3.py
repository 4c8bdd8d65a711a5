"""Mamba-3 on the GPU: see `ssmref.golden.mamba3`. So far its steps."""

from typing import Any, NamedTuple

from ._contract import at_least, checked, choose, heads_per_group
from ._mamba3_step import advance
from ._types import Array, Integer, Real, Wide

Token = Real[Array, "batch heads headdim"]
PerHead = Real[Array, "batch heads"]
Projection = Real[Array, "batch groups state"]
RankProjection = Real[Array, "batch ranks groups state"]
Angles = Real[Array, "batch heads angles"]
Bias = Wide[Array, "heads state"]
RankBias = Wide[Array, "heads ranks state"]
Skip = Wide[Array, " heads"]
NormWeight = Wide[Array, "heads headdim"]
RankWeight = Wide[Array, "heads ranks headdim"]
Slots = Integer[Array, " batch"]


class Mamba3State(NamedTuple):
    """Angles in [0, 2 pi), the state, and key (rotated) and raw value of the token."""

    angle: Wide[Array, "rows heads angles"]
    ssm: Wide[Array, "rows heads headdim state"]
    k: Wide[Array, "rows ranks heads state"]
    v: Wide[Array, "rows heads headdim"]


@checked
def siso_step(
    x: Token,
    dt: PerHead,
    A: PerHead,
    B: Projection,
    C: Projection,
    trap: PerHead,
    angles: Angles,
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
    if state.k.shape[1] != 1:
        raise ValueError(f"k of the state has {state.k.shape[1]} ranks; it needs one")
    return _step(call, ranks=1, groups=B.shape[1])


@checked
def mimo_step(
    x: Token,
    dt: PerHead,
    A: PerHead,
    B: RankProjection,
    C: RankProjection,
    trap: PerHead,
    angles: Angles,
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


def _step(call: dict[str, Any], ranks: int, groups: int) -> tuple[Array, Mamba3State]:
    angles, size = call["angles"].shape[-1], call["B"].shape[-1]
    choose("pairing", call["pairing"], "pairwise", "halved")
    if size % 2 or angles > size // 2:
        raise ValueError(
            f"theta has {angles} angles for a state of {size}; the state needs to be "
            "even and have two coordinates per angle"
        )
    if call["norm_weight"] is not None:
        at_least("eps", call["norm_eps"], 0)
    y, parts = advance(call, ranks, groups)
    return y, Mamba3State(*parts)
