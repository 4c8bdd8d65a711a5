"""Scales of SSD and its step."""

from typing import Any

import numpy as np

from ...golden import mamba2
from .propagation import absolute, at_ends, of_step, step_size, through_gate, window


def ssd(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the final state.

    The recurrence on absolute values times 1 + the exponents summed over a window.
    """
    x, A, bounds = a["x"], a["A"], a.get("cu_seqlens")
    dt, kappa = step_size(a)
    weights = window(kappa * np.abs(dt * A), bounds)
    common = {"initial_state": absolute(a.get("initial_state")), "cu_seqlens": bounds}
    drive = np.abs(x) * (kappa * np.sign(dt))[..., None]  # so that dt drive is |dt x|
    scale, state = mamba2.ssd(drive, dt, A, np.abs(a["B"]), np.abs(a["C"]), **common)
    scale = scale * weights[..., None]
    if (D := a.get("D")) is not None:
        scale = scale + np.abs((D if D.ndim == 2 else D[:, None]) * x)
    value, _ = mamba2.ssd(**{**a, "z": None})
    ends = at_ends(weights, bounds)[..., None, None]
    return through_gate(value, scale, a.get("z")), state * ends


def ssd_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one step: a scan of one token."""
    return of_step(ssd, ("x", "dt", "B", "C", "z"), a)
