"""Cases of how parameters and projections become arguments of ops."""

from typing import Any

import numpy as np

from ..random import Draw
from .case import Case, cycle, family, sprinkle
from .mamba1 import TAILS


def rate(
    draw: Draw,
    *,
    channels: int = 8,
    state: int | None = None,
    span: tuple[float, float] = (-4.5, 3.0),
    values: tuple[float, ...] = (),
) -> dict[str, Any]:
    """Draw logarithms of rates."""
    shape = (channels,) if state is None else (channels, state)
    A_log = draw.uniform("A_log", *span, *shape)
    if values:
        A_log = cycle(values, A_log.size).reshape(shape)
    return {"A_log": A_log}


def step_size(
    draw: Draw,
    *,
    batch: int = 2,
    length: int = 9,
    heads: int = 5,
    centre: float = -3.0,
    raw: tuple[float, ...] = (),
    bias: bool = True,
    dt_limit: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Draw raw steps and their bias."""
    dt = draw.normal("dt", batch, length, heads) + centre
    sprinkle(dt, raw)
    dt_bias = draw.uniform("dt_bias", -1, 1, heads)
    arguments = {"dt": dt, "dt_bias": dt_bias if bias else 0 * dt_bias}
    return arguments if dt_limit is None else {**arguments, "dt_limit": dt_limit}


def mamba3_rate(
    draw: Draw,
    *,
    batch: int = 2,
    length: int = 9,
    heads: int = 5,
    spread: float = 2.0,
    raw: tuple[float, ...] = (),
    **options: Any,
) -> dict[str, Any]:
    """Draw projections of rates."""
    a = spread * draw.normal("a", batch, length, heads)
    sprinkle(a, raw)
    return {"a": a, **options}


def falcon_mamba(
    draw: Draw,
    *,
    batch: int = 2,
    length: int = 7,
    channels: int = 6,
    rank: int = 3,
    state: int = 4,
    sizes: tuple[float, float, float] = (1.0, 1.0, 1.0),
    **options: Any,
) -> dict[str, Any]:
    """Draw projections of FalconMamba, each of a size of its own."""
    dt, B, C = sizes
    lead = (batch, length)
    return {
        "dt": dt * draw.normal("dt", *lead, rank),
        "B": B * draw.normal("B", *lead, state),
        "C": C * draw.normal("C", *lead, state),
        "weight": draw.normal("weight", channels, rank),
        **options,
    }


def falcon_h1(
    draw: Draw,
    *,
    batch: int = 2,
    length: int = 5,
    heads: int = 3,
    headdim: int = 2,
    groups: int = 1,
    state: int = 4,
    multipliers: tuple[float, ...] = (0.35, 0.25, 0.18, 0.5, 0.31),
) -> dict[str, Any]:
    """Draw a projection of Falcon-H1 and its five multipliers."""
    width = 2 * heads * headdim + 2 * groups * state + heads
    return {
        "projected": draw.normal("projected", batch, length, width),
        "multipliers": np.array(multipliers),
        "heads": heads,
        "headdim": headdim,
        "groups": groups,
    }


RATE: dict[str, tuple[str, dict[str, Any]]] = {
    "per_head": ("one per head, rates from 0.01 to 20: exponentiated once", {}),
    "per_state": ("one per channel and state", {"channels": 5, "state": 16}),
    "initial": (
        "the logarithms of 1, 2, 3 ... as at initialisation: in a low dtype, A is off",
        {"values": tuple(np.log(np.arange(1.0, 17.0))), "channels": 4, "state": 16},
    ),
    "slow": ("rates near 0: states that never forget", {"span": (-12.0, -6.0)}),
    "zero": ("A_log = 0 is the rate -1, not 0", {"values": (0.0, -0.5, 0.5)}),
}

STEP_SIZE: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": ("one of everything", {"batch": 1, "length": 1, "heads": 1}),
    "small_steps": (
        "steps below 0.001 stay: time_step_min is for initial values",
        {"centre": -8.0},
    ),
    "large_steps": (
        "steps above 0.1 stay: time_step_max is for initial values",
        {"centre": 1.0},
    ),
    "limits": (
        "limits clip both ends, after softplus",
        {"centre": -2.0, "dt_limit": (0.03, 0.3)},
    ),
    "floor_only": ("a lower limit alone", {"dt_limit": (0.05, np.inf)}),
    "tails": (
        "beyond the threshold of softplus, and where log(1 + e^x) is 0",
        {"raw": TAILS, "bias": False},
    ),
    "bias_first": ("the bias comes before softplus", {"centre": 0.0, "batch": 3}),
}

SOFTPLUS = {"activation": "softplus"}
MAMBA3_RATE: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": ("one of everything", {"batch": 1, "length": 1, "heads": 1}),
    "plain": ("rates depend on their tokens: the clamp comes after the sign", {}),
    "softplus": ("the activation of checkpoints before the change", SOFTPLUS),
    "zero": ("-1 at 0, where softplus has -0.69", {"raw": (0.0, -0.0), "spread": 0.1}),
    "floor": (
        "rates are at most -floor, and reach it",
        {"raw": (-3.0, -40.0), "floor": 0.0625},
    ),
    "softplus_floor": (
        "softplus falls below the floor soon",
        {"raw": (-30.0, -9.0, -10.0), **SOFTPLUS},
    ),
    "tails": ("large projections of both signs", {"raw": (-5000.0, -300.0, 80.0)}),
}

FALCON_MAMBA: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything: a norm of one number is its sign",
        {"batch": 1, "length": 1, "channels": 1, "rank": 1, "state": 1},
    ),
    "plain": ("norms without weights, which no checkpoint shows", {}),
    "magnitudes": (
        "inputs far from unit size: each is normalised by itself",
        {"sizes": (30.0, 0.1, 5.0)},
    ),
    "eps": (
        "an eps that counts: normalising twice is not once",
        {"sizes": (0.5, 0.25, 0.5), "eps": 0.125},
    ),
    "tiny": (
        "inputs below the square root of eps are not blown up",
        {"sizes": (1e-4, 1e-3, 1e-4)},
    ),
    "rank": (
        "dt is normalised before its projection, over its rank",
        {"batch": 1, "channels": 10, "rank": 5, "state": 16},
    ),
}

FALCON_H1: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything",
        {"batch": 1, "length": 1, "heads": 1, "headdim": 1, "state": 1},
    ),
    "plain": ("five different multipliers", {}),
    "groups": (
        "B and C of several groups lie between x and dt",
        {"heads": 6, "headdim": 3, "groups": 3, "state": 5},
    ),
    "one_slice": (
        "only B has a multiplier: where its slice begins and ends",
        {"multipliers": (1.0, 1.0, 3.0, 1.0, 1.0), "groups": 1, "state": 7},
    ),
    "dt_alone": (
        "only dt has one: the last features, one per head",
        {"multipliers": (1.0, 1.0, 1.0, 1.0, 0.25), "heads": 4},
    ),
}

CASES: tuple[Case, ...] = (
    *family("parameters.mamba_rate", rate, **RATE),
    *family("parameters.mamba2_step_size", step_size, **STEP_SIZE),
    *family("parameters.mamba3_rate", mamba3_rate, **MAMBA3_RATE),
    *family("parameters.falcon_mamba_projections", falcon_mamba, **FALCON_MAMBA),
    *family("parameters.falcon_h1_projections", falcon_h1, **FALCON_H1),
)
