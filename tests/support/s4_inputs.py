"""Random valid calls of the ops of `ssmref.golden.s4`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ssmref.golden import hippo


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return complex numbers of variance 2."""
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def eigenvalues(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return decaying modes, from slow to as fast as the 7th of S4D-Lin."""
    return -rng.uniform(0.1, 1.5, shape) - 1j * rng.uniform(0, 20, shape)


def steps(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return steps for which the modes turn and decay visibly within a few tokens."""
    return np.exp(rng.uniform(np.log(0.02), np.log(0.3), size))


def s4_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 7,
    channels: int = 5,
    state: int = 4,
    ranks: int = 3,
    rows: int | None = None,
) -> dict[str, Any]:
    """Return a call with D and an initial state (of `rows` sequences if given)."""
    return {
        "u": rng.standard_normal((batch, length, channels)),
        "dt": steps(rng, channels),
        "A": eigenvalues(rng, channels, state),
        "B": complex_normal(rng, channels, state),
        "C": complex_normal(rng, channels, state),
        "P": complex_normal(rng, ranks, channels, state) / 2,
        "D": rng.standard_normal(channels),
        "initial_state": complex_normal(rng, rows or batch, channels, state),
    }


def hippo_system(name: str, N: int, channels: int = 3) -> dict[str, Any]:
    """Return one HiPPO matrix and random C for channels of different steps."""
    A, P, B, _ = hippo.dplr(name, N)
    return {
        "dt": np.geomspace(0.01, 0.2, channels),
        "A": np.tile(A, (channels, 1)),
        "B": np.tile(B, (channels, 1)),
        "C": complex_normal(np.random.default_rng(1), channels, N // 2),
        "P": np.repeat(P[:, None], channels, axis=1),
    }


def s4_step_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return one step on some of six slots, with a row of padding."""
    whole = s4_inputs(rng, batch=3, rows=6)
    state = whole.pop("initial_state")
    u = whole.pop("u")[:, 0]
    return {"u": u, **whole, "state": state, "slots": np.array([4, -1, 1])}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "s4.s4": s4_inputs,
    "s4.s4_step": s4_step_example,
}
