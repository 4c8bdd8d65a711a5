"""Random valid calls of the ops of `ssmref.golden.h3`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ssmref.golden.h3 import H3State

from .s4_inputs import complex_normal, eigenvalues, steps


def h3_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 7,
    heads: int = 3,
    head_dim: int = 2,
    state: int = 4,
    taps: int = 5,
    rows: int | None = None,
) -> dict[str, Any]:
    """Return a call with both skips and an initial state."""
    channels, rows = heads * head_dim, rows or batch
    return {
        **{n: rng.standard_normal((batch, length, channels)) for n in "qkv"},
        "dt": steps(rng, heads),
        "A": eigenvalues(rng, heads, state),
        "B": complex_normal(rng, heads, state),
        "C": complex_normal(rng, heads, state),
        "shift_C": rng.standard_normal((channels, taps)),
        "shift_D": rng.standard_normal(channels),
        "D": rng.standard_normal(heads),
        "head_dim": head_dim,
        "initial_state": H3State(
            rng.standard_normal((rows, channels, taps)),
            complex_normal(rng, rows, heads, head_dim, head_dim, state),
        ),
    }


def h3_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return a call with every optional argument away from its default."""
    return {**h3_inputs(rng), "method": "zoh"}


def h3_step_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return one step on some of six slots, with a row of padding."""
    whole = h3_inputs(rng, batch=3, rows=6)
    token = {name: whole.pop(name)[:, 0] for name in "qkv"}
    state = whole.pop("initial_state")
    options = {"method": "zoh", "slots": np.array([4, -1, 1])}
    return {**token, **whole, "state": state, **options}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "h3.h3": h3_example,
    "h3.h3_step": h3_step_example,
}
