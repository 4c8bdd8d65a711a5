"""Scales of Mamba-3 and its steps.

A rotation mixes the two coordinates of a pair, so both are measured by the length of
the pair, which the rotation keeps; the angles that a window of tokens has summed weigh
like exponents do.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from ...golden import mamba3
from ...golden.layers import pairs, sigmoid
from .propagation import at_ends, of_step, through_gate, through_rms, window


def siso(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y, angle, ssm, k and v: MIMO of a single rank."""
    one = dict(a)
    one["pairing"] = a.get("pairing", "pairwise")
    one["B"], one["C"] = a["B"][:, :, None], a["C"][:, :, None]
    for bias in ("B_bias", "C_bias"):
        if a.get(bias) is not None:
            one[bias] = a[bias][:, None]
    return mimo(one)


def mimo(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y, angle, ssm, k and v."""
    bounds = a.get("cu_seqlens")
    parts = list(_sequences(a, bounds))
    y = np.concatenate([part[0] for part in parts], axis=1)
    states = [np.concatenate([part[i] for part in parts]) for i in range(1, 5)]
    return _finish(a, y), *states


def _sequences(a: dict[str, Any], bounds: np.ndarray | None):
    """Yield the scales of each sequence of a pack, or of the whole batch."""
    if bounds is None:
        yield _recurrence(a)
        return
    timed = ("x", "dt", "A", "B", "C", "trap", "angles")
    for row, (start, stop) in enumerate(pairwise(bounds)):
        one = {**a, **{name: a[name][:, start:stop] for name in timed}}
        if (state := a.get("initial_state")) is not None:
            one["initial_state"] = type(state)(*(s[row : row + 1] for s in state))
        yield _recurrence(one)


def _recurrence(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Run the recurrence on absolute values: y per rank before norm, four states."""
    x, dt, heads = a["x"], a["dt"], a["x"].shape[2]
    pairing = a.get("pairing", "halved")
    K, Q = (_lengths(_biased(a, n, heads), a["angles"], pairing) for n in "BC")
    V = np.abs(x[:, :, None] * _projection(a, "mimo_x"))
    weights = window(np.abs(dt * a["A"]), None)
    # An angle never forgets: its roundings, at most pi eps each, are a random walk.
    walk = np.sqrt(1 + x.shape[1])
    h, k, v = _start(a, K, pairing)
    lam = sigmoid(a["trap"])
    y = np.empty((*V.shape[:3], *V.shape[3:]))
    for t in range(x.shape[1]):
        decay = np.exp(dt[:, t] * a["A"][:, t])
        # 1 - lambda is known to eps, not to eps (1 - lambda): its weight is 1.
        before = (dt[:, t] * decay)[..., None, None] * _outer(v, k)
        lam_t = lam[:, t] * (1 + np.abs(a["trap"][:, t]) * (1 - lam[:, t]))
        now = (lam_t * dt[:, t])[..., None, None] * _outer(V[:, t], K[:, t])
        h = decay[..., None, None] * h + before + now
        y[:, t] = np.einsum("bhpn,brhn->brhp", h, Q[:, t]) * _per_head(weights[:, t])
        k, v = K[:, t], V[:, t]
    if a.get("D") is not None:
        y = y + np.abs(a["D"][:, None] * V)
    end = at_ends(weights, None) + walk
    ssm, k = h * end[..., None, None], k * (1 + np.pi * walk)
    angle = np.full((len(x), *a["angles"].shape[2:]), np.pi * walk)
    return y, angle, ssm, k, np.abs(_last_input(a))


def _last_input(a: dict[str, Any]) -> np.ndarray:
    x, state = a["x"], a.get("initial_state")
    if x.shape[1]:
        return x[:, -1]
    return np.zeros((len(x), *x.shape[2:])) if state is None else state.v


def _outer(v: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.einsum("brhp,brhn->bhpn", v, k)


def _per_head(weights: np.ndarray) -> np.ndarray:
    return weights[:, None, :, None]


def _biased(a: dict[str, Any], name: str, heads: int) -> np.ndarray:
    X = np.repeat(a[name], heads // a[name].shape[3], axis=3)
    bias = a.get(f"{name}_bias")
    return X if bias is None else X + np.swapaxes(bias, 0, 1)


def _lengths(X: np.ndarray, angles: np.ndarray, pairing: str) -> np.ndarray:
    """Return |X| with both coordinates of a rotated pair replaced by its length."""
    first, second = pairs(X.shape[-1], angles.shape[-1], pairing)
    lengths = np.abs(X)
    length = np.hypot(X[..., first], X[..., second])
    lengths[..., first], lengths[..., second] = length, length
    return lengths


def _projection(a: dict[str, Any], name: str) -> np.ndarray:
    """Return mimo_x, mimo_z or mimo_o as (ranks, heads, headdim); ones if absent."""
    if a.get(name) is not None:
        return np.swapaxes(a[name], 0, 1)
    return np.ones((a["B"].shape[2], *a["x"].shape[2:]))


def _start(a: dict[str, Any], K: np.ndarray, pairing: str) -> tuple:
    state = a.get("initial_state")
    batch, _, ranks, heads, size = K.shape
    if state is None:
        headdim = a["x"].shape[-1]
        return (
            np.zeros((batch, heads, headdim, size)),
            np.zeros((batch, ranks, heads, size)),
            np.zeros((batch, ranks, heads, headdim)),
        )
    # The state is rotated at once with its angle: pairs mix, lengths bound them.
    h = _lengths(state.ssm, a["angles"], pairing)
    k = _lengths(state.k, a["angles"], pairing)
    return h, k, np.abs(state.v[:, None] * _projection(a, "mimo_x"))


def _finish(a: dict[str, Any], scale: np.ndarray) -> np.ndarray:
    """Carry the scale per rank through norm, gate and the sum over ranks."""
    through = a.get("norm_weight") is not None or a.get("z") is not None
    value = _values_per_rank(a, scale.shape) if through else scale
    if (weight := a.get("norm_weight")) is not None:
        eps = a.get("norm_eps", 1e-5)
        scale = through_rms(value, scale, weight, eps)
        square = np.mean(value * value, axis=-1, keepdims=True) + eps
        value = value / np.sqrt(square) * weight
    if a.get("z") is not None:
        z = a["z"][:, :, None] * _projection(a, "mimo_z")
        scale = through_gate(value, scale, z)
    return np.sum(scale * np.abs(_projection(a, "mimo_o")), axis=2)


def _values_per_rank(a: dict[str, Any], shape: tuple) -> np.ndarray:
    """Return golden's y of each rank before norm and gate, one rank at a time."""
    plain = {**a, "norm_weight": None, "z": None}
    values = np.empty(shape)
    for rank in range(shape[2]):
        only = np.zeros((shape[3], shape[2], shape[4]))
        only[:, rank] = 1
        values[:, :, rank] = mamba3.mimo(**{**plain, "mimo_o": only})[0]
    return values


_TIMED = ("x", "dt", "A", "B", "C", "trap", "angles", "z")


def siso_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one SISO step: a scan of one token."""
    return of_step(siso, _TIMED, a)


def mimo_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one MIMO step: a scan of one token."""
    return of_step(mimo, _TIMED, a)
