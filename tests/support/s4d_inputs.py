"""Random valid calls of the ops of `ssmref.golden.s4d`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .s4_inputs import s4_inputs, s4_step_example


def s4d_inputs(rng: np.random.Generator, **sizes: Any) -> dict[str, Any]:
    """Return a call with D and an initial state; sizes as of `s4_inputs`."""
    call = s4_inputs(rng, **sizes)
    del call["P"]
    return call


def s4d_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return a call with every optional argument away from its default."""
    return {**s4d_inputs(rng), "method": "bilinear"}


def s4d_step_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return one step on some of six slots, with a row of padding."""
    call = s4_step_example(rng)
    del call["P"]
    return {**call, "method": "bilinear"}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "s4d.s4d": s4d_example,
    "s4d.s4d_step": s4d_step_example,
}
