"""Mamba-2 on the GPU: see `ssmref.golden.mamba2`."""

import math

from ._contract import checked, heads_per_group
from ._mamba2_scan import scan
from ._mamba2_step import advance
from ._types import Array, Integer, Real, Wide

Sequence = Real[Array, "batch length heads headdim"]
Projections = Real[Array, "batch length groups state"]
Token = Real[Array, "batch heads headdim"]
Projection = Real[Array, "batch groups state"]
PerHead = Wide[Array, " heads"]
Skip = PerHead | Wide[Array, "heads headdim"]
State = Wide[Array, "sequences heads headdim state"]
Slots = Wide[Array, "slots heads headdim state"]


@checked
def ssd(
    x: Sequence,
    dt: Real[Array, "batch length heads"],
    A: PerHead,
    B: Projections,
    C: Projections,
    *,
    D: Skip | None = None,
    z: Sequence | None = None,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: State | None = None,
    cu_seqlens: Integer[Array, " bounds"] | None = None,
) -> tuple[Sequence, State]:
    """`golden.mamba2.ssd`, in chunks on tensor cores.

    Batch and time of all inputs may have any strides; B and C are read per group, and
    all is fused in one launch. Sequences and heads too few to fill the GPU are cut in
    time (`_mamba2_chunks`). Products are of bfloat16 or float16 where inputs are; of
    float32, each is the sum of three of TF32, as exact as float32. States of at most
    256.
    """
    call = locals()
    _check(B, C, x.shape[2], dt_limit)
    return scan(call)


@checked
def ssd_step(
    x: Token,
    dt: Real[Array, "batch heads"],
    A: PerHead,
    B: Projection,
    C: Projection,
    state: Slots,
    *,
    D: Skip | None = None,
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
    _check(B, C, x.shape[1], dt_limit)
    return advance(
        *(x, dt, A, B, C, state),
        D=D,
        z=z,
        dt_bias=dt_bias,
        dt_softplus=dt_softplus,
        dt_limit=dt_limit,
        slots=slots,
    )


def _check(B: Array, C: Array, heads: int, dt_limit: tuple[float, float]) -> None:
    low, high = dt_limit
    if not low <= high:
        raise ValueError(f"dt_limit is {dt_limit}; it needs to be (low, high)")
    for name, projection in (("B", B), ("C", C)):
        heads_per_group(name, projection, heads, axis=B.ndim - 2)
