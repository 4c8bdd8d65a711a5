"""Scales of S4D and its step."""

from typing import Any

import numpy as np

from .diagonal import states, system
from .propagation import of_pack, of_step


def s4d(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the final state."""
    if a.get("cu_seqlens") is not None:
        return of_pack(s4d, ("u",), a)
    parts = system(a["A"], a["B"], a["dt"], a.get("method", "zoh"))
    u = a["u"][..., None]
    drive, error = parts.drive * u, parts.drive_error * np.abs(u)
    x = states(parts, drive, error, a.get("initial_state"))
    y = 2 * np.einsum("btdn,dn->btd", x[:, 1:], np.abs(a["C"]))
    if a.get("D") is not None:
        y = y + np.abs(a["D"] * a["u"])
    return y, x[:, -1]


def s4d_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one step: a scan of one token."""
    return of_step(s4d, ("u",), a)
