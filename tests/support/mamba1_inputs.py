"""Random valid calls of the ops of `ssmref.golden.mamba1`."""

from collections.abc import Callable
from typing import Any

import numpy as np

# What B and C may be: constant, shared by all channels, or one per group.
KINDS = ("constant", "varying", "grouped")


def projection(
    rng: np.random.Generator, kind: str, sizes: tuple, dtype: type = np.float64
) -> np.ndarray:
    """Return B or C; `sizes` are batch, length, channels, groups, state."""
    batch, length, channels, groups, state = sizes
    shape = {
        "constant": (channels, state),
        "varying": (batch, length, state),
        "grouped": (batch, length, groups, state),
    }[kind]
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if dtype is np.complex128 else real


def selective_scan_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 9,
    channels: int = 6,
    groups: int = 3,
    state: int = 4,
    B: str = "grouped",
    C: str = "grouped",
    complex_A: bool = False,
    initial_state: bool = True,
) -> dict[str, Any]:
    """Return a scan whose states remember: decays from 0.3 to 0.999 per token."""
    sizes, dtype = (
        (batch, length, channels, groups, state),
        np.complex128 if complex_A else np.float64,
    )
    A = -np.exp(rng.uniform(np.log(0.005), np.log(1.5), (channels, state)))
    call = {
        "u": rng.standard_normal((batch, length, channels)),
        "dt": rng.standard_normal((batch, length, channels)) - 0.5,
        "A": A + 1j * rng.uniform(-3, 3, A.shape) if complex_A else A,
        "B": projection(rng, B, sizes, dtype),
        "C": projection(rng, C, sizes, dtype),
        "D": rng.standard_normal(channels),
        "z": rng.standard_normal((batch, length, channels)),
        "dt_bias": 0.5 * rng.standard_normal(channels),
        "dt_softplus": True,
    }
    if initial_state:
        call["initial_state"] = projection(
            rng, "grouped", (batch, channels, 0, state, 1), dtype
        )[..., 0]
    return call


def step_of(call: dict[str, Any], t: int) -> dict[str, Any]:
    """Return token t of a scan as a call of the step, but for its state.

    B and C, where one of them is constant, get one group per channel.
    """
    varying = [n for n in ("u", "dt", "z") if call[n] is not None]
    tokens = {name: call[name][:, t] for name in varying}
    batch, _, channels = call["u"].shape
    for name in "BC":
        X = call[name]
        X = X[:, t] if X.ndim > 2 else np.broadcast_to(X, (batch, *X.shape))
        if "constant" in (_kind(call["B"]), _kind(call["C"])):
            X = X if X.ndim == 3 else X[:, None]
            X = np.repeat(X, channels // X.shape[1], axis=1)
        tokens[name] = X
    same = {name: call[name] for name in ("A", "D", "dt_bias", "dt_softplus")}
    return {**tokens, **same}


def _kind(X: np.ndarray) -> str:
    return KINDS[X.ndim - 2]


def step_inputs(rng: np.random.Generator) -> dict[str, Any]:
    """Return a step in some of the slots of a cache."""
    call = selective_scan_inputs(rng, batch=3, length=1, initial_state=False)
    state = rng.standard_normal((5, 6, 4))
    return {**step_of(call, 0), "state": state, "slots": np.array([4, -1, 1])}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict]] = {
    "mamba1.selective_scan": selective_scan_inputs,
    "mamba1.selective_scan_step": step_inputs,
}
