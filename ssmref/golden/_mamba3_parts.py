"""The state of Mamba-3 and the steps that its forms share."""

from typing import NamedTuple

import numpy as np

from ._types import Real
from .layers import pi, rms_norm, rotary, sigmoid, silu


class Mamba3State(NamedTuple):
    """What the next token needs: the official cache, a row per sequence or slot.

    `angle` counts modulo 2 pi only; `k` is the last key with its bias, rotated, not
    scaled, one per rank (SISO: one); `v` is the last raw input.
    """

    angle: Real[np.ndarray, "rows heads angles"]
    ssm: Real[np.ndarray, "rows heads headdim state"]
    k: Real[np.ndarray, "rows ranks heads state"]
    v: Real[np.ndarray, "rows heads headdim"]


def start(state: Mamba3State | None, x, angles, ranks: int, size: int) -> Mamba3State:
    """Return a copy of `state`, or zeros where it is None."""
    if state is not None:
        return Mamba3State(*(part.copy() for part in state))
    batch, heads, headdim = len(x), *x.shape[-2:]
    shapes = (
        (batch, heads, angles.shape[-1]),
        (batch, heads, headdim, size),
        (batch, ranks, heads, size),
        (batch, heads, headdim),
    )
    return Mamba3State(*(np.zeros(shape, x.dtype) for shape in shapes))


def start_siso(state: Mamba3State | None, x, angles, size: int) -> tuple:
    """Return the parts of `start` with the one key of SISO."""
    check_one_rank(state)
    theta, h, k, v = start(state, x, angles, 1, size)
    return theta, h, k[:, 0], v


def check_one_rank(state: Mamba3State | None) -> None:
    """Raise ValueError for a state of MIMO."""
    if state is not None and state.k.shape[1] != 1:
        raise ValueError(f"k of the state has {state.k.shape[1]} ranks; it needs one")


def rotate(v: np.ndarray, theta: np.ndarray, pairing: str) -> np.ndarray:
    """Rotate v by angles that are broadcast against it."""
    theta = np.broadcast_to(theta, (*v.shape[:-1], theta.shape[-1]))
    return rotary(v, theta, pairing=pairing)


def plus(X: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Add a bias per head, if any."""
    return X if bias is None else X + bias


def plus_ranked(X: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Add a bias per head and rank, if any; X has ranks before heads."""
    return X if bias is None else X + np.swapaxes(bias, 0, 1)


def to_ranks(x: np.ndarray, weight: np.ndarray | None, ranks: int) -> np.ndarray:
    """Return x once per rank, weighted; ranks come before heads."""
    x = np.repeat(x[..., None, :, :], ranks, axis=-3)
    return x if weight is None else x * np.swapaxes(weight, 0, 1)


def from_ranks(y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the weighted sum over the ranks of y."""
    y = y if weight is None else y * np.swapaxes(weight, 0, 1)
    return np.sum(y, axis=-3)


def skip_norm_gate(y, x, D, z, norm_weight, norm_eps) -> np.ndarray:
    """Add D x, normalise over headdim, gate: each if it is given."""
    y = y if D is None else y + D[:, None] * x
    if norm_weight is not None:
        y = rms_norm(y, eps=norm_eps) * norm_weight
    return y if z is None else y * silu(z)


def turn(theta: np.ndarray, angles: np.ndarray, dt: np.ndarray) -> np.ndarray:
    """Return the angles of one more token, modulo 2 pi."""
    theta = theta + pi(dt.dtype) * np.tanh(angles) * dt[:, :, None]
    return theta % (2 * pi(dt.dtype))


def weights(dt, A, trap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return alpha, beta and gamma of one token, to be multiplied with states."""
    alpha, weight = np.exp(A * dt), sigmoid(trap)
    beta, gamma = (1 - weight) * dt * alpha, weight * dt
    return alpha[..., None, None], beta[..., None, None], gamma[..., None, None]


def outer(v: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the products of values and keys per head."""
    return v[..., :, None] * k[..., None, :]


def outer_sum(v: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the products of values and keys per head, summed over ranks."""
    return np.einsum("brhp,brhn->bhpn", v, k)
