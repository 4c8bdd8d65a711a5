"""Scales of the selective scan and its step."""

from typing import Any

import numpy as np

from ...golden import mamba1
from .propagation import absolute, at_ends, of_step, step_size, through_gate, window


def selective_scan(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the final state.

    The recurrence on absolute values, every state weighted by the exponents that its
    decays have summed; weights differ by state, so C carries them into y.
    """
    u, A, bounds = a["u"], a["A"], a.get("cu_seqlens")
    dt, kappa = step_size(a)
    weights = window((kappa * np.abs(dt))[..., None] * np.abs(A), bounds)
    B, C = (np.abs(_per_channel(a[name], u.shape)) for name in "BC")
    common = {"initial_state": absolute(a.get("initial_state")), "cu_seqlens": bounds}
    drive = np.abs(kappa * u) * np.sign(dt)  # so that dt drive is |dt u|
    scale, state = mamba1.selective_scan(drive, dt, A.real, B, C * weights, **common)
    scale = scale * (2 if np.iscomplexobj(A) else 1)
    if a.get("D") is not None:
        scale = scale + np.abs(a["D"] * u)
    value, _ = mamba1.selective_scan(**{**a, "z": None})
    return through_gate(value, scale, a.get("z")), state * at_ends(weights, bounds)


def selective_scan_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one step: a scan of one token."""
    return of_step(selective_scan, ("u", "dt", "B", "C", "z"), a)


def _per_channel(X: np.ndarray, shape: tuple) -> np.ndarray:
    if X.ndim == 2:
        return np.broadcast_to(X, (*shape, X.shape[-1]))
    X = X[:, :, None] if X.ndim == 3 else X
    return np.repeat(X, shape[2] // X.shape[2], axis=2)
