"""Scales of attention and its step.

An error d[s] of the scores moves the output by ``sum_s w[s] (v[s] - y) d[s]``: nothing
where one token has all the weight or all values are the same. Scores are sums of
absolute values, and what exp takes is their distance to the largest. A rotation mixes
the two coordinates of a pair, so both are measured by the length of the pair; its angle
is known to its own magnitude, which grows with the position.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from ...golden.attention import attention as golden
from ...golden.layers import pairs, rotary_attention


def attention(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of y and of the cached keys and values."""
    if (bounds := a.get("cu_seqlens")) is not None:
        one = {**a, "cu_seqlens": None}
        parts = [
            attention({**one, **{n: a[n][:, start:stop] for n in "qkv"}})
            for start, stop in pairwise(bounds)
        ]
        return tuple(np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    _, state = golden(**a)
    cached = state.k.shape[1] - a["q"].shape[1]
    q, k = (_lengths(a, a[name], cached) for name in "qk")
    k = np.concatenate([np.abs(state.k[:, :cached]), k], axis=1)
    return _output(a, state, q, k), k, np.abs(state.v)


def _lengths(a: dict[str, Any], x: np.ndarray, first: int) -> np.ndarray:
    """Return the scale of rotated queries or keys, the first at this position."""
    dim, base = a.get("rotary_dim", 0), a.get("rotary_base", 10000.0)
    exponent = np.arange(0, dim, 2) / max(dim, 1)
    position = np.arange(first, first + x.shape[1])[:, None]
    # The first frequency is 1 and its angles are whole numbers: both are exact.
    relative = exponent * math.log(base) + (exponent > 0)
    angle = position * base**-exponent * relative
    pairing = "pairwise" if a.get("interleaved", False) else "halved"
    i, j = pairs(dim, dim // 2, pairing)
    scale, rotated = np.abs(x), np.empty((*x.shape[:3], dim))
    length = np.hypot(x[..., :dim][..., i], x[..., :dim][..., j])
    for half in (i, j):
        rotated[..., half] = length * (2 + angle[:, None])
    scale[..., :dim] = rotated
    return scale


def _output(a: dict[str, Any], state: Any, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the scale of y, one token at a time; q and k are scales."""
    factor = a.get("scale")
    factor = a["q"].shape[3] ** -0.5 if factor is None else factor
    heads, cached = a["q"].shape[2], state.k.shape[1] - a["q"].shape[1]
    k, keys, values = (
        np.repeat(X, heads // X.shape[2], axis=2) for X in (k, state.k, state.v)
    )
    queries = factor * _rotated(a, a["q"], cached)
    y = np.empty((*a["q"].shape[:3], values.shape[3]))
    for t in range(q.shape[1]):
        now = slice(cached + t + 1)
        scores = np.einsum("bhp,bshp->bsh", queries[:, t], keys[:, now])
        below = np.max(scores, axis=1, keepdims=True) - scores
        weights = np.exp(-below)[..., None]
        weights = weights / np.sum(weights, axis=1, keepdims=True)
        mean = np.sum(weights * values[:, now], axis=1, keepdims=True)
        error = abs(factor) * np.einsum("bhp,bshp->bsh", q[:, t], k[:, now]) + below
        moved = np.abs(values[:, now] - mean) * error[..., None]
        y[:, t] = np.sum(weights * (np.abs(values[:, now]) + moved), axis=1)
    return y


def _rotated(a: dict[str, Any], x: np.ndarray, first: int) -> np.ndarray:
    positions = np.arange(first, first + x.shape[1])
    return rotary_attention(
        x,
        positions,
        dim=a.get("rotary_dim", 0),
        base=a.get("rotary_base", 10000.0),
        interleaved=a.get("interleaved", False),
    )


def attention_step(a: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Return the scales of one step: those of a sequence of one token."""
    one = {name: value for name, value in a.items() if name != "state"}
    one |= {name: a[name][:, None] for name in "qkv"}
    y, *state = attention({**one, "initial_state": a["state"]})
    return y[:, 0], *state
