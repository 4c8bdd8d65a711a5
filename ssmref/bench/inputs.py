"""Inputs of the size of real models, from the portable generator, in any dtype.

Times do not depend on values as long as these are ordinary, so numbers are uniform
where a model's are normal: the generator then makes tens of millions in a second.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..conformance.random import seed_of, uniform
from ..conformance.vectors.parts import states
from ..ops import OPS

# By so much the numbers of the generator step; see `conformance.random`.
_STEP = 0x9E3779B97F4A7C15
_BLOCK = 2**20
# Half the width of the uniform distribution of variance 1.
_WIDTH = math.sqrt(3.0)
# Step sizes as the official models initialise them.
STEPS = (1e-3, 0.1)


class Numbers:
    """Arrays of one dtype; the numbers are those of `Draw.uniform` for this id.

    Empty ones have a size but take no memory: to predict what a workload takes.
    """

    def __init__(self, case_id: str, dtype: np.dtype, *, empty: bool = False):
        """Draw for a case of this id."""
        self.case_id, self.dtype, self.empty = case_id, dtype, empty

    def uniform(self, name: str, low: float, high: float, *shape: int) -> np.ndarray:
        """Return numbers in [low, high), in the dtype."""
        return self._filled(name, shape, lambda x: low + (high - low) * x)

    def steps(self, name: str, *shape: int) -> np.ndarray:
        """Return step sizes, their logarithms uniform."""
        low, high = np.log(STEPS)
        return self._filled(name, shape, lambda x: np.exp(low + (high - low) * x))

    def complex(self, name: str, *shape: int) -> np.ndarray:
        """Return complex numbers, each part of variance 1."""
        dtype = np.result_type(self.dtype, np.complex64)
        if self.empty:
            return np.broadcast_to(np.zeros((), dtype), shape)
        made = np.empty(shape, dtype)
        made.real = spread(self, name, *shape)
        made.imag = spread(self, f"{name}.imag", *shape)
        return made

    def _filled(
        self,
        name: str,
        shape: tuple[int, ...],
        scaled: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Fill an array block by block, so that nothing larger exists in float64."""
        if self.empty:
            return np.broadcast_to(np.zeros((), self.dtype), shape)
        made = np.empty(math.prod(shape), self.dtype)
        seed = seed_of(f"{self.case_id}#{name}")
        for start in range(0, made.size, _BLOCK):
            block = made[start : start + _BLOCK]
            block[:] = scaled(uniform((seed + start * _STEP) % 2**64, block.size))
        return made.reshape(shape)


def spread(source: Numbers, name: str, *shape: int) -> np.ndarray:
    """Return numbers of mean 0 and variance 1."""
    return source.uniform(name, -_WIDTH, _WIDTH, *shape)


def near_one(source: Numbers, name: str, *shape: int) -> np.ndarray:
    """Return numbers as weights that were 1 before training."""
    return source.uniform(name, 0.75, 1.25, *shape)


def _lead(batch: int, length: int | None) -> tuple[int, ...]:
    return (batch,) if length is None else (batch, length)


def selective_scan(
    source: Numbers,
    *,
    batch: int = 1,
    length: int | None = None,
    channels: int,
    state: int,
) -> dict[str, Any]:
    """A is -1 ... -state in each channel, as it is initialised."""
    lead = _lead(batch, length)
    row = -np.arange(1, state + 1, dtype=np.float64)
    dt = source.steps("dt", *lead, channels)
    arguments: dict[str, Any] = {
        "u": spread(source, "u", *lead, channels),
        "dt": dt,
        "A": np.tile(row, (channels, 1)).astype(dt.dtype),
        "B": spread(source, "B", *lead, state),
        "C": spread(source, "C", *lead, state),
        "D": near_one(source, "D", channels),
    }
    if length is None:
        arguments["state"] = spread(source, "state", batch, channels, state)
    return arguments


