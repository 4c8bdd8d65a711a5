"""Small blocks with every option, and random parameters in which every term matters.

Also random valid calls of the ops of `ssmref.golden.blocks`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ssmref.models.blocks import (
    MIXERS,
    AttentionConfig,
    LayerConfig,
    Mamba1Config,
    Mamba2Config,
    Mamba3Config,
    layer_shapes,
)

from .s4d_inputs import s4d_inputs, s4d_step_example

D_MODEL = 12
MAMBA2: dict[str, Any] = {"d_state": 5, "headdim": 4, "ngroups": 3}
MAMBA3: dict[str, Any] = {"d_state": 8, "headdim": 4, "ngroups": 3}
ATTENTION: dict[str, Any] = {"num_heads": 6, "num_heads_kv": 3, "head_dim": 4}

CONFIGS: dict[str, Any] = {
    "mamba1": Mamba1Config(D_MODEL, d_state=5),
    "mamba1 rank 3, width 2, biases": Mamba1Config(
        D_MODEL, d_state=5, dt_rank=3, d_conv=2, bias=True, conv_bias=False
    ),
    "mamba1 width 1, expand 1.5": Mamba1Config(D_MODEL, d_conv=1, expand=1.5),
    "mamba2": Mamba2Config(D_MODEL, **MAMBA2),
    "mamba2 norm first, dt_limit": Mamba2Config(
        D_MODEL, **MAMBA2, norm_before_gate=True, dt_limit=(0.3, 0.8)
    ),
    "mamba2 without norm": Mamba2Config(D_MODEL, **MAMBA2, rmsnorm=False),
    "mamba2 gated slice, D per channel, biases": Mamba2Config(
        D_MODEL, **MAMBA2, d_ssm=12, D_has_hdim=True, bias=True
    ),
    "mamba2 one group, no conv bias, width 2": Mamba2Config(
        D_MODEL, d_state=5, headdim=8, heads=3, conv_bias=False, d_conv=2
    ),
    "mamba3": Mamba3Config(D_MODEL, **MAMBA3),
    "mamba3 norm, all angles, softplus": Mamba3Config(
        D_MODEL,
        **MAMBA3,
        is_outproj_norm=True,
        rope_fraction=1,
        a_activation="softplus",
    ),
    "mamba3 halved, high floor": Mamba3Config(
        D_MODEL, **MAMBA3, rope_pairing="halved", A_floor=0.5
    ),
    "mamba3 ranks": Mamba3Config(D_MODEL, **MAMBA3, is_mimo=True, mimo_rank=2),
    "mamba3 ranks, norm, all angles": Mamba3Config(
        D_MODEL, **MAMBA3, is_mimo=True, is_outproj_norm=True, rope_fraction=1
    ),
    "attention": AttentionConfig(D_MODEL, num_heads=3),
    "attention of groups, rotary": AttentionConfig(
        D_MODEL, **ATTENTION, rotary_emb_dim=4, softmax_scale=0.8
    ),
    "attention with all": AttentionConfig(
        D_MODEL,
        **ATTENTION,
        rotary_emb_dim=2,
        rotary_emb_base=100.0,
        rotary_emb_interleaved=True,
        d_conv=4,
        mlp_dim=100,
        qkv_proj_bias=False,
        out_proj_bias=False,
    ),
}
LAYERS: dict[str, LayerConfig] = {
    "mamba1": LayerConfig(CONFIGS["mamba1"]),
    "mamba2, MLP": LayerConfig(CONFIGS["mamba2"], d_intermediate=100),
    "mamba3, MLP, layer norm": LayerConfig(
        CONFIGS["mamba3"], d_intermediate=130, rms_norm=False, norm_eps=0.1
    ),
    "attention": LayerConfig(CONFIGS["attention with all"], rms_norm=False),
}


def random_parameters(rng: np.random.Generator, shapes: dict) -> dict[str, Any]:
    """Return parameters that leave no term at 0 or 1, with outputs of size about 1."""
    return {
        name: rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:], initial=1))
        if len(shape) > 1 and name.endswith("weight")
        else rng.uniform(-0.7, 1.3, shape)
        for name, shape in shapes.items()
    }


def block_inputs(rng: np.random.Generator, config: Any, *, batch=2, length=7):
    """Return (parameters, x) of a block or a residual layer."""
    if isinstance(config, LayerConfig):
        shapes = layer_shapes(config)
    else:
        shapes = MIXERS[type(config)].shapes(config)
    return random_parameters(rng, shapes), rng.standard_normal((batch, length, D_MODEL))


def mlp_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 7,
    channels: int = 5,
    inner: int = 3,
) -> dict[str, Any]:
    """Return a call in which the residual is larger than what is added to it."""
    return {
        "hidden": rng.standard_normal((batch, length, channels)),
        "residual": 3 * rng.standard_normal((batch, length, channels)),
        "norm_weight": rng.uniform(0.5, 2, channels),
        "fc1": rng.standard_normal((2 * inner, channels)),
        "fc2": rng.standard_normal((channels, inner)),
        "eps": 0.125,
    }


def s4_block_inputs(rng: np.random.Generator, **sizes: int) -> dict[str, Any]:
    """Return a call with D and an initial state; sizes as of `s4d_inputs`."""
    return s4d_inputs(rng, **sizes) | _output_layer(rng, sizes.get("channels", 5))


def s4_block_step_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return one step on some of six slots, with a row of padding."""
    call = s4d_step_example(rng) | _output_layer(rng, 5)
    del call["method"]
    return call


def _output_layer(rng: np.random.Generator, channels: int) -> dict[str, Any]:
    weight = rng.standard_normal((2 * channels, channels)) / 2
    return {"weight": weight, "bias": rng.standard_normal(2 * channels)}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "blocks.mlp_block": mlp_inputs,
    "blocks.s4_block": s4_block_inputs,
    "blocks.s4_block_step": s4_block_step_example,
}
