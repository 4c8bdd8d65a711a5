"""Random valid calls of the ops of `ssmref.golden.mamba3`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ssmref.golden.mamba3 import Mamba3State

# The arguments that have one entry per token.
TOKENS = ("x", "dt", "A", "B", "C", "trap", "angles", "z")


def siso_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 7,
    heads: int = 6,
    headdim: int = 5,
    groups: int = 3,
    state: int = 18,
    angles: int = 8,
) -> dict[str, Any]:
    """Return the required arguments, with decays from 0.4 to 0.995 per token."""
    per_head = (batch, length, heads)
    return {
        "x": rng.standard_normal((*per_head, headdim)),
        "dt": rng.uniform(0.05, 0.8, per_head),
        "A": -rng.uniform(0.1, 1.2, per_head),
        "B": rng.standard_normal((batch, length, groups, state)),
        "C": rng.standard_normal((batch, length, groups, state)),
        "trap": rng.standard_normal(per_head),
        "angles": rng.standard_normal((*per_head, angles)),
    }


def siso_example(rng: np.random.Generator, **sizes: int) -> dict[str, Any]:
    """Return one call with every optional argument."""
    call = siso_inputs(rng, **sizes)
    heads, headdim = call["x"].shape[2:]
    state = call["B"].shape[-1]
    return {
        **call,
        "B_bias": rng.standard_normal((heads, state)),
        "C_bias": rng.standard_normal((heads, state)),
        "D": rng.standard_normal(heads),
        "z": rng.standard_normal(call["x"].shape),
        "norm_weight": rng.uniform(0.5, 1.5, (heads, headdim)),
        "norm_eps": 0.25,
        "initial_state": initial_state(rng, call, 1),
    }


def mimo_inputs(
    rng: np.random.Generator, *, ranks: int = 4, **sizes: int
) -> dict[str, Any]:
    """Return the arguments of `siso_inputs` with B and C per rank."""
    call = siso_inputs(rng, **sizes)
    batch, length, groups, state = call["B"].shape
    shape = (batch, length, ranks, groups, state)
    B, C = rng.standard_normal(shape), rng.standard_normal(shape)
    return {**call, "B": B, "C": C}


def mimo_example(
    rng: np.random.Generator, *, ranks: int = 4, **sizes: int
) -> dict[str, Any]:
    """Return one call with every optional argument."""
    call = siso_example(rng, **sizes) | mimo_inputs(rng, ranks=ranks, **sizes)
    heads, headdim = call["x"].shape[2:]
    state = call["B"].shape[-1]
    return {
        **call,
        "B_bias": rng.standard_normal((heads, ranks, state)),
        "C_bias": rng.standard_normal((heads, ranks, state)),
        "mimo_x": rng.standard_normal((heads, ranks, headdim)),
        "mimo_z": rng.standard_normal((heads, ranks, headdim)),
        "mimo_o": rng.standard_normal((heads, ranks, headdim)),
        "initial_state": initial_state(rng, call, ranks),
    }


def initial_state(
    rng: np.random.Generator, call: dict[str, Any], ranks: int, rows: int = 0
) -> Mamba3State:
    """Return a state that `call` could start from; rows where not one per batch row."""
    batch, _, heads, headdim = call["x"].shape
    rows = rows or batch
    state, angles = call["B"].shape[-1], call["angles"].shape[-1]
    return Mamba3State(
        rng.uniform(0, 6.28, (rows, heads, angles)),
        rng.standard_normal((rows, heads, headdim, state)),
        rng.standard_normal((rows, ranks, heads, state)),
        rng.standard_normal((rows, heads, headdim)),
    )


def part(call: dict[str, Any], tokens: Any) -> dict[str, Any]:
    """Return the call of some tokens: a slice, or one number for a step."""
    return {k: v[:, tokens] if k in TOKENS else v for k, v in call.items()}


def step_of(call: dict[str, Any]) -> dict[str, Any]:
    """Return the step of the first token."""
    call = part(call, 0)
    return {"state": call.pop("initial_state"), **call}


def comparable(result: tuple[np.ndarray, Mamba3State]) -> tuple[np.ndarray, ...]:
    """Return the parts of a result, angles modulo 2 pi by their cosine and sine."""
    y, state = result
    return y, np.cos(state.angle), np.sin(state.angle), *state[1:]


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "mamba3.siso": siso_example,
    "mamba3.siso_step": lambda rng: step_of(siso_example(rng)),
    "mamba3.mimo": mimo_example,
    "mamba3.mimo_step": lambda rng: step_of(mimo_example(rng)),
}
