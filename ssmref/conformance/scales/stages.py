"""Scales of the stages of chunked algorithms."""

from typing import Any

import numpy as np

from ...golden import stages
from ...golden._contract import expand_groups
from ...golden._mamba3_parts import outer, plus
from ...golden.layers import sigmoid
from ...golden.mamba2 import _in_chunks as in_chunks
from ...golden.scan import linear_scan
from . import mamba1, mamba2, mamba3
from .mamba3 import _lengths as lengths
from .propagation import absolute, step_size, window

TOKENS = ("x", "dt", "B", "C", "A", "trap", "angles")


def ssd_stages(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of all stages; states are those of SSD over their tokens."""
    size = a["chunk_size"]
    call = {name: value for name, value in a.items() if name != "chunk_size"}
    y, final = mamba2.ssd(call)
    starts = range(0, a["x"].shape[1], size)
    own = np.zeros((len(y), len(starts), *final.shape[1:]))
    entering = np.zeros_like(own)
    for c, first in enumerate(starts):
        alone = {**call, "initial_state": None}
        own[:, c] = mamba2.ssd(_part(alone, first, first + size))[1]
        entering[:, c] = mamba2.ssd(_part(call, 0, first))[1]
    dt, kappa = step_size(a)
    dt = np.moveaxis(in_chunks(dt * kappa, size), 3, 1)
    log_decay = np.cumsum(dt * np.abs(a["A"])[:, None, None], axis=-1)
    return dt, log_decay, own, entering, y, final


def _part(call: dict[str, Any], first: int, stop: int) -> dict[str, Any]:
    """Return the call on some tokens; the A of Mamba-3 comes per token."""
    timed = [n for n in TOKENS if n in call and np.ndim(call[n]) > 1]
    return {**call, **{name: call[name][:, first:stop] for name in timed}}


def selective_scan_stages(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of all stages; the states as in the scale of the scan."""
    found = stages.selective_scan_stages(**a)
    dt, kappa = step_size(a)
    exponents = (kappa * dt)[..., None] * np.abs(a["A"])
    drive = np.abs(found.drive) * kappa[..., None]
    start = absolute(a.get("initial_state"))
    states = linear_scan(found.decay, drive, initial_state=start)
    y, final = mamba1.selective_scan(a)
    decay = found.decay * (1 + exponents)
    return dt * kappa, decay, drive, states * window(exponents, None), y, final


def siso_stages(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of all stages, angles as a random walk of their roundings."""
    size, dt, trap = a["chunk_size"], a["dt"], a["trap"]
    call = {name: value for name, value in a.items() if name != "chunk_size"}
    y, *final = mamba3.siso(call)
    starts = range(0, dt.shape[1], size)
    entering = np.zeros((len(y), len(starts), *final[1].shape[1:]))
    for c, first in enumerate(starts):
        entering[:, c] = _entering(call, first)
    weight = sigmoid(trap)
    gamma = dt * weight * (1 + np.abs(trap) * (1 - weight))
    # 1 - lambda is known to eps: the weight of the token before is dt.
    scale = gamma + np.pad(dt, ((0, 0), (0, 1), (0, 0)))[:, 1:]
    walk = 1 + np.pi * np.sqrt(1 + dt.shape[1])
    q, k = (_lengths(call, name) * walk for name in "CB")
    turn = np.pi * np.abs(np.tanh(a["angles"])) * dt[..., None]
    k = k * scale[..., None]
    gamma, scale = np.swapaxes(gamma, 1, 2), np.swapaxes(scale, 1, 2)
    return turn, gamma, scale, q, k, _log_decay(a), entering, y, *final


def _entering(call: dict[str, Any], first: int) -> np.ndarray:
    """Return the scale of the state before a token, with the weight of the last."""
    _, _, ssm, k, v = mamba3.siso(_part(call, 0, first))
    return ssm + call["dt"][:, first, :, None, None] * outer(v, k[:, 0])


def _lengths(call: dict[str, Any], name: str) -> np.ndarray:
    X = expand_groups(name, call[name], call["x"].shape[2], axis=2)
    pairing = call.get("pairing", "pairwise")
    return lengths(plus(X, call.get(f"{name}_bias")), call["angles"], pairing)


def _log_decay(a: dict[str, Any]) -> np.ndarray:
    sums = np.cumsum(in_chunks(np.abs(a["A"] * a["dt"]), a["chunk_size"]), axis=2)
    flat = sums.reshape(len(sums), -1, sums.shape[3])
    return np.swapaxes(flat[:, : a["dt"].shape[1]], 1, 2)
