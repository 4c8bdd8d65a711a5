"""Blocks as they are run: layers over a package of ops, their inputs and caches."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from typing import Any, cast

import numpy as np

from ..conformance.random import seed_of, uniform
from ..conformance.vectors.parts import states
from ..models.blocks import (
    AttentionCache,
    AttentionConfig,
    LayerConfig,
    Mamba1Cache,
    Mamba1Config,
    Mamba2Cache,
    Mamba2Config,
    Mamba3Cache,
    Mamba3Config,
    init_layer,
    residual_layer,
    residual_layer_step,
)
from ..ops import OPS
from .inputs import Numbers, spread

Layers = tuple[LayerConfig, ...]
Named = Mapping[str, np.ndarray]


def run(
    x: Any, parameters: Iterable[Any], layers: Layers, caches: Any, ops: str
) -> tuple[Any, list[Any]]:
    """Run layers on tokens x (batch, length, d_model), or on one (batch, d_model).

    `caches` are None, or what is kept of the tokens before. Returns the outputs and
    the caches for the next token.
    """
    after = []
    for number, (own, layer) in enumerate(zip(parameters, layers, strict=True)):
        before = caches and caches[number]
        if x.ndim == 2:
            x, cache = residual_layer_step(own, x, layer, before, ops=ops)
        else:
            x, cache = residual_layer(own, x, layer, cache=before, ops=ops)
        after.append(cache)
    return x, after


def flat(result: tuple[Any, Iterable[Any]]) -> dict[str, np.ndarray]:
    """Return y, and the arrays of the caches by layer and part: ``0.ssm.k``."""
    y, caches = result
    named = {"y": y}
    for number, cache in enumerate(caches):
        named |= _leaves(f"{number}", cache)
    return named


def _leaves(name: str, cache: Any) -> dict[str, np.ndarray]:
    if fields := getattr(cache, "_fields", ()):
        parts = zip(fields, cache, strict=True)
        named = [_leaves(f"{name}.{field}", part) for field, part in parts]
        return {n: leaf for leaves in named for n, leaf in leaves.items()}
    return {} if cache is None else {name: cache}


def caches_of(layers: Layers, named: Named) -> list[Any]:
    """Return the caches whose arrays these are, or raise KeyError."""
    return [_filled(_EMPTY[type(c.mixer)], f"{i}", named) for i, c in enumerate(layers)]


def _filled(kind: Any, name: str, named: Named) -> Any:
    if isinstance(kind, tuple):
        parts = zip(type(kind)._fields, kind, strict=True)  # type: ignore[attr-defined]
        return type(kind)(*(_filled(part, f"{name}.{n}", named) for n, part in parts))
    return None if kind is None else named[name]


def _state(op: str) -> Any:
    """Return the named tuple that an op has as its state, with something in it."""
    kind: Any = states(OPS[op])["state"]
    return kind(*([...] * len(kind._fields)))


_EMPTY: dict[type, Any] = {
    Mamba1Config: Mamba1Cache(..., ...),
    Mamba2Config: Mamba2Cache(..., ...),
    Mamba3Config: Mamba3Cache(_state("mamba3.siso_step")),
    AttentionConfig: AttentionCache(None, _state("attention.attention_step")),
}


class Portable:
    """What initial values need of NumPy's generator, the same on every machine."""

    def __init__(self, name: str):
        """Draw for this name; every call has a seed of its own."""
        self.name, self.calls = name, 0

    def uniform(self, low: float, high: float, size: Any) -> np.ndarray:
        """Return numbers in [low, high) in this shape."""
        shape = size if isinstance(size, tuple) else (size,)
        self.calls += 1
        numbers = uniform(seed_of(f"{self.name}#{self.calls}"), prod(shape))
        return low + (high - low) * numbers.reshape(shape)


