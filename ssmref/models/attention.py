"""The attention block of hybrids: official ``modules/mha.py``."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import _parts as parts
from ._parts import GOLDEN, Ops, Parameters, Shapes, fold, linear, split


@dataclass(frozen=True)
class AttentionConfig:
    """The sizes and options of an attention block, by their official names.

    `mlp_dim` (rounded up to a multiple of 256) channels go through a gated slice
    beside attention; `d_conv` 0 means no convolution. Always causal.
    """

    d_model: int
    num_heads: int
    num_heads_kv: int | None = None
    head_dim: int | None = None
    mlp_dim: int = 0
    qkv_proj_bias: bool = True
    out_proj_bias: bool = True
    softmax_scale: float | None = None
    d_conv: int = 0
    rotary_emb_dim: int = 0
    rotary_emb_base: float = 10000.0
    rotary_emb_interleaved: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        parts.need_positive(self, "d_model", "num_heads")
        heads, rotary = self.num_heads, self.rotary_emb_dim
        parts.need(
            self.head_dim is not None or self.d_model % heads == 0,
            self,
            "num_heads",
            f"divide d_model = {self.d_model} unless head_dim is given",
        )
        parts.need(self.headdim >= 1, self, "head_dim", "be at least 1")
        parts.need(
            self.kv_heads >= 1 and heads % self.kv_heads == 0,
            self,
            "num_heads_kv",
            f"divide num_heads = {heads}",
        )
        parts.need(
            rotary % 2 == 0 and 0 <= rotary <= self.headdim,
            self,
            "rotary_emb_dim",
            f"be even and from 0 to {self.headdim}",
        )
        for field in ("mlp_dim", "d_conv"):
            parts.need(getattr(self, field) >= 0, self, field, "be at least 0")

    @property
    def headdim(self) -> int:
        """Coordinates of a head."""
        default = self.d_model // self.num_heads
        return default if self.head_dim is None else self.head_dim

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_heads if self.num_heads_kv is None else self.num_heads_kv

    @property
    def widths(self) -> tuple[int, int, int]:
        """Widths of q, k and v."""
        kv = self.kv_heads * self.headdim
        return self.num_heads * self.headdim, kv, kv

    @property
    def d_mlp(self) -> int:
        """Channels of the gated slice: half of what is projected for it."""
        return -(-self.mlp_dim // 256) * 128


class AttentionCache(NamedTuple):
    """What the next token needs: raw inputs of the convolution; keys and values."""

    conv: Any
    kv: Any


def attention_shapes(config: AttentionConfig) -> Shapes:
    """Return the shape of each parameter."""
    qkv, model = sum(config.widths), config.d_model
    projected = qkv + 2 * config.d_mlp
    shapes: Shapes = {
        "in_proj.weight": (projected, model),
        "out_proj.weight": (model, config.widths[0] + config.d_mlp),
    }
    if config.qkv_proj_bias:
        shapes["in_proj.bias"] = (projected,)
    if config.out_proj_bias:
        shapes["out_proj.bias"] = (model,)
    if config.d_conv:
        shapes |= {"conv1d.weight": (qkv, 1, config.d_conv), "conv1d.bias": (qkv,)}
    return shapes


def init_attention(
    rng: np.random.Generator, config: AttentionConfig, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Return random parameters by torch's defaults, with biases 0."""
    return parts.cast(parts.initial(rng, attention_shapes(config)), dtype)


def attention_block(
    parameters: Parameters,
    x: Any,
    config: AttentionConfig,
    *,
    cache: AttentionCache | None = None,
    cu_seqlens: Any = None,
    ops: str = GOLDEN,
) -> tuple[Any, AttentionCache]:
    """Run an attention block over x (batch, length, d_model), after those in `cache`.

    ::

        qkv, value, gate = split(in_proj(x))
        q, k, v = split(conv1d(qkv))                          without activation
        out = out_proj([attention(q, k, v), value silu(gate)])

    The cache of the convolution holds its inputs; the official prefill stores its
    outputs, so that decoding goes on from wrong values. A pack starts without cache.
    """
    cache = cache or AttentionCache(None, None)
    return _run(parameters, x, config, cache, Ops(ops, cu_seqlens=cu_seqlens))


def attention_block_step(
    parameters: Parameters,
    x: Any,
    config: AttentionConfig,
    cache: AttentionCache,
    *,
    ops: str = GOLDEN,
) -> tuple[Any, AttentionCache]:
    """Run `attention_block` on one token x (batch, d_model) by the steps of its ops."""
    return _run(parameters, x, config, cache, Ops(ops, step=True))


def _run(
    p: Parameters, x: Any, config: AttentionConfig, cache: AttentionCache, ops: Ops
):
    parts.check(p, attention_shapes(config), x, config.d_model, ops)
    widths = (sum(config.widths), config.d_mlp, config.d_mlp)
    qkv, value, gate = split(linear(ops, x, p, "in_proj"), widths)
    conv = None
    if config.d_conv:
        qkv, conv = parts.convolve(ops, qkv, p, cache.conv, None)
    q, k, v = split(qkv, config.widths)
    y, kv = ops.scan(
        "attention.attention",
        fold(q, config.num_heads, config.headdim),
        fold(k, config.kv_heads, config.headdim),
        fold(v, config.kv_heads, config.headdim),
        scale=config.softmax_scale,
        rotary_dim=config.rotary_emb_dim,
        rotary_base=config.rotary_emb_base,
        interleaved=config.rotary_emb_interleaved,
        state=cache.kv,
    )
    y = y.reshape(*y.shape[:-2], config.widths[0])
    if config.d_mlp:
        y = np.concatenate([y, value * parts.silu(gate)], axis=-1)
    return linear(ops, y, p, "out_proj"), AttentionCache(conv, kv)
