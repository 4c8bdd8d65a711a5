"""Convolution and norms on the GPU: see `ssmref.golden.layers`."""

from ._contract import at_least, checked, choose
from ._convolution import convolve, convolve_step
from ._norms import GATE_AFTER, GATE_BEFORE, normalise
from ._types import Array, Integer, Real, Wide

PerChannel = Wide[Array, " channels"]
Filters = Wide[Array, "channels width"]
Tokens = Real[Array, "batch channels"] | Real[Array, "batch length channels"]
Buffer = Wide[Array, "slots window channels"]


@checked
def causal_conv1d(
    x: Real[Array, "batch length channels"],
    weight: Filters,
    *,
    bias: PerChannel | None = None,
    activation: str | None = None,
    initial_state: Wide[Array, "sequences width-1 channels"] | None = None,
    cu_seqlens: Integer[Array, " bounds"] | None = None,
) -> tuple[
    Real[Array, "batch length channels"],
    Wide[Array, "sequences width-1 channels"],
]:
    """`golden.layers.causal_conv1d`, in one pass over x.

    Any strides over batch and time; channels that are not packed are copied.
    """
    at_least("the width of weight", weight.shape[1], 1)
    gated = _gated(activation)
    return convolve(x, weight, bias, initial_state, cu_seqlens, gated)


@checked
def causal_conv1d_step(
    x: Tokens,
    weight: Filters,
    state: Buffer,
    *,
    bias: PerChannel | None = None,
    activation: str | None = None,
    slots: Integer[Array, " batch"] | None = None,
) -> tuple[Real[Array, "batch *rest"], Buffer]:
    """`golden.layers.causal_conv1d_step`.

    Where `slots` is given, all of the state is copied first.
    """
    at_least("the width of weight", weight.shape[1], 1)
    at_least("the window of state", state.shape[1], weight.shape[1] - 1)
    tokens = x if x.ndim == 3 else x[:, None]
    gated = _gated(activation)
    y, new = convolve_step(tokens, weight, state, bias, slots, None, gated)
    return y.reshape(x.shape), new


@checked
def causal_conv1d_step_circular(
    x: Tokens,
    weight: Filters,
    state: Buffer,
    position: Integer[Array, " batch"],
    *,
    bias: PerChannel | None = None,
    activation: str | None = None,
    slots: Integer[Array, " batch"] | None = None,
) -> tuple[Real[Array, "batch *rest"], Buffer]:
    """`golden.layers.causal_conv1d_step_circular`.

    Positions are brought to the host to be checked; where `slots` is given, all of the
    state is copied first.
    """
    at_least("the width of weight", weight.shape[1], 1)
    at_least("the window of state", state.shape[1], max(weight.shape[1] - 1, 1))
    at_least("position", min(_of_live_rows(position, slots), default=0), 0)
    tokens = x if x.ndim == 3 else x[:, None]
    gated = _gated(activation)
    y, new = convolve_step(tokens, weight, state, bias, slots, position, gated)
    return y.reshape(x.shape), new


def _of_live_rows(position: Array, slots: Array | None) -> list[int]:
    if slots is None:
        return position.tolist()
    rows = zip(position.tolist(), slots.tolist(), strict=True)
    return [place for place, slot in rows if slot >= 0]


def _gated(activation: str | None) -> bool:
    choose("activation", activation, None, "silu")
    return activation == "silu"


@checked
def rms_norm(
    x: Real[Array, "*batch channels"],
    weight: PerChannel | None = None,
    *,
    eps: float = 1e-5,
) -> Real[Array, "*batch channels"]:
    """`golden.layers.rms_norm`, in one pass over x."""
    at_least("eps", eps, 0)
    return normalise(x, weight, eps=eps)


@checked
def rms_norm_gated(
    x: Real[Array, "*batch channels"],
    weight: PerChannel | None = None,
    z: Real[Array, "*batch channels"] | None = None,
    *,
    eps: float = 1e-5,
    group_size: int | None = None,
    norm_before_gate: bool = False,
) -> Real[Array, "*batch channels"]:
    """`golden.layers.rms_norm_gated`, in one pass over x and z."""
    channels = x.shape[-1]
    size = channels if group_size is None else group_size
    if size < 1 or channels % size:
        raise ValueError(f"group_size is {size}; it needs to divide {channels}")
    at_least("eps", eps, 0)
    gate = GATE_AFTER if norm_before_gate else GATE_BEFORE
    return normalise(x, weight, eps=eps, z=z, gate=gate, size=size)


@checked
def layer_norm(
    x: Real[Array, "*batch channels"],
    weight: PerChannel | None = None,
    bias: PerChannel | None = None,
    *,
    eps: float = 1e-5,
) -> Real[Array, "*batch channels"]:
    """`golden.layers.layer_norm`, in one pass over x."""
    at_least("eps", eps, 0)
    return normalise(x, weight, eps=eps, bias=bias, centred=True)
