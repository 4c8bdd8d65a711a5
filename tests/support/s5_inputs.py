"""Random valid calls of the ops of `ssmref.golden.s5`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .s4_inputs import complex_normal, eigenvalues, steps


def s5_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 7,
    inputs: int = 3,
    outputs: int = 5,
    state: int = 4,
    rows: int | None = None,
) -> dict[str, Any]:
    """Return a call with an initial state, and D where inputs equal outputs."""
    call = {
        "u": rng.standard_normal((batch, length, inputs)),
        "dt": steps(rng, state),
        "A": eigenvalues(rng, state),
        "B": complex_normal(rng, state, inputs),
        "C": complex_normal(rng, outputs, state),
        "initial_state": complex_normal(rng, rows or batch, state),
    }
    return call | ({"D": rng.standard_normal(outputs)} if inputs == outputs else {})


def s5_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return a call with every optional argument."""
    call = s5_inputs(rng, inputs=3, outputs=3)
    backward = complex_normal(rng, 3, 4)
    return {**call, "C_backward": backward, "method": "bilinear", "conj_sym": False}


def s5_step_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return one step on some of six slots, with a row of padding."""
    whole = s5_inputs(rng, batch=3, rows=6, inputs=5)
    token = {"u": whole.pop("u")[:, 0], "state": whole.pop("initial_state")}
    options = {"method": "bilinear", "conj_sym": False}
    return {**token, **whole, **options, "slots": np.array([4, -1, 1])}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "s5.s5": s5_example,
    "s5.s5_step": s5_step_example,
}
