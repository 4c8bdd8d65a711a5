"""How parameters become arguments of ops, as in `ssmref.golden.parameters`."""

import math

import numpy as np

from ..contract import at_least, choose
from . import _elementwise_kernels as elementwise
from ._arguments import checked
from ._types import Real
from .layers import heavy_tail, rms_norm, softplus
from .linear import linear

PerHead = Real[np.ndarray, "batch length heads"]
Heads = Real[np.ndarray, "batch length heads headdim"]
Groups = Real[np.ndarray, "batch length groups state"]
Projection = Real[np.ndarray, "batch length state"]


@checked
def mamba_rate(
    A_log: Real[np.ndarray, "channels *state"],
) -> Real[np.ndarray, "channels *state"]:
    """`golden.parameters.mamba_rate`, by our own exponential."""
    A = elementwise.apply(elementwise.EXP, A_log)
    return np.negative(A, out=A)


@checked
def mamba2_step_size(
    dt: PerHead,
    dt_bias: Real[np.ndarray, " heads"],
    *,
    dt_limit: tuple[float, float] = (0.0, math.inf),
) -> PerHead:
    """`golden.parameters.mamba2_step_size`, by our own softplus."""
    low, high = dt_limit
    if not low <= high:
        raise ValueError(f"dt_limit is {dt_limit}; it needs to be (low, high)")
    size = softplus(dt + dt_bias)
    return np.clip(size, size.dtype.type(low), size.dtype.type(high), out=size)


@checked
def mamba3_rate(
    a: PerHead, *, floor: float = 1e-4, activation: str = "heavy_tail"
) -> PerHead:
    """`golden.parameters.mamba3_rate`, by our own activations."""
    choose("activation", activation, "heavy_tail", "softplus")
    at_least("floor", floor, 0)
    f = heavy_tail(a) if activation == "heavy_tail" else softplus(a)
    return np.minimum(np.negative(f, out=f), -a.dtype.type(floor), out=f)


@checked
def falcon_mamba_projections(
    dt: Real[np.ndarray, "batch length ranks"],
    B: Projection,
    C: Projection,
    weight: Real[np.ndarray, "channels ranks"],
    *,
    eps: float = 1e-6,
) -> tuple[Real[np.ndarray, "batch length channels"], Projection, Projection]:
    """`golden.parameters.falcon_mamba_projections`."""
    dt, B, C = (rms_norm(X, eps=eps) for X in (dt, B, C))
    return linear(dt, weight), B, C


@checked
def falcon_h1_projections(
    projected: Real[np.ndarray, "batch length projections"],
    multipliers: Real[np.ndarray, "5"],
    *,
    heads: int,
    headdim: int,
    groups: int,
) -> tuple[Heads, Heads, Groups, Groups, PerHead]:
    """`golden.parameters.falcon_h1_projections`: five products, each on its own."""
    inner, length = heads * headdim, projected.shape[2]
    state = (length - 2 * inner - heads) // max(2 * groups, 1)
    head, group = (heads, headdim), (groups, state)
    shapes = head, head, group, group, (heads,)
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    if state < 0 or ends[-1] != length:
        raise ValueError(
            f"projected has {length} features; it needs {2 * inner + heads} + "
            f"2 {groups} state for {heads} heads of {headdim} in {groups} groups"
        )
    parts = np.split(projected, ends[:-1], axis=2)
    z, x, B, C, dt = (
        (m * part).reshape(*part.shape[:2], *shape)
        for m, part, shape in zip(multipliers, parts, shapes, strict=True)
    )
    return z, x, B, C, dt
