"""The Mamba-1 block: official ``modules/mamba_simple.py``."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from . import _parts as parts
from ._parts import GOLDEN, Ops, Parameters, Shapes, linear, linear_of, split


@dataclass(frozen=True)
class Mamba1Config:
    """The sizes of a Mamba-1 block, by their official names."""

    d_model: int
    d_state: int = 16
    d_conv: int = 4
    expand: float = 2
    dt_rank: int | Literal["auto"] = "auto"
    dt_min: float = 1e-3
    dt_max: float = 0.1
    dt_init_floor: float = 1e-4
    conv_bias: bool = True
    bias: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that no block has."""
        parts.need_positive(self, "d_model", "d_state", "d_conv")
        parts.need(self.d_inner >= 1, self, "expand", "give at least one channel")
        parts.need(self.rank >= 1, self, "dt_rank", "be at least 1 or 'auto'")

    @property
    def d_inner(self) -> int:
        """Channels of the scan."""
        return int(self.expand * self.d_model)

    @property
    def rank(self) -> int:
        """Width of dt before its projection: ceil(d_model / 16) where "auto"."""
        return -(-self.d_model // 16) if self.dt_rank == "auto" else self.dt_rank


class Mamba1Cache(NamedTuple):
    """What the next token needs: raw inputs of the convolution and the state."""

    conv: Any
    ssm: Any


def mamba1_shapes(config: Mamba1Config) -> Shapes:
    """Return the shape of each parameter."""
    inner, state, rank = config.d_inner, config.d_state, config.rank
    shapes: Shapes = {
        "in_proj.weight": (2 * inner, config.d_model),
        "conv1d.weight": (inner, 1, config.d_conv),
        "conv1d.bias": (inner,),
        "x_proj.weight": (rank + 2 * state, inner),
        "dt_proj.weight": (inner, rank),
        "dt_proj.bias": (inner,),
        "A_log": (inner, state),
        "D": (inner,),
        "out_proj.weight": (config.d_model, inner),
    }
    if not config.conv_bias:
        del shapes["conv1d.bias"]
    if config.bias:
        shapes |= {"in_proj.bias": (2 * inner,), "out_proj.bias": (config.d_model,)}
    return shapes


def init_mamba1(
    rng: np.random.Generator, config: Mamba1Config, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Return random parameters: A = -(1 ... state), dt log-uniform, D = 1."""
    values = parts.initial(rng, mamba1_shapes(config))
    states = np.arange(1, config.d_state + 1)
    values["A_log"] = np.log(np.broadcast_to(states, values["A_log"].shape))
    values["dt_proj.bias"] = parts.initial_dt_bias(rng, config, config.d_inner)
    return parts.cast(values, dtype)


def mamba1_block(
    parameters: Parameters,
    x: Any,
    config: Mamba1Config,
    *,
    cache: Mamba1Cache | None = None,
    cu_seqlens: Any = None,
    ops: str = GOLDEN,
) -> tuple[Any, Mamba1Cache]:
    """Run a Mamba-1 block over x (batch, length, d_model), from `cache` or from zero.

    ::

        u, z = split(in_proj(x))
        u = silu(conv1d(u))
        dt, B, C = split(x_proj(u))
        y = selective_scan(u, dt_proj(dt), -exp(A_log), B, C, D, z)
        out = out_proj(y)

    The bias of dt_proj is added inside the scan, before softplus. The cache continues
    the sequence with any number of tokens.
    """
    cache = cache or Mamba1Cache(None, None)
    return _run(parameters, x, config, cache, Ops(ops, cu_seqlens=cu_seqlens))


def mamba1_block_step(
    parameters: Parameters,
    x: Any,
    config: Mamba1Config,
    cache: Mamba1Cache,
    *,
    ops: str = GOLDEN,
) -> tuple[Any, Mamba1Cache]:
    """Run `mamba1_block` on one token x (batch, d_model) by the steps of its ops."""
    return _run(parameters, x, config, cache, Ops(ops, step=True))


def _run(p: Parameters, x: Any, config: Mamba1Config, cache: Mamba1Cache, ops: Ops):
    parts.check(p, mamba1_shapes(config), x, config.d_model, ops)
    u, z = split(linear(ops, x, p, "in_proj"), (config.d_inner, config.d_inner))
    u, conv = parts.convolve(ops, u, p, cache.conv, "silu")
    widths = (config.rank, config.d_state, config.d_state)
    dt, B, C = split(linear(ops, u, p, "x_proj"), widths)
    y, ssm = ops.scan(
        "mamba1.selective_scan",
        u,
        linear_of(ops.package)(dt, p["dt_proj.weight"], None),
        -np.exp(p["A_log"]),
        B,
        C,
        D=p["D"],
        z=z,
        dt_bias=p["dt_proj.bias"],
        dt_softplus=True,
        state=cache.ssm,
    )
    return linear(ops, y, p, "out_proj"), Mamba1Cache(conv, ssm)
