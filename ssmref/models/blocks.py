"""All blocks, the gated MLP, and the residual layer that holds one mixer.

Each block is a function of its parameters (a dict of arrays under their official
names), its input and its configuration; it returns the output and the cache that
continues it. `ops` names the package whose ops it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _parts as parts
from ._parts import GOLDEN, Ops, Parameters, Shapes, linear, split, under, within
from .attention import (
    AttentionCache,
    AttentionConfig,
    attention_block,
    attention_block_step,
    attention_shapes,
    init_attention,
)
from .mamba1 import (
    Mamba1Cache,
    Mamba1Config,
    init_mamba1,
    mamba1_block,
    mamba1_block_step,
    mamba1_shapes,
)
from .mamba2 import (
    Mamba2Cache,
    Mamba2Config,
    init_mamba2,
    mamba2_block,
    mamba2_block_step,
    mamba2_shapes,
)
from .mamba3 import (
    Mamba3Cache,
    Mamba3Config,
    init_mamba3,
    mamba3_block,
    mamba3_block_step,
    mamba3_shapes,
)

__all__ = [
    "MIXERS",
    "AttentionCache",
    "AttentionConfig",
    "LayerConfig",
    "MLPConfig",
    "Mamba1Cache",
    "Mamba1Config",
    "Mamba2Cache",
    "Mamba2Config",
    "Mamba3Cache",
    "Mamba3Config",
    "Mixer",
    "attention_block",
    "attention_block_step",
    "attention_shapes",
    "gated_mlp",
    "init_attention",
    "init_layer",
    "init_mamba1",
    "init_mamba2",
    "init_mamba3",
    "init_mlp",
    "layer_shapes",
    "mamba1_block",
    "mamba1_block_step",
    "mamba1_shapes",
    "mamba2_block",
    "mamba2_block_step",
    "mamba2_shapes",
    "mamba3_block",
    "mamba3_block_step",
    "mamba3_shapes",
    "mlp_shapes",
    "normalise",
    "residual_layer",
    "residual_layer_step",
]

MixerConfig = Mamba1Config | Mamba2Config | Mamba3Config | AttentionConfig


@dataclass(frozen=True)
class Mixer:
    """The functions of one kind of block."""

    shapes: Callable[[Any], Shapes]
    init: Callable[..., dict[str, np.ndarray]]
    block: Callable[..., tuple[Any, Any]]
    step: Callable[..., tuple[Any, Any]]


MIXERS: dict[type, Mixer] = {
    Mamba1Config: Mixer(mamba1_shapes, init_mamba1, mamba1_block, mamba1_block_step),
    Mamba2Config: Mixer(mamba2_shapes, init_mamba2, mamba2_block, mamba2_block_step),
    Mamba3Config: Mixer(mamba3_shapes, init_mamba3, mamba3_block, mamba3_block_step),
    AttentionConfig: Mixer(
        attention_shapes, init_attention, attention_block, attention_block_step
    ),
}


@dataclass(frozen=True)
class MLPConfig:
    """The sizes of a gated MLP; `d_intermediate` is rounded up to `multiple_of`."""

    d_model: int
    d_intermediate: int | None = None
    multiple_of: int = 128
    bias: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that no MLP has."""
        parts.need_positive(self, "d_model", "multiple_of")
        parts.need(self.hidden >= 1, self, "d_intermediate", "be at least 1")

    @property
    def hidden(self) -> int:
        """Channels in the middle: by default 8/3 of d_model, rounded up."""
        given = self.d_intermediate
        wanted = 8 * self.d_model // 3 if given is None else given
        return -(-wanted // self.multiple_of) * self.multiple_of


def mlp_shapes(config: MLPConfig) -> Shapes:
    """Return the shape of each parameter."""
    hidden, model = config.hidden, config.d_model
    shapes: Shapes = {"fc1.weight": (2 * hidden, model), "fc2.weight": (model, hidden)}
    if config.bias:
        shapes |= {"fc1.bias": (2 * hidden,), "fc2.bias": (model,)}
    return shapes


def init_mlp(
    rng: np.random.Generator, config: MLPConfig, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Return random parameters by torch's defaults, with biases 0."""
    return parts.cast(parts.initial(rng, mlp_shapes(config)), dtype)


def gated_mlp(
    parameters: Parameters, x: Any, config: MLPConfig, *, ops: str = GOLDEN
) -> Any:
    """Return ``fc2(value silu(gate))`` with ``value, gate = split(fc1(x))``.

    Official ``modules/mlp.py``: the value comes first, the gate second.
    """
    parts.check_parameters(parameters, mlp_shapes(config))
    run = Ops(ops)
    both = linear(run, x, parameters, "fc1")
    value, gate = split(both, (config.hidden, config.hidden))
    return linear(run, value * parts.silu(gate), parameters, "fc2")


@dataclass(frozen=True)
class LayerConfig:
    """A mixer with its norm and, where `d_intermediate` is not 0, an MLP with its."""

    mixer: MixerConfig
    d_intermediate: int = 0
    rms_norm: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse a mixer that is no configuration, and a negative size."""
        if type(self.mixer) not in MIXERS:
            known = ", ".join(kind.__name__ for kind in MIXERS)
            kind = type(self.mixer).__name__
            raise TypeError(f"LayerConfig.mixer is a {kind}; it needs one of: {known}")
        parts.need(self.d_intermediate >= 0, self, "d_intermediate", "be at least 0")

    @property
    def mlp(self) -> MLPConfig | None:
        """The configuration of the MLP."""
        if not self.d_intermediate:
            return None
        return MLPConfig(self.mixer.d_model, self.d_intermediate)


def layer_shapes(config: LayerConfig) -> Shapes:
    """Return the shape of each parameter: norm, mixer and, if any, norm2 and mlp."""
    norm = {"weight": (config.mixer.d_model,)}
    if not config.rms_norm:
        norm["bias"] = norm["weight"]
    mixer = MIXERS[type(config.mixer)].shapes(config.mixer)
    shapes = under("norm", norm) | under("mixer", mixer)
    if config.mlp:
        shapes |= under("norm2", norm) | under("mlp", mlp_shapes(config.mlp))
    return shapes


def init_layer(
    rng: np.random.Generator, config: LayerConfig, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Return random parameters of the mixer and the MLP; norms do nothing."""
    mixer = MIXERS[type(config.mixer)].init(rng, config.mixer, dtype)
    values = under("mixer", mixer)
    if config.mlp:
        values |= under("mlp", init_mlp(rng, config.mlp, dtype))
    for name, shape in layer_shapes(config).items():
        if name.startswith("norm"):
            values[name] = np.full(shape, float(name.endswith("weight")), dtype)
    return values


def residual_layer(
    parameters: Parameters,
    x: Any,
    config: LayerConfig,
    *,
    cache: Any = None,
    cu_seqlens: Any = None,
    ops: str = GOLDEN,
) -> tuple[Any, Any]:
    """Add the mixer and then the MLP to the residual stream x, each after a norm.

    ::

        x = x + mixer(norm(x))
        x = x + mlp(norm2(x))

    Official ``modules/block.py``, which keeps the sum in two parts and adds them at
    the start of the next layer. The residual is not rounded here. Returns x and the
    cache of the mixer.
    """
    block = MIXERS[type(config.mixer)].block
    options = {"cache": cache, "cu_seqlens": cu_seqlens, "ops": ops}

    def mix(p: Parameters, h: Any) -> tuple[Any, Any]:
        return block(p, h, config.mixer, **options)

    return _layer(parameters, x, config, mix, ops)


def residual_layer_step(
    parameters: Parameters,
    x: Any,
    config: LayerConfig,
    cache: Any,
    *,
    ops: str = GOLDEN,
) -> tuple[Any, Any]:
    """Run `residual_layer` on one token x (batch, d_model) by the steps of its ops."""
    step = MIXERS[type(config.mixer)].step

    def mix(p: Parameters, h: Any) -> tuple[Any, Any]:
        return step(p, h, config.mixer, cache, ops=ops)

    return _layer(parameters, x, config, mix, ops)


def _layer(p: Parameters, x: Any, config: LayerConfig, mix: Callable, ops: str):
    parts.check_parameters(p, layer_shapes(config))
    h = normalise(within(p, "norm"), x, config.norm_eps, ops=ops)
    h, cache = mix(within(p, "mixer"), h)
    x = x + h
    if config.mlp:
        h = normalise(within(p, "norm2"), x, config.norm_eps, ops=ops)
        x = x + gated_mlp(within(p, "mlp"), h, config.mlp, ops=ops)
    return x, cache


def normalise(parameters: Parameters, x: Any, eps: float, *, ops: str = GOLDEN) -> Any:
    """Apply the layer norm of `parameters`, or the RMS norm where it has no bias."""
    run = Ops(ops)
    if "bias" in parameters:
        weight, bias = parameters["weight"], parameters["bias"]
        return run.plain("layers.layer_norm", x, weight, bias, eps=eps)
    return run.plain("layers.rms_norm", x, parameters["weight"], eps=eps)