def inputs(
    name: str,
    layers: Layers,
    dtype: np.dtype,
    *,
    batch: int,
    length: int | None = None,
    context: int | None = None,
) -> dict[str, Any]:
    """Return the arguments of `run`: `length` tokens, or one behind `context`."""
    source = Numbers(name, dtype)
    width = layers[0].mixer.d_model
    generator = cast("np.random.Generator", Portable(name))
    tokens = (batch,) if length is None else (batch, length)
    caches = None
    if context is not None:
        kept = enumerate(layers)
        caches = [cache_of(layer, source, str(i), batch, context) for i, layer in kept]
    return {
        "layers": layers,
        "parameters": [init_layer(generator, layer, dtype) for layer in layers],
        "x": spread(source, "x", *tokens, width),
        "caches": caches,
    }


def cache_of(
    layer: LayerConfig, source: Numbers, name: str, batch: int, context: int
) -> Any:
    """Return what a layer keeps after so many tokens, with numbers of the source."""

    def made(part: str, *shape: int) -> np.ndarray:
        return spread(source, f"{name}.{part}", batch, *shape)

    c = layer.mixer
    if isinstance(c, Mamba1Config):
        conv = made("conv", c.d_conv - 1, c.d_inner)
        return Mamba1Cache(conv, made("ssm", c.d_inner, c.d_state))
    if isinstance(c, Mamba2Config):
        conv = made("conv", c.d_conv - 1, c.conv_dim)
        return Mamba2Cache(conv, made("ssm", c.nheads, c.headdim, c.d_state))
    if isinstance(c, Mamba3Config):
        kind = states(OPS["mamba3.siso_step"])["state"]
        angle = made("angle", c.nheads, c.angles)
        ssm = made("ssm", c.nheads, c.headdim, c.d_state)
        key = made("k", c.rank, c.nheads, c.d_state)
        return Mamba3Cache(kind(angle, ssm, key, made("v", c.nheads, c.headdim)))
    kind = states(OPS["attention.attention_step"])["state"]
    pair = (made(part, context, c.kv_heads, c.headdim) for part in "kv")
    return AttentionCache(None, kind(*pair))


def needed_ops(layers: Layers, *, step: bool) -> list[str]:
    """Return the ops that a package needs to run these layers."""
    found = [name for layer in layers for name in _scans(layer)]
    names = [f"{name}_step" if step else name for name in found]
    gated = [
        layer.mixer
        for layer in layers
        if isinstance(layer.mixer, Mamba2Config) and layer.mixer.rmsnorm
    ]
    norms = ["layers.rms_norm", *(["layers.rms_norm_gated"] if gated else [])]
    return list(dict.fromkeys([*names, *norms]))


def _scans(layer: LayerConfig) -> list[str]:
    mixer = layer.mixer
    if isinstance(mixer, AttentionConfig):
        return ["attention.attention"]
    if isinstance(mixer, Mamba3Config):
        return ["mamba3.mimo" if mixer.is_mimo else "mamba3.siso"]
    scan = "mamba1.selective_scan" if isinstance(mixer, Mamba1Config) else "mamba2.ssd"
    return ["layers.causal_conv1d", scan]


def small(layers: Layers) -> Layers:
    """Return the same layers, narrow, for golden to run in no time."""
    return tuple(
        replace(
            layer,
            mixer=_narrow(layer.mixer),
            d_intermediate=min(layer.d_intermediate, 96),
        )
        for layer in layers
    )


def _narrow(mixer: Any) -> Any:
    if isinstance(mixer, Mamba1Config):
        return replace(mixer, d_model=64)
    if isinstance(mixer, Mamba2Config):
        return replace(mixer, d_model=64, headdim=16, d_ssm=None)
    if isinstance(mixer, Mamba3Config):
        return replace(mixer, d_model=64, headdim=16, d_state=32)
    share = mixer.num_heads // mixer.kv_heads
    rotary = min(mixer.rotary_emb_dim, 16)
    heads = {"num_heads": 2 * share, "num_heads_kv": 2, "head_dim": 16}
    return replace(mixer, d_model=64, rotary_emb_dim=rotary, **heads)
