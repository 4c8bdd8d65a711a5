"""What surrounds a state space model, as in `ssmref.golden.layers`."""

import math
from typing import Any

import numpy as np

from ..contract import at_least, choose
from . import _convolution_kernels as convolution
from . import _convolution_step as step
from . import _elementwise_kernels as elementwise
from . import _norm_kernels as norms
from ._arguments import (
    boundaries,
    checked,
    flat_tokens,
    fresh,
    next_state,
    ready,
    rows_of,
)
from ._outputs import output
from ._types import Integer, Real


@checked
def softplus(
    x: Real[np.ndarray, "*shape"], *, threshold: float | None = 20.0
) -> Real[np.ndarray, "*shape"]:
    """`golden.layers.softplus`, by an exponential and a polynomial."""
    limit = math.inf if threshold is None else threshold
    return elementwise.apply(elementwise.SOFTPLUS, x, limit)


@checked
def softplus_inverse(y: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """`golden.layers.softplus_inverse`, in NumPy: it initialises parameters."""
    with np.errstate(all="ignore"):
        return np.where(y > 0, y + np.log(-np.expm1(-y)), y.dtype.type(math.nan))


@checked
def sigmoid(x: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """`golden.layers.sigmoid`, by an exponential and a division."""
    return elementwise.apply(elementwise.SIGMOID, x)


@checked
def silu(x: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """`golden.layers.silu`, by an exponential and a division."""
    return elementwise.apply(elementwise.SILU, x)


@checked
def heavy_tail(x: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """`golden.layers.heavy_tail`, by a division."""
    return elementwise.apply(elementwise.HEAVY_TAIL, x)


@checked
def rotary(
    v: Real[np.ndarray, "*batch state"],
    theta: Real[np.ndarray, "*batch angles"],
    *,
    pairing: str = "pairwise",
) -> Real[np.ndarray, "*batch state"]:
    """`golden.layers.rotary`; sines and cosines are NumPy's, for angles of any size."""
    choose("pairing", pairing, "pairwise", "halved")
    state, angles = v.shape[-1], theta.shape[-1]
    if state % 2 or angles > state // 2:
        raise ValueError(
            f"theta has {angles} angles for a state of {state}; the state needs to be "
            "even and have two coordinates per angle"
        )
    step, second = (2, 1) if pairing == "pairwise" else (1, state // 2)
    return elementwise.rotate(_rows(v), _rows(theta), step, second).reshape(v.shape)


@checked
def rotary_attention(
    x: Real[np.ndarray, "batch length heads headdim"],
    positions: Integer[np.ndarray, " length"] | Integer[np.ndarray, "batch length"],
    *,
    dim: int,
    base: float = 10000.0,
    interleaved: bool = False,
) -> Real[np.ndarray, "batch length heads headdim"]:
    """`golden.layers.rotary_attention`; angles in float64, once for all heads."""
    at_least("dim", dim, 0)
    if dim % 2 or dim > x.shape[-1]:
        raise ValueError(
            f"dim is {dim}; it needs to be even and at most headdim = {x.shape[-1]}"
        )
    frequencies = float(base) ** (-np.arange(0, dim, 2) / max(dim, 1))
    places = np.broadcast_to(positions, x.shape[:2]).reshape(-1, 1)
    step, second = (2, 1) if interleaved else (1, dim // 2)
    rotated = elementwise.rotate(_rows(x), places * frequencies, step, second)
    return rotated.reshape(x.shape)


def _width(weight: np.ndarray) -> int:
    """Return how many taps filters have."""
    at_least("the width of weight", weight.shape[1], 1)
    return weight.shape[1]


def _taps(weight: np.ndarray) -> np.ndarray:
    """Return the filters with channels last."""
    _ = _width(weight)
    return ready(weight.T)


def _ones(weight: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    return np.ones(x.shape[-1], x.dtype) if weight is None else ready(weight)


def _zeros(bias: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    return np.zeros(x.shape[-1], x.dtype) if bias is None else ready(bias)


def _active(activation: str | None) -> bool:
    choose("activation", activation, None, "silu")
    return activation == "silu"


@checked
def causal_conv1d(
    x: Real[np.ndarray, "batch length channels"],
    weight: Real[np.ndarray, "channels width"],
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    activation: str | None = None,
    initial_state: Real[np.ndarray, "sequences width-1 channels"] | None = None,
    cu_seqlens: Integer[np.ndarray, " bounds"] | None = None,
) -> tuple[
    Real[np.ndarray, "batch length channels"],
    Real[np.ndarray, "sequences width-1 channels"],
]:
    """`golden.layers.causal_conv1d`, bias and SiLU in one pass.

    Divided among threads in time; no workspace but a few tokens.
    """
    taps, active = _taps(weight), _active(activation)
    tokens, bounds = flat_tokens(x), boundaries(x, cu_seqlens)
    shape = (len(bounds) - 1, len(taps) - 1, x.shape[2])
    state = fresh(None, shape, x.dtype) if initial_state is None else initial_state
    state, ends = ready(state), np.empty(shape, x.dtype)
    y = output(tokens.shape, x.dtype)
    offset = _zeros(bias, x)
    convolution.convolve(y, tokens, taps, offset, active, state, bounds)
    convolution.last_tokens(ends, tokens, state, bounds)
    return y.reshape(x.shape), ends


def _tokens_of(x: np.ndarray) -> np.ndarray:
    return ready(x if x.ndim == 3 else x[:, None])


@checked
def causal_conv1d_step(
    x: Real[np.ndarray, "batch channels"] | Real[np.ndarray, "batch length channels"],
    weight: Real[np.ndarray, "channels width"],
    state: Real[np.ndarray, "slots window channels"],
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    activation: str | None = None,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Real[np.ndarray, "batch *rest"], Real[np.ndarray, "slots window channels"]]:
    """`golden.layers.causal_conv1d_step`; threads divide the rows of the batch.

    One token of filters of width 4 goes through each buffer once.
    """
    width = _width(weight)
    at_least("the window of state", state.shape[1], width - 1)
    options = _zeros(bias, x), _active(activation)
    state, y, rows = ready(state), np.empty(x.shape, x.dtype), rows_of(slots, len(x))
    new = next_state(state, slots)
    if width == step.WIDTH == state.shape[1] + 1 and x.ndim == 2:
        step.one_token(y, ready(x), state, new, rows, ready(weight), *options)
        return y, new
    tokens, outputs = _tokens_of(x), y if x.ndim == 3 else y[:, None]
    step.linear(outputs, tokens, state, new, rows, _taps(weight), *options)
    return y, new


@checked
def causal_conv1d_step_circular(
    x: Real[np.ndarray, "batch channels"] | Real[np.ndarray, "batch length channels"],
    weight: Real[np.ndarray, "channels width"],
    state: Real[np.ndarray, "slots window channels"],
    position: Integer[np.ndarray, " batch"],
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    activation: str | None = None,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Real[np.ndarray, "batch *rest"], Real[np.ndarray, "slots window channels"]]:
    """`golden.layers.causal_conv1d_step_circular`, a row of the batch per thread."""
    taps, rows = _taps(weight), rows_of(slots, len(x))
    at_least("the window of state", state.shape[1], max(len(taps) - 1, 1))
    at_least("position", min(position[rows >= 0].tolist(), default=0), 0)
    active, tokens, state = _active(activation), _tokens_of(x), ready(state)
    y, new, places = (
        np.empty_like(tokens),
        state.copy(),
        ready(position.astype(np.int64)),
    )
    options = rows, places, taps, _zeros(bias, x), active
    step.circular(y, tokens, state, new, *options)
    return y.reshape(x.shape), new


@checked
def rms_norm(
    x: Real[np.ndarray, "*batch channels"],
    weight: Real[np.ndarray, " channels"] | None = None,
    *,
    eps: float = 1e-5,
) -> Real[np.ndarray, "*batch channels"]:
    """`golden.layers.rms_norm`, in one pass over rows, which threads divide."""
    at_least("eps", eps, 0)
    return _rms(x, weight, None, norms.NO_GATE, x.shape[-1], eps)


@checked
def rms_norm_gated(
    x: Real[np.ndarray, "*batch channels"],
    weight: Real[np.ndarray, " channels"] | None = None,
    z: Real[np.ndarray, "*batch channels"] | None = None,
    *,
    eps: float = 1e-5,
    group_size: int | None = None,
    norm_before_gate: bool = False,
) -> Real[np.ndarray, "*batch channels"]:
    """`golden.layers.rms_norm_gated`, in one pass over rows, which threads divide."""
    channels = x.shape[-1]
    size = channels if group_size is None else group_size
    if size < 1 or channels % size:
        raise ValueError(f"group_size is {size}; it needs to divide {channels}")
    at_least("eps", eps, 0)
    gate = norms.GATE_AFTER if norm_before_gate else norms.GATE_BEFORE
    return _rms(x, weight, z, norms.NO_GATE if z is None else gate, size, eps)


def _rms(
    x: np.ndarray, weight: np.ndarray | None, z: Any, gate: int, size: int, eps: float
) -> np.ndarray:
    rows = _rows(x)
    gates = rows if z is None else _rows(z)
    y = output(rows.shape, x.dtype)
    norms.rms(y, rows, _ones(weight, x), gates, gate, size, eps)
    return y.reshape(x.shape)


def _rows(x: np.ndarray) -> np.ndarray:
    return ready(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


@checked
def layer_norm(
    x: Real[np.ndarray, "*batch channels"],
    weight: Real[np.ndarray, " channels"] | None = None,
    bias: Real[np.ndarray, " channels"] | None = None,
    *,
    eps: float = 1e-5,
) -> Real[np.ndarray, "*batch channels"]:
    """`golden.layers.layer_norm`, in one pass over rows, which threads divide."""
    at_least("eps", eps, 0)
    rows = _rows(x)
    y = output(rows.shape, x.dtype)
    norms.layer(y, rows, _ones(weight, x), _zeros(bias, x), eps)
    return y.reshape(x.shape)
