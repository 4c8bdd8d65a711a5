"""Causal softmax attention: what state space models are measured against."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ._contract import at_least, checked, expand_groups
from ._types import Integer, Real
from .layers import rotary_attention

Query = Real[np.ndarray, "batch length heads headdim"]
Key = Real[np.ndarray, "batch length kv_heads headdim"]
Value = Real[np.ndarray, "batch length kv_heads valuedim"]
Output = Real[np.ndarray, "batch length heads valuedim"]
Bounds = Integer[np.ndarray, " bounds"]


class AttentionState(NamedTuple):
    """Keys (after rotary) and values of the tokens so far: the cache."""

    k: Real[np.ndarray, "batch cached kv_heads headdim"]
    v: Real[np.ndarray, "batch cached kv_heads valuedim"]


@checked
def attention(
    q: Query,
    k: Key,
    v: Value,
    *,
    scale: float | None = None,
    rotary_dim: int = 0,
    rotary_base: float = 10000.0,
    interleaved: bool = False,
    initial_state: AttentionState | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Output, AttentionState]:
    """Let each token look at itself and all earlier ones, one token at a time.

    ::

        q[t], k[t] = rotary(q[t], t), rotary(k[t], t)
        m[t] = max_s scale q[t] k[s]                  s <= t
        w[t, s] = exp(scale q[t] k[s] - m[t])
        y[t] = sum_s w[t, s] v[s] / sum_s w[t, s]

    Vaswani et al. 2017 (arXiv 1706.03762), equation 1, with the causal mask. `scale`
    is 1 / sqrt(headdim) where None; query head h uses key and value head
    ``h // (heads / kv_heads)``; the first `rotary_dim` coordinates are rotated (see
    `rotary_attention`). The tokens of `initial_state` come first: positions start at
    their number. Official ``modules/mha.py``, which is not causal by default and masks
    wrongly when it decodes without flash-attn.

    Returns y and the cache. With `cu_seqlens` the caches have different lengths: they
    are packed along time like k and v, and ValueError is raised for an initial_state;
    also for a rotary_dim that is odd or beyond headdim, and where kv_heads do not
    divide the heads.
    """
    if cu_seqlens is not None:
        return _packed(attention, locals())
    state = _extend(initial_state, k, v, rotary_dim, rotary_base, interleaved)
    q = _queries(q, state, scale, rotary_dim, rotary_base, interleaved)
    keys, values = _per_head(state, q.shape[2])
    y = np.empty((*q.shape[:3], v.shape[3]), q.dtype)
    for t in range(q.shape[1]):
        seen = state.k.shape[1] - q.shape[1] + t + 1
        scores = np.einsum("bhp,bshp->bhs", q[:, t], keys[:, :seen])
        weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
        weights = weights / np.sum(weights, axis=-1, keepdims=True)
        y[:, t] = np.einsum("bhs,bshp->bhp", weights, values[:, :seen])
    return y, state


@checked
def attention_step(
    q: Real[np.ndarray, "batch heads headdim"],
    k: Real[np.ndarray, "batch kv_heads headdim"],
    v: Real[np.ndarray, "batch kv_heads valuedim"],
    state: AttentionState,
    *,
    scale: float | None = None,
    rotary_dim: int = 0,
    rotary_base: float = 10000.0,
    interleaved: bool = False,
) -> tuple[Real[np.ndarray, "batch heads valuedim"], AttentionState]:
    """Let one new token look at itself and the cache; return the longer cache.

    One iteration of `attention`, at the position behind the cache. It has no slots:
    caches of different lengths are not one array.
    """
    k, v = k[:, None], v[:, None]
    state = _extend(state, k, v, rotary_dim, rotary_base, interleaved)
    q = _queries(q[:, None], state, scale, rotary_dim, rotary_base, interleaved)
    keys, values = _per_head(state, q.shape[2])
    scores = np.sum(q * keys, axis=-1)
    weights = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    y = np.sum(weights[..., None] * values, axis=1)
    return y / np.sum(weights, axis=1)[..., None], state


@checked
def attention_quadratic(
    q: Query,
    k: Key,
    v: Value,
    *,
    scale: float | None = None,
    rotary_dim: int = 0,
    rotary_base: float = 10000.0,
    interleaved: bool = False,
    initial_state: AttentionState | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Output, AttentionState]:
    """`attention` as one masked matrix: the textbook form."""
    if cu_seqlens is not None:
        return _packed(attention_quadratic, locals())
    state = _extend(initial_state, k, v, rotary_dim, rotary_base, interleaved)
    q = _queries(q, state, scale, rotary_dim, rotary_base, interleaved)
    keys, values = _per_head(state, q.shape[2])
    scores = np.einsum("bthp,bshp->bhts", q, keys)
    cached = keys.shape[1] - q.shape[1]
    visible = np.tri(q.shape[1], keys.shape[1], cached, dtype=bool)
    scores = np.where(visible, scores, -np.inf)
    top = np.max(scores, axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - top)
    weights = weights / np.sum(weights, axis=-1, keepdims=True)
    return np.einsum("bhts,bshp->bthp", weights, values), state


@checked
def attention_blocked(
    q: Query,
    k: Key,
    v: Value,
    *,
    scale: float | None = None,
    rotary_dim: int = 0,
    rotary_base: float = 10000.0,
    interleaved: bool = False,
    initial_state: AttentionState | None = None,
    cu_seqlens: Bounds | None = None,
    block_size: int = 16,
) -> tuple[Output, AttentionState]:
    """`attention` block by block of keys, in memory that grows with length only.

    ::

        m' = max(m, max_s scores[s])                      s in the block
        total = e^(m - m') total + sum_s e^(scores[s] - m')
        y = e^(m - m') y + sum_s e^(scores[s] - m') v[s]

    The online softmax of Milakov & Gimelshein 2018 (arXiv 1805.02867), algorithm 3,
    as FlashAttention uses it (arXiv 2205.14135, algorithm 1).
    """
    if cu_seqlens is not None:
        return _packed(attention_blocked, locals())
    at_least("block_size", block_size, 1)
    state = _extend(initial_state, k, v, rotary_dim, rotary_base, interleaved)
    q = _queries(q, state, scale, rotary_dim, rotary_base, interleaved)
    keys, values = _per_head(state, q.shape[2])
    position = keys.shape[1] - q.shape[1] + np.arange(q.shape[1])
    top = np.full((*q.shape[:3], 1), -np.inf, q.dtype)
    total, y = np.zeros_like(top), np.zeros((*q.shape[:3], v.shape[3]), q.dtype)
    for start in range(0, keys.shape[1], block_size):
        block = slice(start, start + block_size)
        scores = np.einsum("bthp,bshp->bths", q, keys[:, block])
        visible = np.arange(start, start + scores.shape[3]) <= position[:, None]
        scores = np.where(visible[:, None], scores, -np.inf)
        higher = np.maximum(top, np.max(scores, axis=-1, keepdims=True))
        weights, shrink = np.exp(scores - higher), np.exp(top - higher)
        total = shrink * total + np.sum(weights, axis=-1, keepdims=True)
        y = shrink * y + np.einsum("bths,bshp->bthp", weights, values[:, block])
        top = higher
    return y / total, state


def _extend(state, k, v, rotary_dim, base, interleaved) -> AttentionState:
    """Return the cache with the new keys, rotated, and values behind the old ones."""
    if rotary_dim % 2 or not 0 <= rotary_dim <= k.shape[3]:
        raise ValueError(
            f"rotary_dim is {rotary_dim}; it needs to be even, at least 0 and at most "
            f"headdim = {k.shape[3]}"
        )
    if state is None:
        state = AttentionState(k[:, :0], v[:, :0])
    cached = state.k.shape[1]
    positions = np.arange(cached, cached + k.shape[1])
    k = rotary_attention(
        k, positions, dim=rotary_dim, base=base, interleaved=interleaved
    )
    return AttentionState(
        np.concatenate([state.k, k], axis=1), np.concatenate([state.v, v], axis=1)
    )


def _queries(q, state, scale, rotary_dim, base, interleaved) -> np.ndarray:
    """Return the queries rotated and scaled; they are the last tokens of the cache."""
    tokens = state.k.shape[1]
    positions = np.arange(tokens - q.shape[1], tokens)
    q = rotary_attention(
        q, positions, dim=rotary_dim, base=base, interleaved=interleaved
    )
    return q / np.sqrt(q.dtype.type(q.shape[3])) if scale is None else q * scale


def _per_head(state: AttentionState, heads: int) -> tuple[np.ndarray, np.ndarray]:
    return (
        expand_groups("k", state.k, heads, axis=2),
        expand_groups("v", state.v, heads, axis=2),
    )


def _packed(function: Callable, arguments: dict) -> tuple[np.ndarray, AttentionState]:
    """Run `function` on each sequence of a pack by itself; pack outputs and caches."""
    if arguments["initial_state"] is not None:
        raise ValueError(
            "initial_state is given with cu_seqlens; packed sequences need to start "
            "without a cache, as the lengths of their caches differ"
        )
    results = []
    for start, stop in pairwise(arguments["cu_seqlens"].tolist()):
        one = {name: arguments[name][:, start:stop] for name in "qkv"}
        results.append(function(**{**arguments, **one, "cu_seqlens": None}))
    outputs, states = zip(*results, strict=True)
    k, v = (np.concatenate(part, axis=1) for part in zip(*states, strict=True))
    return np.concatenate(outputs, axis=1), AttentionState(k, v)
