"""Random valid calls of the ops of `ssmref.golden.layers`."""

from collections.abc import Callable
from typing import Any

import numpy as np


def conv_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 7,
    channels: int = 5,
    width: int = 4,
    state: bool = True,
) -> dict[str, Any]:
    """Return a convolution with bias, SiLU and inputs before the first."""
    call = {
        "x": rng.standard_normal((batch, length, channels)),
        "weight": rng.standard_normal((channels, width)),
        "bias": rng.standard_normal(channels),
        "activation": "silu",
    }
    if state:
        call["initial_state"] = rng.standard_normal((batch, width - 1, channels))
    return call


def conv_step_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 3,
    tokens: int = 2,
    window: int = 6,
    slots: int = 5,
) -> dict[str, Any]:
    """Return a step of several tokens, in some of the slots of a long buffer."""
    call = conv_inputs(rng, batch=batch, length=tokens, state=False)
    call["state"] = rng.standard_normal((slots, window, 5))
    call["slots"] = np.array([4, -1, 1])[:batch]
    return call


def conv_step_circular_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return the same on a circular buffer: before, at and after the wrap."""
    return {**conv_step_inputs(rng), "position": np.array([5, 2, 13])}


def rms_norm_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return a normalisation where eps matters a little."""
    x, weight = rng.standard_normal((2, 7, 6)), rng.standard_normal(6)
    return {"x": x, "weight": weight, "eps": 1e-2}


def rms_norm_gated_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return a gated normalisation in several groups."""
    z = 2 * rng.standard_normal((2, 7, 6))
    return {**rms_norm_inputs(rng), "z": z, "group_size": 2}


def layer_norm_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return a normalisation of what has a mean."""
    call = rms_norm_inputs(rng)
    return {**call, "x": call["x"] + 3, "bias": rng.standard_normal(6)}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict]] = {
    "layers.causal_conv1d": conv_inputs,
    "layers.causal_conv1d_step": conv_step_inputs,
    "layers.causal_conv1d_step_circular": conv_step_circular_inputs,
    "layers.rms_norm": rms_norm_inputs,
    "layers.rms_norm_gated": rms_norm_gated_inputs,
    "layers.layer_norm": layer_norm_inputs,
}
