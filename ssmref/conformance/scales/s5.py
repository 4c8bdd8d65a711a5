"""Scales of S5 and its step."""

from typing import Any

import numpy as np

from .diagonal import System, states, system
from .propagation import of_pack, of_step


def s5(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the final state, in one or both directions."""
    if a.get("cu_seqlens") is not None:
        return of_pack(s5, ("u",), a)
    u, parts = a["u"], _system(a)
    x = _states(parts, u, a.get("initial_state"))
    y = _read(a, "C", x[:, 1:])
    if a.get("C_backward") is not None:
        future = _states(parts, u[:, ::-1], None)[:, :0:-1]
        y = y + _read(a, "C_backward", future)
    if a.get("D") is not None:
        y = y + np.abs(a["D"] * u)
    return y, x[:, -1]


def _system(a: dict[str, Any]) -> System:
    """Return the system; its eigenvalues have a step each and share the inputs."""
    ones = np.ones_like(a["A"])[:, None]
    parts = system(a["A"][:, None], ones, a["dt"], a.get("method", "zoh"))
    error = parts.drive_error * np.abs(a["B"])
    decay, decay_error = parts.decay[:, 0], parts.decay_error[:, 0]
    return System(decay, parts.drive * a["B"], decay_error, error)


def _states(parts: System, u: np.ndarray, start: np.ndarray | None) -> np.ndarray:
    return states(parts, u @ parts.drive.T, np.abs(u) @ parts.drive_error.T, start)


def _read(a: dict[str, Any], name: str, x: np.ndarray) -> np.ndarray:
    return (2 if a.get("conj_sym", True) else 1) * (x @ np.abs(a[name]).T)


def s5_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one step: a scan of one token."""
    return of_step(s5, ("u",), a)
