"""Random valid calls of the ops of `ssmref.golden.stages`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .mamba1_inputs import selective_scan_inputs
from .mamba2_inputs import ssd_example
from .mamba3_inputs import siso_example

# What comes after the stages.
LATER = ("D", "z", "norm_weight", "norm_eps")


def _without(call: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name not in LATER}


def ssd_stages_example(rng: np.random.Generator, **sizes: int) -> dict[str, Any]:
    """Return one call with every optional argument, whose last chunk is ragged."""
    return {**_without(ssd_example(rng, **sizes)), "chunk_size": 3}


def scan_stages_example(rng: np.random.Generator, **sizes: Any) -> dict[str, Any]:
    """Return one call with every optional argument."""
    return _without(selective_scan_inputs(rng, **sizes))


def siso_stages_example(rng: np.random.Generator, **sizes: int) -> dict[str, Any]:
    """Return one call with every optional argument, whose last chunk is ragged."""
    return {**_without(siso_example(rng, **sizes)), "chunk_size": 3}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "stages.ssd_stages": ssd_stages_example,
    "stages.selective_scan_stages": scan_stages_example,
    "stages.siso_stages": siso_stages_example,
}
