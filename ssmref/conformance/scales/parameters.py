"""Scales of how parameters become arguments."""

from typing import Any

import numpy as np

from ...golden import layers, parameters
from .propagation import step_size, through_rms


def mamba_rate(a: dict[str, Any]) -> tuple[np.ndarray]:
    """Return the scale of A: exp2 of a rounded product loses digits of its argument."""
    return (np.exp(a["A_log"]) * (1 + np.abs(a["A_log"])),)


def mamba2_step_size(a: dict[str, Any]) -> tuple[np.ndarray]:
    """Return the scale of dt."""
    dt, kappa = step_size({**a, "dt_softplus": True})
    return (dt * kappa,)


def mamba3_rate(a: dict[str, Any]) -> tuple[np.ndarray]:
    """Return the scale of A, with softplus as that of a step size."""
    A = np.abs(parameters.mamba3_rate(**a))
    if a.get("activation") != "softplus":
        return (A,)
    _, kappa = step_size({"dt": a["a"], "dt_softplus": True})
    return (A * kappa,)


def falcon_mamba_projections(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of dt, B and C: norms of exact values, then a linear map."""
    eps = a.get("eps", 1e-6)
    dt, B, C = (_norm(a[name], eps) for name in ("dt", "B", "C"))
    values = np.abs(layers.rms_norm(a["dt"], eps=eps))
    dt = np.einsum("btr,dr->btd", values + dt, np.abs(a["weight"]))
    return dt, B, C


def _norm(value: np.ndarray, eps: float) -> np.ndarray:
    weight = np.ones(value.shape[-1])
    return through_rms(value, np.zeros_like(value), weight, eps)


def falcon_h1_projections(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of z, x, B, C and dt: one product each."""
    return tuple(np.abs(part) for part in parameters.falcon_h1_projections(**a))