def ssd(
    source: Numbers,
    *,
    batch: int = 1,
    length: int | None = None,
    heads: int,
    headdim: int,
    state: int,
    groups: int = 1,
) -> dict[str, Any]:
    """A lies between -16 and -1, as it is initialised."""
    lead = _lead(batch, length)
    arguments: dict[str, Any] = {
        "x": spread(source, "x", *lead, heads, headdim),
        "dt": source.steps("dt", *lead, heads),
        "A": source.uniform("A", -16, -1, heads),
        "B": spread(source, "B", *lead, groups, state),
        "C": spread(source, "C", *lead, groups, state),
        "D": near_one(source, "D", heads),
    }
    if length is None:
        arguments["state"] = spread(source, "state", batch, heads, headdim, state)
    return arguments


def mamba3(
    source: Numbers,
    *,
    batch: int = 1,
    length: int | None = None,
    heads: int,
    headdim: int,
    state: int,
    groups: int = 1,
    angles: int,
    ranks: int | None = None,
) -> dict[str, Any]:
    """With the biases that the models always have, without gate and norm."""
    lead = _lead(batch, length)
    rank = () if ranks is None else (ranks,)
    arguments: dict[str, Any] = {
        "x": spread(source, "x", *lead, heads, headdim),
        "dt": source.steps("dt", *lead, heads),
        "A": source.uniform("A", -16, -1, *lead, heads),
        "B": spread(source, "B", *lead, *rank, groups, state),
        "C": spread(source, "C", *lead, *rank, groups, state),
        "trap": source.uniform("trap", -2, 2, *lead, heads),
        "angles": spread(source, "angles", *lead, heads, angles),
    }
    if length is None:
        kind = states(OPS["mamba3.siso_step"])["state"]
        arguments["state"] = kind(
            angle=source.uniform("state.angle", 0, 6.25, batch, heads, angles),
            ssm=spread(source, "state.ssm", batch, heads, headdim, state),
            k=spread(source, "state.k", batch, ranks or 1, heads, state),
            v=spread(source, "state.v", batch, heads, headdim),
        )
    arguments |= {
        "B_bias": near_one(source, "B_bias", heads, *rank, state),
        "C_bias": near_one(source, "C_bias", heads, *rank, state),
        "D": near_one(source, "D", heads),
    }
    if ranks is not None:
        for name in ("mimo_x", "mimo_o"):
            arguments[name] = near_one(source, name, heads, ranks, headdim)
    return arguments


def causal_conv1d(
    source: Numbers,
    *,
    batch: int = 1,
    length: int | None = None,
    channels: int,
    width: int,
) -> dict[str, Any]:
    """With a bias and SiLU, as in Mamba-1 and Mamba-2."""
    arguments: dict[str, Any] = {
        "x": spread(source, "x", *_lead(batch, length), channels),
        "weight": source.uniform("weight", -0.5, 0.5, channels, width),
    }
    if length is None:
        arguments["state"] = spread(source, "state", batch, width - 1, channels)
    bias = source.uniform("bias", -0.5, 0.5, channels)
    return arguments | {"bias": bias, "activation": "silu"}


def rms_norm(
    source: Numbers, *, batch: int = 1, length: int, channels: int
) -> dict[str, Any]:
    """Rows of one width, and a weight."""
    return {
        "x": spread(source, "x", batch, length, channels),
        "weight": near_one(source, "weight", channels),
    }


def rms_norm_gated(
    source: Numbers, *, batch: int = 1, length: int, channels: int
) -> dict[str, Any]:
    """As `rms_norm`, and a gate."""
    arguments = rms_norm(source, batch=batch, length=length, channels=channels)
    return arguments | {"z": spread(source, "z", batch, length, channels)}


