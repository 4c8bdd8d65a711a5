"""What is right: golden outputs of a case and how far off rounding may be."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..ops import OPS, implementation
from .cases.case import Case
from .outputs import flatten
from .precision import rounded
from .scales import (
    attention,
    blocks,
    caches,
    h3,
    layers,
    mamba1,
    mamba2,
    mamba3,
    parameters,
    s4,
    s4d,
    s5,
    stages,
)

SCALES = {
    "layers.causal_conv1d": layers.causal_conv1d,
    "layers.causal_conv1d_step": layers.causal_conv1d_step,
    "layers.causal_conv1d_step_circular": layers.causal_conv1d_step_circular,
    "layers.rms_norm": layers.rms_norm,
    "layers.rms_norm_gated": layers.rms_norm_gated,
    "layers.layer_norm": layers.layer_norm,
    "mamba1.selective_scan": mamba1.selective_scan,
    "mamba1.selective_scan_step": mamba1.selective_scan_step,
    "mamba2.ssd": mamba2.ssd,
    "mamba2.ssd_step": mamba2.ssd_step,
    "mamba3.siso": mamba3.siso,
    "mamba3.siso_step": mamba3.siso_step,
    "mamba3.mimo": mamba3.mimo,
    "mamba3.mimo_step": mamba3.mimo_step,
    "s4.s4": s4.s4,
    "s4.s4_step": s4.s4_step,
    "s4d.s4d": s4d.s4d,
    "s4d.s4d_step": s4d.s4d_step,
    "s5.s5": s5.s5,
    "s5.s5_step": s5.s5_step,
    "h3.h3": h3.h3,
    "h3.h3_step": h3.h3_step,
    "attention.attention": attention.attention,
    "attention.attention_step": attention.attention_step,
    "caches.serve": caches.serve,
    "caches.snapshots": caches.snapshots,
    "parameters.mamba_rate": parameters.mamba_rate,
    "parameters.mamba2_step_size": parameters.mamba2_step_size,
    "parameters.mamba3_rate": parameters.mamba3_rate,
    "parameters.falcon_mamba_projections": parameters.falcon_mamba_projections,
    "parameters.falcon_h1_projections": parameters.falcon_h1_projections,
    "stages.ssd_stages": stages.ssd_stages,
    "stages.selective_scan_stages": stages.selective_scan_stages,
    "stages.siso_stages": stages.siso_stages,
    "blocks.mlp_block": blocks.mlp_block,
    "blocks.s4_block": blocks.s4_block,
    "blocks.s4_block_step": blocks.s4_block_step,
}


@dataclass(frozen=True)
class Truth:
    """The arguments of a case in one dtype, its golden outputs and their scales.

    Golden is computed from the rounded arguments in extended precision and rounded to
    float64 (complex128) once; scales are in units of eps of the candidate's dtype.
    """

    dtype: np.dtype
    arguments: dict[str, Any]
    outputs: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]


@lru_cache(maxsize=64)
def truth(case: Case, dtype: np.dtype) -> Truth:
    """Return the truth of a case for candidates that compute in `dtype`."""
    op = OPS[case.op]
    arguments = case.arguments(dtype)
    golden = implementation(op, "ssmref.golden")
    exact = flatten(op, golden(**rounded(arguments, np.dtype(np.longdouble))))
    wide = rounded(arguments, np.dtype(np.float64))
    scales = SCALES[case.op](wide)
    return Truth(
        dtype,
        arguments,
        {name: _double(array) for name, array in exact.items()},
        dict(zip(op.outputs, scales, strict=True)),
    )


def _double(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
