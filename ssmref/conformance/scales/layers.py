"""Scales of the causal convolution and its step."""

from typing import Any

import numpy as np

from ...golden import layers
from .propagation import absolute, through_silu


def causal_conv1d(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the final state: sums by absolute values."""
    return _convolution(layers.causal_conv1d, "initial_state", a)


def causal_conv1d_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the new state."""
    return _convolution(layers.causal_conv1d_step, "state", a)


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
