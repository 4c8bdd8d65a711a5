"""The table of ops: what every implementation offers under one name.

An implementation is a package, known as a string; nothing is imported before use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Op:
    """A mathematical function with one name and one signature.

    `forms` are the suffixes of its other golden forms; `outputs` names what it
    returns, in order, where a state has parts as ``final_state.part``.
    """

    module: str
    function: str
    outputs: tuple[str, ...]
    forms: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that users type: ``mamba2.ssd``."""
        return f"{self.module}.{self.function}"


Y = ("y",)
Y_STATE = ("y", "final_state")
MAMBA3 = (
    "y",
    "final_state.angle",
    "final_state.ssm",
    "final_state.k",
    "final_state.v",
)
SSD_STAGES = ("dt", "log_decay", "chunk_states", "entering_states", *Y_STATE)
SCAN_STAGES = ("dt", "decay", "drive", "states", *Y_STATE)
SISO_STAGES = (
    *("turn", "gamma", "scale", "q", "k", "log_decay", "entering_states"),
    *MAMBA3,
)
SERVE = ("y", "final_state.conv", "final_state.ssm")

_OPS = (
    Op("layers", "causal_conv1d", Y_STATE, ("fft",)),
    Op("layers", "causal_conv1d_step", Y_STATE),
    Op("layers", "causal_conv1d_step_circular", Y_STATE),
    Op("layers", "rms_norm", Y),
    Op("layers", "rms_norm_gated", Y),
    Op("layers", "layer_norm", Y),
    Op(
        "mamba1",
        "selective_scan",
        Y_STATE,
        ("hillis_steele", "blelloch", "chunked", "attention"),
    ),
    Op("mamba1", "selective_scan_step", Y_STATE),
    Op("mamba2", "ssd", Y_STATE, ("quadratic", "chunked")),
    Op("mamba2", "ssd_step", Y_STATE),
    Op("mamba3", "siso", MAMBA3, ("chunked", "rotating")),
    Op("mamba3", "siso_step", MAMBA3),
    Op("mamba3", "mimo", MAMBA3, ("chunked", "rotating")),
    Op("mamba3", "mimo_step", MAMBA3),
    Op("s4", "s4", Y_STATE, ("convolution", "linear")),
    Op("s4", "s4_step", Y_STATE),
    Op("s4d", "s4d", Y_STATE, ("convolution", "blelloch")),
    Op("s4d", "s4d_step", Y_STATE),
    Op("s5", "s5", Y_STATE, ("convolution", "blelloch")),
    Op("s5", "s5_step", Y_STATE),
    Op(
        "h3",
        "h3",
        ("y", "final_state.shift", "final_state.ssm"),
        ("convolution", "blelloch"),
    ),
    Op("h3", "h3_step", ("y", "final_state.shift", "final_state.ssm")),
    Op(
        "attention",
        "attention",
        ("y", "final_state.k", "final_state.v"),
        ("quadratic", "blocked"),
    ),
    Op("attention", "attention_step", ("y", "final_state.k", "final_state.v")),
    Op("caches", "serve", SERVE, ("stepwise",)),
    Op("caches", "snapshots", ("states",), ("blockwise",)),
    Op("parameters", "mamba_rate", ("A",)),
    Op("parameters", "mamba2_step_size", ("dt",)),
    Op("parameters", "mamba3_rate", ("A",)),
    Op("parameters", "falcon_mamba_projections", ("dt", "B", "C")),
    Op("parameters", "falcon_h1_projections", ("z", "x", "B", "C", "dt")),
    Op("stages", "ssd_stages", SSD_STAGES, ("passing",)),
    Op("stages", "selective_scan_stages", SCAN_STAGES, ("blelloch",)),
    Op("stages", "siso_stages", SISO_STAGES, ("scaled",)),
    Op("blocks", "mlp_block", ("y", "residual"), ("folded",)),
    Op("blocks", "s4_block", Y_STATE, ("convolution", "blelloch")),
    Op("blocks", "s4_block_step", Y_STATE),
)
OPS: dict[str, Op] = {op.name: op for op in _OPS}


def implementation(op: Op, package: str) -> Callable:
    """Import `op` from `package`, for example ``ssmref.golden``.

    Raises ImportError where the package or module is missing and AttributeError
    where the module does not offer the op.
    """
    return getattr(import_module(f"{package}.{op.module}"), op.function)
