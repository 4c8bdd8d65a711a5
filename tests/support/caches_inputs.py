"""Random valid calls of the ops of `ssmref.golden.caches`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ssmref.golden.caches import ServeState


def serve_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 4,
    length: int = 9,
    heads: int = 6,
    headdim: int = 2,
    groups: int = 3,
    state: int = 5,
    width: int = 4,
    slots: int = 7,
) -> dict[str, Any]:
    """Return the required arguments: row i reads slot i and writes the last but i."""
    channels = heads * headdim + 2 * groups * state
    return {
        "xBC": rng.standard_normal((batch, length, channels)),
        "dt": rng.uniform(0.05, 0.8, (batch, length, heads)),
        "A": -rng.uniform(0.1, 1.5, heads),
        "weight": rng.standard_normal((channels, width)),
        "read": np.arange(batch) % slots,
        "write": slots - 1 - np.arange(batch),
        "state": ServeState(
            rng.standard_normal((slots, width - 1, channels)),
            rng.standard_normal((slots, heads, headdim, state)),
        ),
    }


def serve_example(rng: np.random.Generator, **sizes: int) -> dict[str, Any]:
    """Return one call with every optional argument."""
    call = serve_inputs(rng, **sizes)
    batch, length, channels = call["xBC"].shape
    heads = len(call["A"])
    mask = (rng.uniform(size=(batch, length)) < 0.7).astype(np.int64)
    return {
        **call,
        # Raw: the limits clip both ends of its softplus.
        "dt": 1.5 * rng.standard_normal((batch, length, heads)) - 0.5,
        "read": np.resize([1, -1, 0, 1], batch),
        "write": np.resize([0, 1, -1, 2], batch) + 3 * (np.arange(batch) // 4),
        "bias": rng.standard_normal(channels),
        "D": rng.standard_normal(heads),
        "dt_bias": 0.5 * rng.standard_normal(heads),
        "dt_softplus": True,
        "dt_limit": (0.1, 1.5),
        "mask": mask,
        "accepted": rng.integers(0, np.sum(mask, axis=1) + 1),
    }


def snapshots_inputs(
    rng: np.random.Generator,
    *,
    lengths: tuple[int, ...] = (7, 0, 3, 12),
    position: tuple[int, ...] = (0, 4, 6, 3),
    block: int = 4,
    heads: int = 6,
    headdim: int = 2,
    groups: int = 3,
    state: int = 5,
) -> dict[str, Any]:
    """Return the required arguments."""
    length = sum(lengths)
    return {
        "x": rng.standard_normal((1, length, heads, headdim)),
        "dt": rng.uniform(0.05, 0.8, (1, length, heads)),
        "A": -rng.uniform(0.1, 1.5, heads),
        "B": rng.standard_normal((1, length, groups, state)),
        "cu_seqlens": np.cumsum((0, *lengths)),
        "position": np.array(position),
        "block": block,
    }


def snapshots_example(rng: np.random.Generator, **sizes: Any) -> dict[str, Any]:
    """Return one call with every optional argument."""
    call = snapshots_inputs(rng, **sizes)
    _, length, heads, headdim = call["x"].shape
    shape = (len(call["position"]), heads, headdim, call["B"].shape[-1])
    return {
        **call,
        "dt": 1.5 * rng.standard_normal((1, length, heads)) - 0.5,
        "dt_bias": 0.5 * rng.standard_normal(heads),
        "dt_softplus": True,
        "dt_limit": (0.1, 1.5),
        "initial_state": rng.standard_normal(shape),
    }


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "caches.serve": serve_example,
    "caches.snapshots": snapshots_example,
}
