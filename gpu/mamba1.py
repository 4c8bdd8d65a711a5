"""Mamba-1 on the GPU: see `ssmref.golden.mamba1`."""

from ._contract import checked
from ._mamba1_scan import scan
from ._mamba1_step import advance
from ._types import Array, Complex, Integer, Number, Real, Wide

Sequence = Real[Array, "batch length channels"]
PerChannel = Wide[Array, " channels"]
# B and C: constant, shared by all channels, or one per group of channels.
Projection = (
    Real[Array, "channels state"]
    | Real[Array, "batch length state"]
    | Real[Array, "batch length groups state"]
    | Complex[Array, "channels state"]
    | Complex[Array, "batch length state"]
    | Complex[Array, "batch length groups state"]
)
TokenProjection = (
    Real[Array, "batch state"]
    | Real[Array, "batch groups state"]
    | Complex[Array, "batch state"]
    | Complex[Array, "batch groups state"]
)
State = Number[Array, "sequences channels state"]
Bounds = Integer[Array, " bounds"]


@checked
def selective_scan(
    u: Sequence,
    dt: Sequence,
    A: Number[Array, "channels state"],
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
    """`golden.mamba1.selective_scan`, in one pass over time, or in segments of it.

    u, dt and z are read where they are, by channels or by time (the transposed view of
    (batch, channels, length)), B and C whatever their strides over batch, time and
    groups; other layouts are copied. Rows too few to fill the GPU are cut in time
    (`_mamba1_plan`). Results are the same from run to run on one kind of GPU. At most
    512 states, or 256 complex ones.
    """
    return scan(locals())


@checked
def selective_scan_step(
    u: Real[Array, "batch channels"],
    dt: Real[Array, "batch channels"],
    A: Number[Array, "channels state"],
    B: TokenProjection,
    C: TokenProjection,
    state: Number[Array, "slots channels state"],
    *,
    D: PerChannel | None = None,
    z: Real[Array, "batch channels"] | None = None,
    dt_bias: PerChannel | None = None,
    dt_softplus: bool = False,
    slots: Integer[Array, " batch"] | None = None,
) -> tuple[Real[Array, "batch channels"], Number[Array, "slots channels state"]]:
    """`golden.mamba1.selective_scan_step`: states are read and written once.

    Where `slots` is given, all of the state is copied first. At most 512 states, or 256
    complex ones.
    """
    return advance(locals())
