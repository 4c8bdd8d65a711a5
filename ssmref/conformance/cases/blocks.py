"""Cases of the halves of blocks."""

from typing import Any

import numpy as np

from ..random import Draw
from . import s4
from .case import Case, cycle, family


def _mlp(
    draw: Draw,
    *,
    batch: int = 2,
    length: int = 5,
    channels: int = 6,
    inner: int = 4,
    scale: float = 1.0,
    stream: float = 1.0,
    gain: float = 1.0,
    cancelled: float = 0.0,
    uneven: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Draw the output of a mixer, the residual beside it, and a gated MLP."""
    hidden = scale * draw.normal("hidden", batch, length, channels)
    residual = stream * scale * draw.normal("residual", batch, length, channels)
    if cancelled:
        residual = cancelled * residual - hidden
    if uneven:
        hidden *= cycle((0.01, 10.0, 0.1, 100.0, 1.0), channels)
    return {
        "hidden": hidden,
        "residual": residual,
        "norm_weight": 1 + draw.normal("norm_weight", channels) / 2,
        "fc1": gain * draw.normal("fc1", 2 * inner, channels) / np.sqrt(channels),
        "fc2": draw.normal("fc2", channels, inner) / np.sqrt(inner),
        **options,
    }


def _mixed(
    draw: Draw, arguments: dict[str, Any], gain: float, offset: float
) -> dict[str, Any]:
    channels = len(arguments["dt"])
    weight = draw.normal("weight", 2 * channels, channels) / np.sqrt(channels)
    bias = draw.normal("bias", 2 * channels)
    return arguments | {"weight": gain * weight, "bias": offset * bias}


def scan(
    draw: Draw, *, gain: float = 1.0, offset: float = 0.5, **sizes: Any
) -> dict[str, Any]:
    """Draw a sequence or a pack for S4D, and the output layer."""
    return _mixed(draw, s4.scan(draw, **sizes), gain, offset)


def step(
    draw: Draw, *, gain: float = 1.0, offset: float = 0.5, **sizes: Any
) -> dict[str, Any]:
    """Draw one token for S4D, the states that it meets, and the output layer."""
    return _mixed(draw, s4.step(draw, **sizes), gain, offset)


MLP: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything: the norm leaves a sign",
        {"batch": 1, "length": 1, "channels": 1, "inner": 1},
    ),
    "plain": (
        "sizes that differ on every axis; the second half of fc1 is the gate",
        {"batch": 2, "length": 7, "channels": 5, "inner": 3},
    ),
    "empty": ("no token", {"length": 0}),
    "one_token": ("a step of decoding", {"batch": 3, "length": 1}),
    "wide": ("more channels in the middle than outside", {"inner": 24}),
    "first_block": ("no residual yet: it starts as hidden", {"stream": 0.0}),
    "deep_stream": (
        "a residual that has grown over many blocks: a normalised one is small",
        {"stream": 300.0},
    ),
    "cancelled": (
        "hidden nearly cancels the residual: the norm is of the sum, not of either",
        {"cancelled": 0.01},
    ),
    "uneven": (
        "channels from 0.01 to 100: the largest rule the mean",
        {"channels": 9, "uneven": True},
    ),
    "large_gates": (
        "gates beyond +-80: silu neither overflows nor vanishes too early",
        {"gain": 60.0, "inner": 16},
    ),
    "many_channels": (
        "a power of two and one: tails of vector code",
        {"length": 3, "channels": 257, "inner": 129},
    ),
    "eps_rules": (
        "values below eps, which stands inside the root",
        {"scale": 1e-3, "eps": 1e-2},
    ),
    "other_eps": ("the eps that is given is used", {"eps": 0.5}),
    "large_values": ("magnitudes of 1e10", {"scale": 1e10}),
    "small_values": (
        "magnitudes of 1e-10: nothing but eps below the root",
        {"scale": 1e-10},
    ),
    "everything": (
        "all at once",
        {"length": 33, "channels": 24, "inner": 40, "uneven": True, "eps": 1e-3},
    ),
}
# What the rows of S4D lack: what the output layer does to y.
GATES: dict[str, tuple[str, dict[str, Any]]] = {
    "tails": (
        "GELU of -10 to 10: neither linear nor an approximation by tanh",
        {"batch": 2, "length": 24, "scale": 4.0},
    ),
    "large_gates": (
        "gates beyond +-80: the sigmoid neither overflows nor vanishes too early",
        {"batch": 2, "length": 12, "gain": 60.0},
    ),
    "bias_only": (
        "the bias rules: it is added before the gate",
        {"batch": 2, "length": 9, "offset": 3.0, "scale": 0.1},
    ),
}
# Beside a bias, small inputs would not be seen.
SMALL = {
    "small_values": (
        "magnitudes of 1e-10",
        {"length": 15, "scale": 1e-10, "offset": 0.0},
    )
}

CASES: tuple[Case, ...] = (
    *family("blocks.mlp_block", _mlp, **MLP),
    *family("blocks.s4_block", scan, **(s4.SCANS | GATES | SMALL)),
    *family(
        "blocks.s4_block_step",
        step,
        **(s4.STEP_ROWS | s4.of_one_token(GATES | SMALL)),
    ),
)
