"""Scales of the halves of blocks."""

from typing import Any

import numpy as np

from ...golden import layers
from ...golden.gaussian import erf, gelu
from ...golden.s4d import s4d
from . import s4d as of_s4d
from .propagation import of_pack, of_step, through_rms, through_silu


def mlp_block(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the residual, which is one sum."""
    residual, weight = a["hidden"] + a["residual"], a["norm_weight"]
    eps = a.get("eps", 1e-5)
    normed = layers.rms_norm(residual, weight, eps=eps)
    scale = through_rms(residual, np.abs(residual), weight, eps)
    up, gate = np.split(normed @ a["fc1"].T, 2, axis=-1)
    up_scale, gate_scale = _linear(normed, scale, a["fc1"])
    value, gate_scale = up * layers.silu(gate), through_silu(gate, gate_scale)
    scale = up_scale * np.abs(layers.silu(gate)) + np.abs(up) * gate_scale
    return (np.abs(value) + scale) @ np.abs(a["fc2"]).T, np.abs(residual)


def _linear(x: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> list[np.ndarray]:
    """Return the scales of both halves of a linear map: sums by absolute values."""
    return np.split((np.abs(x) + scale) @ np.abs(weight).T, 2, axis=-1)


def s4_block(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the final state."""
    if a.get("cu_seqlens") is not None:
        return of_pack(s4_block, ("u",), a)
    inner = {n: v for n, v in a.items() if n not in ("weight", "bias")}
    y, _ = s4d(**inner)
    scale, state = of_s4d.s4d(inner)
    scale = _through_gelu(y, scale)
    return _through_glu(gelu(y), scale, a["weight"], a["bias"]), state


def _through_gelu(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the scale of gelu(x), given that of x; the tail as of ``1 + erf``."""
    normal = (1 + erf(x / np.sqrt(2))) / 2
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    itself = np.abs(x) * (1 + np.abs(erf(x / np.sqrt(2)))) / 2 + x * x * density
    return np.abs(normal + x * density) * scale + itself


def _through_glu(
    x: np.ndarray, scale: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    value, gate = np.split(x @ weight.T + bias, 2, axis=-1)
    bias_scales = np.split(np.abs(bias), 2)
    parts = zip(_linear(x, scale, weight), bias_scales, strict=True)
    value_scale, gate_scale = (own + bias for own, bias in parts)
    open_, closed = layers.sigmoid(gate), layers.sigmoid(-gate)
    slope = closed * (np.abs(gate) + gate_scale)
    return open_ * (value_scale + np.abs(value) * (1 + slope))


def s4_block_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one step: a scan of one token; padding rows are 0."""
    return of_step(s4_block, ("u",), a)
