"""Scales of S4 and its step.

A dense matrix has no decay per coordinate, and the powers of its absolute values may
grow where its own powers decay. What bounds an error made l tokens ago is the matrix of
absolute values of the power::

    x[t] = A_bar x[t-1] + B_bar u[t]
    r[t] = |(I - dt M/2)^-1| (W (|x[t-1]| + |x[t]|) + dt |B u[t]|)
    E[t] = sum_l |A_bar^l| r[t-l]

with ``W = I + dt/2 |diag(A)| + dt/2 |P| |P*|``: r is the error of one step, however
its linear system is solved. The scale of the state is |x| + E.
"""

from typing import Any

import numpy as np

from ...golden._linalg import solve
from ...golden.s4 import complete
from .propagation import of_pack, of_step


def s4(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and the final state."""
    if a.get("cu_seqlens") is not None:
        return of_pack(s4, ("u",), a)
    u, start = a["u"], a.get("initial_state")
    if start is None:
        start = np.zeros((len(u), *a["A"].shape), a["A"].dtype)
    inverse, sums, A_bar, B_bar = _matrices(a)
    x = np.abs(_states(A_bar, B_bar * u[..., None], complete(start)))
    step = np.einsum("dmn,btdn->btdm", sums, x[:, :-1] + x[:, 1:])
    step = step + np.abs(a["dt"][:, None] * complete(a["B"]) * u[..., None])
    step = np.einsum("dmn,btdn->btdm", np.abs(inverse), step)
    x[:, 1:] += _response(A_bar, step)
    y = np.einsum("btdn,dn->btd", x[:, 1:], complete(np.abs(a["C"])))
    if a.get("D") is not None:
        y = y + np.abs(a["D"] * u)
    return y, x[:, -1, :, : a["A"].shape[1]]


def _matrices(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return (I - dt M/2)^-1, the absolute sums W, A_bar and B_bar."""
    A, B, P = (complete(a[name]) for name in "ABP")
    half, identity = a["dt"][:, None, None] / 2, np.eye(A.shape[-1], dtype=A.dtype)
    diagonal = A[:, None] * identity
    M = diagonal - np.einsum("rdm,rdn->dmn", P, np.conj(P))
    rank = np.einsum("rdm,rdn->dmn", np.abs(P), np.abs(P))
    inverse = solve(identity - half * M, np.broadcast_to(identity, M.shape))
    B_bar = 2 * np.einsum("dmn,dn->dm", inverse, half[..., 0] * B)
    sums = np.real(identity) + half * (np.abs(diagonal) + rank)
    return inverse, sums, inverse @ (identity + half * M), B_bar


def _states(A_bar: np.ndarray, drive: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the states before the first and after every token."""
    x = np.empty((len(drive), drive.shape[1] + 1, *drive.shape[2:]), drive.dtype)
    x[:, 0] = start
    for t in range(drive.shape[1]):
        x[:, t + 1] = np.einsum("dmn,bdn->bdm", A_bar, x[:, t]) + drive[:, t]
    return x


def _response(A_bar: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the sum over lags of |A_bar^lag| times the errors made that long ago."""
    powers = np.empty((errors.shape[1], *A_bar.shape))
    power = np.broadcast_to(np.eye(A_bar.shape[-1], dtype=A_bar.dtype), A_bar.shape)
    response = np.empty_like(errors)
    for t in range(errors.shape[1]):
        powers[t] = np.abs(power)
        power = power @ A_bar
        past = errors[:, t::-1]
        response[:, t] = np.einsum("ldmn,bldn->bdm", powers[: t + 1], past)
    return response


def s4_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one step: a scan of one token."""
    return of_step(s4, ("u",), a)
