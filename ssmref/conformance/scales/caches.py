"""Scales of serving and of snapshots."""

from itertools import pairwise
from typing import Any

import numpy as np

from ...golden import layers, mamba2
from ...golden._contract import map_state
from ...golden.caches import SSD_OPTIONS, ServeState, split
from . import layers as layer_scales
from . import mamba2 as mamba2_scales
from .propagation import step_size


def serve(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and of the two pools of states.

    Slots that no row writes are copied: their scale is their own magnitude.
    """
    mask = a.get("mask", np.ones(a["xBC"].shape[:2], np.int64))
    kept = a.get("accepted", np.sum(mask, axis=1))
    y = np.zeros((*a["dt"].shape, a["state"].ssm.shape[2]))
    pool = map_state(np.abs, a["state"])
    for row, slot in enumerate(a["write"]):
        tokens = np.flatnonzero(mask[row])
        y[row, tokens], _ = _core(a, row, tokens)
        _, end = _core(a, row, tokens[: kept[row]])
        if slot >= 0:
            pool.conv[slot], pool.ssm[slot] = end
    return y, *pool


def _core(a: dict[str, Any], row: int, tokens: np.ndarray) -> tuple:
    """Return the scales of y and the state of some tokens of a row.

    To first order, errors of x, B and C add to those that SSD itself makes::

        d(y) = ssd(dx, B, C) + ssd(x, dB, C) + ssd(x, B, dC) + D dx
    """
    before = _start(a, row)
    convolution = {
        "x": a["xBC"][row : row + 1, tokens],
        "weight": a["weight"],
        "bias": a.get("bias"),
        "activation": "silu",
        "initial_state": before.conv,
    }
    value, _ = layers.causal_conv1d(**convolution)
    error, conv = layer_scales.causal_conv1d(convolution)
    x, B, C = split(value, before.ssm)
    dx, dB, dC = split(error, before.ssm)
    call = {"x": x, "A": a["A"], "B": B, "C": C, "initial_state": before.ssm}
    call |= {name: a[name] for name in SSD_OPTIONS if name in a}
    call["dt"] = a["dt"][row : row + 1, tokens]
    y, ssm = mamba2_scales.ssd(call)
    for name, change in (("x", dx), ("B", dB), ("C", dC)):
        more_y, more_ssm = _absolute(call, name, change)
        y, ssm = y + more_y, ssm + more_ssm
    return y[0], ServeState(conv[0], ssm[0])


def _absolute(call: dict[str, Any], name: str, change: np.ndarray) -> tuple:
    """Return what a change of x, B or C does to y and the state, all in magnitude."""
    dt, _ = step_size(call)
    arrays = {n: np.abs(call[n]) for n in ("x", "B", "C")} | {name: change}
    start = np.abs(call["initial_state"])
    # Only C meets the initial state.
    options = {"initial_state": start if name == "C" else 0 * start}
    if name == "x" and call.get("D") is not None:
        options["D"] = np.abs(call["D"])
    y, state = mamba2.ssd(
        arrays["x"], dt, call["A"], arrays["B"], arrays["C"], **options
    )
    return y, 0 * state if name == "C" else state


def _start(a: dict[str, Any], row: int) -> ServeState:
    slot = a["read"][row]
    if slot < 0:
        return map_state(lambda part: np.zeros_like(part[:1]), a["state"])
    return map_state(lambda part: part[slot : slot + 1], a["state"])


def snapshots(a: dict[str, Any]) -> tuple[np.ndarray]:
    """Return the scale of the states at block boundaries: SSD up to each of them."""
    heads, headdim = a["x"].shape[2:]
    found = [np.zeros((0, heads, headdim, a["B"].shape[-1]))]
    for row, (first, last) in enumerate(pairwise(a["cu_seqlens"])):
        seen = a["position"][row] - first
        for stop in range(first + 1, last + 1):
            if (seen + stop) % a["block"] == 0:
                found.append(_until(a, row, slice(first, stop)))
    return (np.concatenate(found),)


def _until(a: dict[str, Any], row: int, tokens: slice) -> np.ndarray:
    call = {name: a[name][:, tokens] for name in ("x", "dt", "B")}
    call |= {name: a[name] for name in SSD_OPTIONS if name in a} | {"A": a["A"]}
    call["C"] = call["B"]
    if a.get("initial_state") is not None:
        call["initial_state"] = a["initial_state"][row : row + 1]
    return mamba2_scales.ssd(call)[1]
