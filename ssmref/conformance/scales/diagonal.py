"""Scales of time-invariant diagonal systems: what S4D, S5 and H3 share.

Their decay is rounded once and used for every token, so that its error grows with the
lag and not like a random walk. Hence a second recurrence, driven by the first::

    x[t] = A_bar x[t-1] + B_bar u[t]
    E[t] = |A_bar| E[t-1] + dA |x[t-1]| + dB |u[t]|

with the absolute errors dA and dB of A_bar and B_bar; the scale of the state is
|x| + E. Absolute values inside the first recurrence would be safer than needed: over a
long memory the sums of a turning state are much smaller than those of its magnitudes.
"""

from typing import NamedTuple

import numpy as np

from ...golden.discretize import discretize


class System(NamedTuple):
    """A_bar and B_bar, and the absolute errors of both over eps."""

    decay: np.ndarray
    drive: np.ndarray
    decay_error: np.ndarray
    drive_error: np.ndarray


def system(A: np.ndarray, B: np.ndarray, dt: np.ndarray, method: str) -> System:
    """Return a discretised system and its errors."""
    A_bar, B_bar = discretize(A, B, dt, method=method)
    z, a, b = np.abs(dt[..., None] * A), np.abs(A_bar), np.abs(B_bar)
    if method == "zoh":
        # The exponent is known to eps |z|; so is expm1 of it, which z divides again.
        return System(A_bar, B_bar, a * (1 + z), b + dt[..., None] * np.abs(B) * a)
    sums = (1 + z / 2) / np.abs(1 - dt[..., None] * A / 2)
    return System(A_bar, B_bar, sums * (1 + a) + a, b * (1 + sums))


def states(
    parts: System, drive: np.ndarray, drive_error: np.ndarray, start: np.ndarray | None
) -> np.ndarray:
    """Return the scale of the state before the first and after every token.

    `drive` and its error have time on the second axis, the result has one entry more.
    """
    scale = np.empty((len(drive), drive.shape[1] + 1, *drive.shape[2:]))
    E, decay = np.zeros_like(scale[:, 0]), np.abs(parts.decay)
    x = E.astype(drive.dtype) if start is None else start
    scale[:, 0] = np.abs(x)
    for t in range(drive.shape[1]):
        E = decay * E + parts.decay_error * np.abs(x) + drive_error[:, t]
        x = parts.decay * x + drive[:, t]
        scale[:, t + 1] = np.abs(x) + E
    return scale
