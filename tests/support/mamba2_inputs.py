"""Random valid calls of the ops of `ssmref.golden.mamba2`."""

from collections.abc import Callable
from typing import Any

import numpy as np

# The arguments that have one entry per token.
TOKENS = ("x", "dt", "B", "C", "z")


def ssd_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 7,
    heads: int = 6,
    headdim: int = 5,
    groups: int = 3,
    state: int = 4,
) -> dict[str, Any]:
    """Return the required arguments, with decays from 0.3 to 0.995 per token."""
    return {
        "x": rng.standard_normal((batch, length, heads, headdim)),
        "dt": rng.uniform(0.05, 0.8, (batch, length, heads)),
        "A": -rng.uniform(0.1, 1.5, heads),
        "B": rng.standard_normal((batch, length, groups, state)),
        "C": rng.standard_normal((batch, length, groups, state)),
    }


def ssd_example(rng: np.random.Generator, **sizes: int) -> dict[str, Any]:
    """Return one call with every optional argument."""
    call = ssd_inputs(rng, **sizes)
    batch, length, heads, headdim = call["x"].shape
    state = call["B"].shape[3]
    return {
        **call,
        # Raw: the limits clip both ends of its softplus.
        "dt": 1.5 * rng.standard_normal((batch, length, heads)) - 0.5,
        "D": rng.standard_normal((heads, headdim)),
        "z": rng.standard_normal((batch, length, heads, headdim)),
        "dt_bias": 0.5 * rng.standard_normal(heads),
        "dt_softplus": True,
        "dt_limit": (0.1, 1.5),
        "initial_state": rng.standard_normal((batch, heads, headdim, state)),
    }


def part(call: dict[str, Any], tokens: Any) -> dict[str, Any]:
    """Return the call of some tokens: a slice, or one number for a step."""
    return {k: v[:, tokens] if k in TOKENS else v for k, v in call.items()}


def ssd_step_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return one step with every optional argument."""
    call = part(ssd_example(rng), 0)
    return {"state": call.pop("initial_state"), **call}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "mamba2.ssd": ssd_example,
    "mamba2.ssd_step": ssd_step_example,
}
