"""First-order propagation of rounding errors through the pieces that ops share.

A scale is in units of eps: an implementation that rounds every elementary operation
once has an error of about ``eps * scale``. Sums are measured by their absolute values,
products of decays by the sum of their exponents over a window of tokens.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ...golden._contract import map_state
from ...golden.layers import sigmoid, silu, softplus

# Tokens over which exponents are summed: what one chunk of a chunked form can hold.
WINDOW = 256


def window(rates: np.ndarray, cu_seqlens: np.ndarray | None) -> np.ndarray:
    """Return 1 + the sum of `rates` over the last tokens of the same sequence."""
    length = rates.shape[1]
    start = np.zeros(length, np.int64)
    if cu_seqlens is not None:
        start = np.repeat(cu_seqlens[:-1], np.diff(cu_seqlens))
    now = np.arange(length)
    first = np.maximum(now - WINDOW + 1, start)
    zero = np.zeros((len(rates), 1, *rates.shape[2:]))
    total = np.concatenate([zero, np.cumsum(rates, axis=1)], axis=1)
    return 1 + total[:, now + 1] - total[:, first]


def at_ends(values: np.ndarray, cu_seqlens: np.ndarray | None) -> np.ndarray:
    """Return `values` (batch, length, ...) at the end of each sequence; 1 if empty."""
    if cu_seqlens is None:
        cu_seqlens = np.array([0, values.shape[1]])
        rows = values
    else:
        rows = np.broadcast_to(values, (len(cu_seqlens) - 1, *values.shape[1:]))
    ones = np.ones((len(rows), 1, *rows.shape[2:]))
    padded = np.concatenate([ones, rows], axis=1)
    empty = np.diff(cu_seqlens) == 0
    last = np.resize(np.where(empty, 0, cu_seqlens[1:]), len(rows))
    return padded[np.arange(len(rows)), last]


def step_size(arguments: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return dt as the op uses it and its relative error in units of eps.

    softplus(r) has the relative error 1 + |r| softplus'(r) / softplus(r): the exp of a
    large negative number loses as many digits as that number has before the point. The
    quotient is 1 where both underflow.
    """
    raw = arguments["dt"]
    if (bias := arguments.get("dt_bias")) is not None:
        raw = raw + bias
    dt, kappa = raw, np.ones_like(raw)
    if arguments.get("dt_softplus", False):
        dt, slope = softplus(raw), sigmoid(raw)
        rest = np.abs(raw)
        kappa = 1 + np.divide(rest * slope, dt, out=rest, where=dt != 0)
    if (limit := arguments.get("dt_limit")) is not None:
        dt = np.clip(dt, *limit)
    return dt, kappa


def through_silu(value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the scale of silu(value), given that of value."""
    slope = sigmoid(value) * (1 + value * sigmoid(-value))
    return np.abs(slope) * scale + _silu_itself(value)


def through_gate(
    value: np.ndarray, scale: np.ndarray, z: np.ndarray | None
) -> np.ndarray:
    """Return the scale of ``value * silu(z)``, z being exact."""
    if z is None:
        return scale
    return scale * np.abs(silu(z)) + np.abs(value) * _silu_itself(z)


def _silu_itself(z: np.ndarray) -> np.ndarray:
    return np.abs(silu(z)) * (1 + np.abs(z) * sigmoid(-z))


def through_rms(
    value: np.ndarray, scale: np.ndarray, weight: np.ndarray, eps: float
) -> np.ndarray:
    """Return the scale of the RMS norm of `value` over its last axis."""
    square = np.mean(value * value, axis=-1, keepdims=True) + eps
    shared = np.mean(np.abs(value) * scale, axis=-1, keepdims=True) / square
    return np.abs(weight) * (scale + np.abs(value) * (1 + shared)) / np.sqrt(square)


def absolute(array: np.ndarray | None) -> np.ndarray | None:
    """Return ``|array|``, or None."""
    return None if array is None else np.abs(array)


def of_pack(
    scan: Callable[[dict[str, Any]], tuple], timed: tuple[str, ...], a: dict[str, Any]
) -> tuple[np.ndarray, ...]:
    """Return the scales of a pack: those of each sequence by itself, joined.

    `timed` names the arguments that have a time axis.
    """
    parts = []
    for row, (start, stop) in enumerate(pairwise(a["cu_seqlens"].tolist())):
        one = {**a, "cu_seqlens": None}
        one |= {n: a[n][:, start:stop] for n in timed if a.get(n) is not None}
        if (state := a.get("initial_state")) is not None:
            one["initial_state"] = map_state(lambda s, i=row: s[i : i + 1], state)
        parts.append(scan(one))
    y, *states = zip(*parts, strict=True)
    return np.concatenate(y, axis=1), *(np.concatenate(s) for s in states)


def of_step(
    scan: Callable[[dict[str, Any]], tuple], timed: tuple[str, ...], a: dict[str, Any]
) -> tuple[np.ndarray, ...]:
    """Return the scales of a step: those of the scan of one token.

    `timed` names the arguments that have a time axis in the scan. Slots that no row
    uses are copied: their scale is their own magnitude.
    """
    slots, state = a.get("slots"), a["state"]
    parts = state if isinstance(state, tuple) else (state,)
    rows = np.arange(len(parts[0])) if slots is None else slots
    live = np.flatnonzero(rows >= 0)
    one = {k: v for k, v in a.items() if k not in ("slots", "state")}
    one |= {n: one[n][live, None] for n in timed if one.get(n) is not None}
    one["initial_state"] = map_state(lambda part: part[rows[live]], state)
    y_live, *states_live = scan(one)
    y = np.zeros((len(rows), *y_live.shape[2:]))
    y[live] = y_live[:, 0]
    scales = [np.abs(part) for part in parts]
    for scale, new in zip(scales, states_live, strict=True):
        scale[rows[live]] = new
    return y, *scales
