"""How parameters and projections of models become arguments of ops.

The last step before a kernel, where a model is ported by hand most often: each
function is what one family of checkpoints expects.
"""

import math

import numpy as np

from ._contract import at_least, checked, choose
from ._types import Real
from .layers import heavy_tail, rms_norm, softplus

PerHead = Real[np.ndarray, "batch length heads"]
Heads = Real[np.ndarray, "batch length heads headdim"]
Groups = Real[np.ndarray, "batch length groups state"]
Projection = Real[np.ndarray, "batch length state"]


@checked
def mamba_rate(
    A_log: Real[np.ndarray, "channels *state"],
) -> Real[np.ndarray, "channels *state"]:
    """Return the rates of Mamba-1 and Mamba-2 from their stored logarithms.

    ::

        A = -exp(A_log)

    Official ``-torch.exp(self.A_log.float())``: in float32 or better, whatever the
    dtype of the model, since an error of A grows with dt and with the length. Some
    file formats (GGUF) store A itself: it must not be exponentiated again.
    """
    return -np.exp(A_log)


@checked
def mamba2_step_size(
    dt: PerHead,
    dt_bias: Real[np.ndarray, " heads"],
    *,
    dt_limit: tuple[float, float] = (0.0, math.inf),
) -> PerHead:
    """Return the step size of Mamba-2 as its recurrence uses it.

    ::

        dt = clip(softplus(dt + dt_bias), dt_limit)

    Official ``_chunk_cumsum_fwd``. The limits are ``time_step_limit`` of a
    configuration; ``time_step_min`` and ``time_step_max`` are the range of initial
    values and clip nothing at run time. Raises ValueError where dt_limit is empty.
    """
    low, high = dt_limit
    if not low <= high:
        raise ValueError(f"dt_limit is {dt_limit}; it needs to be (low, high)")
    size = softplus(dt + dt_bias)
    return np.clip(size, size.dtype.type(low), size.dtype.type(high))


@checked
def mamba3_rate(
    a: PerHead, *, floor: float = 1e-4, activation: str = "heavy_tail"
) -> PerHead:
    """Return the rates of Mamba-3 from their projection, one per token and head.

    ::

        A = min(-f(a), -floor)
        f(a) = heavy_tail(a) or softplus(a)

    A is at most -floor: clamped after its sign is set. Official ``modules/mamba3.py``,
    with softplus until pull request 962 of state-spaces/mamba and heavy_tail since;
    checkpoints do not say which one they need. Raises ValueError for another
    activation or a negative floor.
    """
    choose("activation", activation, "heavy_tail", "softplus")
    at_least("floor", floor, 0)
    f = heavy_tail(a) if activation == "heavy_tail" else softplus(a)
    return np.minimum(-f, -a.dtype.type(floor))


@checked
def falcon_mamba_projections(
    dt: Real[np.ndarray, "batch length ranks"],
    B: Projection,
    C: Projection,
    weight: Real[np.ndarray, "channels ranks"],
    *,
    eps: float = 1e-6,
) -> tuple[Real[np.ndarray, "batch length channels"], Projection, Projection]:
    """Return dt, B and C of FalconMamba for the selective scan.

    ::

        dt = weight rms_norm(dt)
        B, C = rms_norm(B), rms_norm(C)

    The norms have no weights, so a checkpoint does not show them; that of dt comes
    before its projection from low rank (`weight` of dt_proj, whose bias is dt_bias of
    the scan). ``FalconMambaMixer`` of transformers, for the model of arXiv 2410.05355;
    its fused training path normalises dt after the projection instead.
    """
    dt, B, C = (rms_norm(X, eps=eps) for X in (dt, B, C))
    return np.einsum("btr,dr->btd", dt, weight), B, C


@checked
def falcon_h1_projections(
    projected: Real[np.ndarray, "batch length projections"],
    multipliers: Real[np.ndarray, "5"],
    *,
    heads: int,
    headdim: int,
    groups: int,
) -> tuple[Heads, Heads, Groups, Groups, PerHead]:
    """Return z, x, B, C and dt of Falcon-H1 from its input projection.

    ::

        z, x, B, C, dt = split(projected)
        z, x, B, C, dt = m[0] z, m[1] x, m[2] B, m[3] C, m[4] dt

    The maximal update parametrisation: each slice has its own fixed multiplier
    (``ssm_multipliers``), applied before the convolution of x, B and C. Official
    ``compute_mup_vector`` of transformers. Raises ValueError where the projection does
    not split.
    """
    inner, length = heads * headdim, projected.shape[-1]
    state = (length - 2 * inner - heads) // max(2 * groups, 1)
    widths = (inner, inner, groups * state, groups * state, heads)
    if state < 0 or sum(widths) != length:
        raise ValueError(
            f"projected has {length} features; it needs {2 * inner + heads} + "
            f"2 {groups} state for {heads} heads of {headdim} in {groups} groups"
        )
    lead, head, group = projected.shape[:2], (heads, headdim), (groups, state)
    parts = np.split(projected, np.cumsum(widths)[:-1], axis=-1)
    z, x, B, C, dt = (m * part for m, part in zip(multipliers, parts, strict=True))
    z, x = (part.reshape(*lead, *head) for part in (z, x))
    B, C = (part.reshape(*lead, *group) for part in (B, C))
    return z, x, B, C, dt
