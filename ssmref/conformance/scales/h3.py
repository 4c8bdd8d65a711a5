"""Scales of H3 and its step."""

from typing import Any

import numpy as np

from ...golden.layers import causal_conv1d
from .diagonal import System, states, system
from .propagation import of_pack, of_step


def h3(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y, the shift state and the diagonal state."""
    if a.get("cu_seqlens") is not None:
        return of_pack(h3, ("q", "k", "v"), a)
    state = a.get("initial_state")
    key, _ = _keys(a)
    sums, shift = _keys({n: _absolute(value) for n, value in a.items()})
    kv, kv_sums = _products(a, key, a["v"]), _products(a, sums, np.abs(a["v"]))
    parts = system(a["A"], a["B"], a["dt"], a.get("method", "bilinear"))
    parts = System(*(X[:, None, None] for X in parts))
    drive, error = parts.drive * kv[..., None], parts.drive_error * kv_sums[..., None]
    x = states(parts, drive, error, None if state is None else state.ssm)
    o = 2 * np.einsum("bthijn,hn->bthij", x[:, 1:], np.abs(a["C"]))
    if a.get("D") is not None:
        o = o + np.abs(a["D"])[:, None, None] * kv_sums
    y = np.einsum("bthi,bthij->bthj", _split(a, np.abs(a["q"])), o)
    return y.reshape(a["q"].shape), shift, x[:, -1]


def _absolute(value: Any) -> Any:
    if isinstance(value, tuple):
        return type(value)(*map(np.abs, value))
    return np.abs(value) if isinstance(value, np.ndarray) else value


def _keys(a: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the shifted keys and the final shift state."""
    k, taps, state = a["k"], a["shift_C"], a.get("initial_state")
    earlier = np.zeros((len(k), *taps.shape)) if state is None else state.shift
    padded = np.concatenate([earlier[..., ::-1].swapaxes(1, 2), k], axis=1)
    key = causal_conv1d(padded, taps[:, ::-1])[0][:, taps.shape[1] :]
    if a.get("shift_D") is not None:
        key = key + a["shift_D"] * k
    return key, padded[:, k.shape[1] :][:, ::-1].swapaxes(1, 2)


def _products(a: dict[str, Any], k: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.einsum("bthi,bthj->bthij", _split(a, k), _split(a, v))


def _split(a: dict[str, Any], x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:2], len(a["dt"]), a.get("head_dim", 1))


def h3_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one step: a scan of one token."""
    return of_step(h3, ("q", "k", "v"), a)
