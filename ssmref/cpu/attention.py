"""Causal softmax attention on the CPU: see `ssmref.golden.attention`."""

from typing import NamedTuple

import numpy as np

from ..contract import heads_per_group
from ._arguments import boundaries, checked, flat_tokens, ready
from ._attention_kernels import attend
from ._attention_step import attend_token
from ._outputs import output
from ._types import Integer, Real

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
    """`golden.attention.attention`, block by block of queries and keys.

    The online softmax (arXiv 1805.02867) needs no scores in memory: besides the
    results, 100 KiB per thread, and sines for each position where rotary is used.
    """
    if cu_seqlens is not None and initial_state is not None:
        raise ValueError(
            "initial_state is given with cu_seqlens; packed sequences need to start "
            "without a cache, as the lengths of their caches differ"
        )
    rotate = _Rotary(rotary_dim, rotary_base, interleaved, q.shape[3])
    bounds = boundaries(q, cu_seqlens)
    cached = 0 if initial_state is None else initial_state.k.shape[1]
    positions = _positions(q, cu_seqlens, cached)
    state = _extend(initial_state, rotate(k, positions), v)
    share = heads_per_group("k", k, q.shape[2], axis=2)
    rows = np.arange(len(bounds)) * cached + bounds
    y = attend(
        *(flat_tokens(rotate(q, positions)), flat_tokens(state.k)),
        *(flat_tokens(state.v), bounds, rows, _scale(scale, q), share),
    )
    return y.reshape(*q.shape[:3], v.shape[3]), state


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
    """`golden.attention.attention_step`, in one pass that also copies the cache.

    Where there are fewer rows than threads, the cache is split in time and the parts
    are joined in their order.
    """
    rotate = _Rotary(rotary_dim, rotary_base, interleaved, q.shape[2])
    position = np.array([state.k.shape[1]])
    longer = AttentionState(_with_room(state.k), _with_room(state.v))
    longer.k[:, -1], longer.v[:, -1] = rotate(k[:, None], position)[:, 0], v
    share = heads_per_group("k", k, q.shape[1], axis=1)
    q = ready(rotate(q[:, None], position)[:, 0])
    old = (ready(state.k), ready(state.v))
    return attend_token(q, old, longer, _scale(scale, q), share), longer


def _with_room(cache: np.ndarray) -> np.ndarray:
    """Return an array for a cache of one token more, not yet filled."""
    batch, cached, *rest = cache.shape
    return output((batch, cached + 1, *rest), cache.dtype)


def _scale(scale: float | None, q: np.ndarray) -> np.floating:
    """Return the factor of the scores in the dtype of the queries."""
    return q.dtype.type(1 / np.sqrt(q.shape[-1]) if scale is None else scale)


def _positions(q: np.ndarray, cu_seqlens, cached: int) -> np.ndarray:
    """Return the position of each token in its own sequence."""
    positions = np.arange(q.shape[1]) + cached
    if cu_seqlens is None:
        return positions
    lengths = np.diff(cu_seqlens)
    return positions - np.repeat(cu_seqlens[:-1], lengths)


def _extend(state: AttentionState | None, k, v) -> AttentionState:
    """Return the cache with the new keys and values behind the old ones."""
    if state is None:
        return AttentionState(np.array(k, order="C"), np.array(v, order="C"))
    pairs = ((state.k, k), (state.v, v))
    return AttentionState(*(np.concatenate(pair, axis=1) for pair in pairs))


class _Rotary:
    """Rotates queries and keys by their positions; angles in float64."""

    def __init__(self, dim: int, base: float, interleaved: bool, headdim: int):
        if dim % 2 or not 0 <= dim <= headdim:
            raise ValueError(
                f"rotary_dim is {dim}; it needs to be even, at least 0 and at most "
                f"headdim = {headdim}"
            )
        self.dim, self.base, half = dim, base, dim // 2
        self.first = slice(0, dim, 2) if interleaved else slice(0, half)
        self.second = slice(1, dim, 2) if interleaved else slice(half, dim)

    def __call__(self, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return x, (batch, length, heads, headdim), rotated; x itself if dim is 0."""
        if not self.dim:
            return x
        rates = float(self.base) ** (-np.arange(0, self.dim, 2) / self.dim)
        theta = positions[:, None, None] * rates
        cos, sin = np.cos(theta).astype(x.dtype), np.sin(theta).astype(x.dtype)
        a, b = x[..., self.first], x[..., self.second]
        rotated = np.array(x, order="C")
        rotated[..., self.first] = a * cos - b * sin
        rotated[..., self.second] = a * sin + b * cos
        return rotated