def attention(
    source: Numbers,
    *,
    batch: int = 1,
    length: int | None = None,
    heads: int,
    headdim: int,
    cached: int | None = None,
) -> dict[str, Any]:
    """As many heads of keys as of queries, no rotation."""
    shape = (*_lead(batch, length), heads, headdim)
    arguments: dict[str, Any] = {n: spread(source, n, *shape) for n in ("q", "k", "v")}
    if cached is not None:
        cache = (batch, cached, heads, headdim)
        kind = states(OPS["attention.attention_step"])["state"]
        arguments["state"] = kind(
            k=spread(source, "state.k", *cache), v=spread(source, "state.v", *cache)
        )
    return arguments


def s4(
    source: Numbers,
    *,
    batch: int = 1,
    length: int | None = None,
    channels: int,
    state: int,
    ranks: int | None = None,
) -> dict[str, Any]:
    """The eigenvalues of S4D-Lin (arXiv 2206.11893, section 4.3), half of each pair.

    With `ranks` also the low-rank term of S4.
    """
    row = -0.5 + 1j * np.pi * np.arange(state)
    C = source.complex("C", channels, state)
    arguments: dict[str, Any] = {
        "u": spread(source, "u", *_lead(batch, length), channels),
        "dt": source.steps("dt", channels),
        "A": np.tile(row, (channels, 1)).astype(C.dtype),
        "B": source.complex("B", channels, state),
        "C": C,
    }
    if ranks is not None:
        low = source.uniform("P", -0.5, 0.5, ranks, channels, state)
        arguments["P"] = low.astype(C.dtype)
    if length is None:
        arguments["state"] = source.complex("state", batch, channels, state)
    return arguments | {"D": near_one(source, "D", channels)}


def s5_step(
    source: Numbers, *, batch: int = 1, inputs: int, outputs: int, state: int
) -> dict[str, Any]:
    """One system with the eigenvalues of S4D-Lin."""
    C = source.complex("C", outputs, state)
    row = -0.5 + 1j * np.pi * np.arange(state)
    return {
        "u": spread(source, "u", batch, inputs),
        "dt": source.steps("dt", state),
        "A": row.astype(C.dtype),
        "B": source.complex("B", state, inputs),
        "C": C,
        "state": source.complex("state", batch, state),
        "D": near_one(source, "D", outputs),
    }


def h3_step(
    source: Numbers, *, batch: int = 1, heads: int, state: int, taps: int
) -> dict[str, Any]:
    """Heads of one channel, as the published models have."""
    diagonal = s4(source, batch=batch, channels=heads, state=state)
    kind = states(OPS["h3.h3_step"])["state"]
    ssm = source.complex("state.ssm", batch, heads, 1, 1, state)
    return {
        **{name: spread(source, name, batch, heads) for name in ("q", "k", "v")},
        **{name: diagonal[name] for name in ("dt", "A", "B", "C")},
        "shift_C": spread(source, "shift_C", heads, taps),
        "state": kind(shift=spread(source, "shift", batch, heads, taps), ssm=ssm),
        "shift_D": near_one(source, "shift_D", heads),
        "D": near_one(source, "D", heads),
    }


INPUTS: dict[str, Callable[..., dict[str, Any]]] = {
    "mamba1.selective_scan": selective_scan,
    "mamba1.selective_scan_step": selective_scan,
    "mamba2.ssd": ssd,
    "mamba2.ssd_step": ssd,
    "mamba3.siso": mamba3,
    "mamba3.siso_step": mamba3,
    "mamba3.mimo": mamba3,
    "mamba3.mimo_step": mamba3,
    "layers.causal_conv1d": causal_conv1d,
    "layers.causal_conv1d_step": causal_conv1d,
    "layers.rms_norm": rms_norm,
    "layers.rms_norm_gated": rms_norm_gated,
    "attention.attention": attention,
    "attention.attention_step": attention,
    "s4.s4": s4,
    "s4.s4_step": s4,
    "s4d.s4d": s4,
    "s4d.s4d_step": s4,
    "s5.s5_step": s5_step,
    "h3.h3_step": h3_step,
}
