"""What a block needs at least: its projections, and what its ops need between them."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

from ..models.blocks import AttentionConfig, LayerConfig, Mamba1Config, Mamba3Config
from ..models.blocks import layer_shapes as shapes_of
from .bytes import cache_numbers
from .costs import COSTS, Cost
from .presets import parameters

# Per number that goes through SiLU and a product with it.
_GATE = Cost(elements=0, instructions=7, flops=4, exps=1)


def block_cost(
    layers: tuple[LayerConfig, ...],
    *,
    batch: int,
    length: int | None = None,
    context: int | None = None,
) -> Cost:
    """Return the least that a call needs: `length` tokens, or one behind `context`.

    Parameters are read once, caches too; what lies between two ops need not leave the
    processor, so only x, y and the new caches are counted besides.
    """
    total = Cost(0, 0)
    for layer in layers:
        for part in _parts(layer, batch, length, context):
            total = _sum(total, part)
    tokens = batch * (length or 1)
    moved = 2 * tokens * layers[0].mixer.d_model
    for layer in layers:
        moved += parameters(layer)
        if context is None:
            moved += cache_numbers(layer, batch, length or 0)
        else:
            moved += cache_numbers(layer, batch, context)
            moved += cache_numbers(layer, batch, context + 1)
    return replace(total, elements=moved)


def _parts(
    layer: LayerConfig, batch: int, length: int | None, context: int | None
) -> Iterator[Cost]:
    """Yield the cost of each op of a layer, and of its projections."""
    mixer, tokens = layer.mixer, batch * (length or 1)
    step = "_step" if length is None else ""
    sizes = {"batch": batch} if length is None else {"batch": batch, "length": length}
    yield Cost(0, 0, products=2 * tokens * _matrices(layer))
    yield _norm(tokens, mixer.d_model * (2 if layer.mlp else 1))
    if layer.mlp:
        yield _times(_GATE, tokens * layer.mlp.hidden)
    if isinstance(mixer, AttentionConfig):
        heads = {"heads": mixer.num_heads, "headdim": mixer.headdim}
        cached = {"cached": context or 0} if length is None else {}
        yield COSTS[f"attention.attention{step}"](**sizes, **heads, **cached)
    elif isinstance(mixer, Mamba1Config):
        yield _convolution(step, sizes, mixer.d_inner, mixer.d_conv)
        own = {"channels": mixer.d_inner, "state": mixer.d_state}
        yield COSTS[f"mamba1.selective_scan{step}"](**sizes, **own)
        yield _times(_GATE, tokens * mixer.d_inner)
    else:
        yield from _heads(mixer, step, sizes, tokens)


def _heads(mixer: Any, step: str, sizes: dict[str, int], tokens: int) -> Iterator[Cost]:
    """Yield what Mamba-2 and Mamba-3 compute between their projections."""
    own = {"heads": mixer.nheads, "headdim": mixer.headdim, "state": mixer.d_state}
    own["groups"] = mixer.ngroups
    if isinstance(mixer, Mamba3Config):
        ranks = {"ranks": mixer.rank} if mixer.is_mimo else {}
        name = "mamba3.mimo" if mixer.is_mimo else "mamba3.siso"
        yield COSTS[f"{name}{step}"](**sizes, **own, angles=mixer.angles, **ranks)
        yield _norm(tokens, 2 * mixer.rank * mixer.ngroups * mixer.d_state)
        yield _times(_GATE, tokens * mixer.d_inner)
    else:
        yield _convolution(step, sizes, mixer.conv_dim, mixer.d_conv)
        yield COSTS[f"mamba2.ssd{step}"](**sizes, **own)
        rows = {"batch": tokens, "length": 1, "channels": mixer.width}
        yield COSTS["layers.rms_norm_gated"](**rows)


def _matrices(layer: LayerConfig) -> int:
    """Return the numbers of all matrices that multiply tokens."""
    named = shapes_of(layer).items()
    return sum(prod(s) for n, s in named if n.endswith("proj.weight") or ".fc" in n)


def _convolution(step: str, sizes: dict[str, int], channels: int, width: int) -> Cost:
    own = {"channels": channels, "width": width}
    return COSTS[f"layers.causal_conv1d{step}"](**sizes, **own)


def _norm(tokens: int, channels: int) -> Cost:
    return COSTS["layers.rms_norm"](batch=tokens, length=1, channels=channels)


def _times(cost: Cost, count: int) -> Cost:
    return Cost(
        *(cost.elements * count, cost.instructions * count, cost.flops * count),
        *(cost.products * count, cost.exps * count),
    )


def _sum(a: Cost, b: Cost) -> Cost:
    return Cost(
        *(a.elements + b.elements, a.instructions + b.instructions),
        *(a.flops + b.flops, a.products + b.products, a.exps + b.exps),
    )
