"""Random valid calls of the ops of `ssmref.golden.parameters`."""

from collections.abc import Callable
from typing import Any

import numpy as np


def mamba_rate_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return the logarithms of rates from 0.01 to 20, one per channel and state."""
    return {"A_log": rng.uniform(-4.5, 3, (5, 4))}


def mamba2_step_size_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return raw steps that both limits clip."""
    return {
        "dt": 1.5 * rng.standard_normal((2, 7, 5)) - 0.5,
        "dt_bias": 0.5 * rng.standard_normal(5),
        "dt_limit": (0.1, 1.5),
    }


def mamba3_rate_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return projections of both signs, of which the floor holds some."""
    a = 3 * rng.standard_normal((2, 7, 5))
    return {"a": a, "floor": 0.25, "activation": "heavy_tail"}


def falcon_mamba_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return projections of different magnitudes, and an eps that counts."""
    return {
        "dt": 5 * rng.standard_normal((2, 7, 3)),
        "B": rng.standard_normal((2, 7, 4)),
        "C": rng.standard_normal((2, 7, 4)) / 4,
        "weight": rng.standard_normal((5, 3)),
        "eps": 0.125,
    }


def falcon_h1_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return a projection for 6 heads of 2 in 3 groups, with a state of 5."""
    return {
        "projected": rng.standard_normal((2, 7, 2 * 12 + 2 * 15 + 6)),
        "multipliers": rng.uniform(0.2, 3, 5),
        "heads": 6,
        "headdim": 2,
        "groups": 3,
    }


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "parameters.mamba_rate": mamba_rate_inputs,
    "parameters.mamba2_step_size": mamba2_step_size_inputs,
    "parameters.mamba3_rate": mamba3_rate_inputs,
    "parameters.falcon_mamba_projections": falcon_mamba_inputs,
    "parameters.falcon_h1_projections": falcon_h1_inputs,
}
