"""The inside of Mamba-1 and Mamba-2, laid open for bugs that sit there.

Channels of Mamba-1 are heads of one dimension here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...golden.layers import silu, softplus
from ...golden.scan import linear_scan
from .bug import Arguments, Wrap, instead
from .tokens import serving


@dataclass(frozen=True)
class Recurrence:
    """``h[t] = exp(exponent[t]) h[t-1] + drive[t]``, read by C, for one sequence.

    Axes: batch, length, heads, headdim (1 for the exponent), state; C has no headdim.
    """

    dt: np.ndarray
    exponent: np.ndarray
    drive: np.ndarray
    C: np.ndarray
    start: np.ndarray

    @property
    def decay(self) -> np.ndarray:
        """What is left of the state after each token, in the shape of `drive`."""
        return np.broadcast_to(np.exp(self.exponent), self.drive.shape)


Change = Callable[[Recurrence], Recurrence]
States = Callable[[Recurrence], np.ndarray]
Seen = Callable[[np.ndarray, Recurrence], np.ndarray]


def states(r: Recurrence) -> np.ndarray:
    """Return the state after each token."""
    return linear_scan(r.decay, r.drive, initial_state=r.start)


def new(after: np.ndarray, _: Recurrence) -> np.ndarray:
    """Return the states that outputs read: those after each token."""
    return after


def recurrent(
    change: Change = lambda r: r, run: States = states, seen: Seen = new
) -> Wrap:
    """Return the wrap that computes the recurrence with one of its pieces changed."""

    def scan(**arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        r = change(opened(arguments))
        h = run(r)
        final = h[:, -1] if h.shape[1] else r.start
        return closed(arguments, r, seen(h, r), final)

    return instead(serving(scan))


def step_sizes(arguments: Arguments) -> np.ndarray:
    """Return dt after bias, softplus and limits."""
    dt = arguments["dt"]
    if arguments.get("dt_bias") is not None:
        dt = dt + arguments["dt_bias"]
    if arguments.get("dt_softplus"):
        dt = softplus(dt)
    if is_mamba1(arguments):
        return dt
    low, high = arguments.get("dt_limit", (0.0, np.inf))
    return np.clip(dt, dt.dtype.type(low), dt.dtype.type(high))


def is_mamba1(arguments: Arguments) -> bool:
    """Return whether the arguments are those of the selective scan."""
    return "u" in arguments


def groups(arguments: Arguments) -> tuple[int, int]:
    """Return the number of groups of B and of heads (channels in Mamba-1)."""
    if not is_mamba1(arguments):
        return arguments["B"].shape[-2], arguments["x"].shape[-2]
    u, B = arguments["u"], arguments["B"]
    return (B.shape[-2] if B.ndim > u.ndim else 1), u.shape[-1]


def per_head(arguments: Arguments, name: str) -> np.ndarray:
    """Return B or C of a sequence with one group per head."""
    X, (count, heads) = arguments[name], groups(arguments)
    if X.ndim == 2:
        return np.broadcast_to(X, (*arguments["u"].shape, X.shape[-1]))
    X = X[:, :, None] if X.ndim == 3 else X
    return np.repeat(X, heads // count, axis=2)


def opened(arguments: Arguments) -> Recurrence:
    """Return the pieces of one sequence of Mamba-1 or Mamba-2."""
    dt, A, start = step_sizes(arguments), arguments["A"], arguments.get("initial_state")
    B, C = per_head(arguments, "B"), per_head(arguments, "C")
    x = arguments["u"][..., None] if is_mamba1(arguments) else arguments["x"]
    A = A if is_mamba1(arguments) else A[:, None]
    drive = (dt[..., None] * x)[..., None] * B[:, :, :, None]
    drive = drive.astype(np.result_type(drive, A))
    if start is None:
        start = np.zeros((len(x), *drive.shape[2:]), drive.dtype)
    start = start.reshape(len(start), *drive.shape[2:]).astype(drive.dtype)
    return Recurrence(dt, (dt[..., None] * A)[:, :, :, None], drive, C, start)


def closed(
    arguments: Arguments, r: Recurrence, read: np.ndarray, final: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return y from the states that are read, and the final state."""
    x, z = arguments["u" if is_mamba1(arguments) else "x"], arguments.get("z")
    y = np.einsum("bthpn,bthn->bthp", read, r.C)
    y = (2 * y.real if np.iscomplexobj(y) else y).reshape(x.shape).astype(x.dtype)
    y = y + skip(arguments)
    final = final[:, :, 0] if is_mamba1(arguments) else final
    return (y if z is None else y * silu(z)), final


def skip(arguments: Arguments) -> np.ndarray:
    """Return D x, or zeros."""
    x, D = arguments["u" if is_mamba1(arguments) else "x"], arguments.get("D")
    if D is None:
        return np.zeros_like(x)
    per_head_only = D.ndim == 1 and not is_mamba1(arguments)
    return (D[:, None] if per_head_only else D) * x


def previous(h: np.ndarray, r: Recurrence) -> np.ndarray:
    """Return the state before each token from those after each."""
    return np.concatenate([r.start[:, None], h], axis=1)[:, :-1]
