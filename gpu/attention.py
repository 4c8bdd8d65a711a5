"""Causal attention on the GPU: see `ssmref.golden.attention`."""

from typing import NamedTuple

from ._attention_forward import forward
from ._attention_step import advance
from ._contract import checked, heads_per_group
from ._types import Array, Integer, Real, Wide

Query = Real[Array, "batch length heads headdim"]
Key = Real[Array, "batch length kv_heads headdim"]
Value = Real[Array, "batch length kv_heads valuedim"]
Output = Real[Array, "batch length heads valuedim"]
Bounds = Integer[Array, " bounds"]


class AttentionState(NamedTuple):
    """Keys (after rotary) and values of the tokens so far: the cache, in float32."""

    k: Wide[Array, "batch cached kv_heads headdim"]
    v: Wide[Array, "batch cached kv_heads valuedim"]


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
    """`golden.attention.attention`, by blocks of queries and keys on tensor cores.

    Batch and time of q, k and v may have any strides. Products are of bfloat16 or
    float16 where inputs are; of float32, each is the sum of three of TF32, as exact as
    float32. Heads of at most 256: ValueError beyond.
    """
    call = locals()
    if cu_seqlens is not None and initial_state is not None:
        raise ValueError(
            "initial_state is given with cu_seqlens; packed sequences need to start "
            "without a cache, as the lengths of their caches differ"
        )
    _check(q.shape[2], k, v, rotary_dim)
    y, parts = forward(call)
    return y, AttentionState(*parts)


@checked
def attention_step(
    q: Real[Array, "batch heads headdim"],
    k: Real[Array, "batch kv_heads headdim"],
    v: Real[Array, "batch kv_heads valuedim"],
    state: AttentionState,
    *,
    scale: float | None = None,
    rotary_dim: int = 0,
    rotary_base: float = 10000.0,
    interleaved: bool = False,
) -> tuple[Real[Array, "batch heads valuedim"], AttentionState]:
    """`golden.attention.attention_step`: the cache is read once and written once.

    Caches of few rows are cut in parts that are joined in order. Rows of q, k and v may
    have any strides. Heads of at most 256: ValueError beyond.
    """
    call = locals()
    _check(q.shape[1], k, v, rotary_dim)
    y, parts = advance(call)
    return y, AttentionState(*parts)


def _check(heads: int, k: Array, v: Array, rotary_dim: int) -> None:
    headdim = k.shape[-1]
    if rotary_dim % 2 or not 0 <= rotary_dim <= headdim:
        raise ValueError(
            f"rotary_dim is {rotary_dim}; it needs to be even, at least 0 and at most "
            f"headdim = {headdim}"
        )
    for name, array in (("k", k), ("v", v)):
        heads_per_group(name, array, heads, array.ndim - 2)
