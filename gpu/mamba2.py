"""Mamba-2 on the GPU: see `ssmref.golden.mamba2`. So far its step."""

import math

from ._contract import checked, heads_per_group
from ._mamba2_step import advance
from ._types import Array, Integer, Real, Wide

Token = Real[Array, "batch heads headdim"]
Projection = Real[Array, "batch groups state"]
PerHead = Wide[Array, " heads"]
Slots = Wide[Array, "slots heads headdim state"]


@checked
def ssd_step(
    x: Token,
    dt: Real[Array, "batch heads"],
    A: PerHead,
    B: Projection,
    C: Projection,
    state: Slots,
    *,
    D: PerHead | Wide[Array, "heads headdim"] | None = None,
    z: Token | None = None,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    slots: Integer[Array, " batch"] | None = None,
) -> tuple[Token, Slots]:
    """`golden.mamba2.ssd_step`: the state is read and written once.

    Where `slots` is given, all of the state is copied first. Rows of the batch may have
    any strides; B and C are read per group.
    """
    low, high = dt_limit
    if not low <= high:
        raise ValueError(f"dt_limit is {dt_limit}; it needs to be (low, high)")
    for name, projection in (("B", B), ("C", C)):
        heads_per_group(name, projection, x.shape[1], axis=1)
    return advance(
        *(x, dt, A, B, C, state),
        D=D,
        z=z,
        dt_bias=dt_bias,
        dt_softplus=dt_softplus,
        dt_limit=dt_limit,
        slots=slots,
    )
