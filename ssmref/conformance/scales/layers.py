"""Scales of the causal convolution, its steps and the norms."""

from typing import Any

import numpy as np

from ...golden import layers
from .propagation import absolute, through_gate, through_rms, through_silu


def causal_conv1d(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the final state: sums by absolute values."""
    return _convolution(layers.causal_conv1d, "initial_state", a)


def causal_conv1d_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the new state."""
    return _convolution(layers.causal_conv1d_step, "state", a)


def causal_conv1d_step_circular(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the new buffer."""
    return _convolution(layers.causal_conv1d_step_circular, "state", a)


def _convolution(function: Any, state_name: str, a: dict[str, Any]) -> tuple:
    plain = {**a, "activation": None}
    value, _ = function(**plain)
    magnitudes = {
        name: absolute(a.get(name)) for name in ("x", "weight", "bias", state_name)
    }
    scale, state = function(**{**plain, **magnitudes})
    if a.get("activation") == "silu":
        scale = through_silu(value, scale)
    return scale, state  # a state is a copy: its scale is its own magnitude


def rms_norm(a: dict[str, Any]) -> tuple[np.ndarray]:
    """Return the scale of y: x is exact."""
    return (through_rms(a["x"], np.zeros(1), _weight(a), a.get("eps", 1e-5)),)


def rms_norm_gated(a: dict[str, Any]) -> tuple[np.ndarray]:
    """Return the scale of y, group by group, with the gate on its side of the norm."""
    x, z, weight, eps = a["x"], a.get("z"), _weight(a), a.get("eps", 1e-5)
    size = a.get("group_size") or x.shape[-1]
    scale = np.zeros_like(x)
    after = a.get("norm_before_gate", False)
    if z is not None and not after:
        x, scale = x * layers.silu(z), through_gate(x, scale, z)
    in_groups = (*x.shape[:-1], -1, size)
    x, scale = x.reshape(in_groups), scale.reshape(in_groups)
    scale = through_rms(x, scale, weight.reshape(-1, size), eps).reshape(a["x"].shape)
    value = layers.rms_norm(x, eps=eps).reshape(scale.shape) * weight
    return (through_gate(value, scale, z if after else None),)


def layer_norm(a: dict[str, Any]) -> tuple[np.ndarray]:
    """Return the scale of y: the mean is as exact as its largest terms."""
    x, bias = a["x"], a.get("bias")
    centred = x - np.mean(x, axis=-1, keepdims=True)
    scale = np.abs(centred) + np.mean(np.abs(x), axis=-1, keepdims=True)
    scale = through_rms(centred, scale, _weight(a), a.get("eps", 1e-5))
    return (scale if bias is None else scale + np.abs(bias),)


def _weight(a: dict[str, Any]) -> np.ndarray:
    weight = a.get("weight")
    return np.ones(a["x"].shape[-1]) if weight is None else weight
