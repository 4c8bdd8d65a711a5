"""The Mamba-2 block: official ``modules/mamba2.py``."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import _parts as parts
from ._parts import GOLDEN, Ops, Parameters, Shapes, fold, linear, split


@dataclass(frozen=True)
class Mamba2Config:
    """The sizes and options of a Mamba-2 block, by their official names.

    `d_ssm` channels go through the state space model, the rest of d_inner through a
    gated slice without one. `heads` may be given as a check on d_ssm / headdim.
    """

    d_model: int
    d_state: int = 128
    d_conv: int = 4
    expand: float = 2
    headdim: int = 64
    d_ssm: int | None = None
    heads: int | None = None
    ngroups: int = 1
    A_init_range: tuple[float, float] = (1.0, 16.0)
    D_has_hdim: bool = False
    rmsnorm: bool = True
    norm_before_gate: bool = False
    norm_eps: float = 1e-5
    dt_min: float = 1e-3
    dt_max: float = 0.1
    dt_init_floor: float = 1e-4
    dt_limit: tuple[float, float] = (0.0, math.inf)
    bias: bool = False
    conv_bias: bool = True

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        parts.need_positive(self, "d_model", "d_state", "d_conv", "headdim", "ngroups")
        inner, ssm = self.d_inner, self.width
        parts.need(1 <= ssm <= inner, self, "d_ssm", f"be from 1 to d_inner = {inner}")
        parts.need(
            self.nheads * self.headdim == ssm,
            self,
            "headdim" if self.heads is None else "heads",
            f"make heads * headdim = d_ssm = {ssm} (by default d_model * expand); "
            f"heads is {self.nheads} and headdim {self.headdim}",
        )
        parts.need(
            self.nheads % self.ngroups == 0,
            self,
            "ngroups",
            f"divide the {self.nheads} heads",
        )

    @property
    def d_inner(self) -> int:
        """Channels between the two projections."""
        return int(self.expand * self.d_model)

    @property
    def width(self) -> int:
        """Channels of the state space model: d_ssm, or all of d_inner."""
        return self.d_inner if self.d_ssm is None else self.d_ssm

    @property
    def nheads(self) -> int:
        """Heads of the state space model."""
        return self.width // self.headdim if self.heads is None else self.heads

    @property
    def d_mlp(self) -> int:
        """Channels of the gated slice that bypasses the state space model."""
        return self.d_inner - self.width

    @property
    def conv_dim(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.width + 2 * self.ngroups * self.d_state


class Mamba2Cache(NamedTuple):
    """What the next token needs: raw inputs of the convolution and the state."""

    conv: Any
    ssm: Any


def mamba2_shapes(config: Mamba2Config) -> Shapes:
    """Return the shape of each parameter."""
    width, heads, conv = config.width, config.nheads, config.conv_dim
    projected = 2 * config.d_mlp + width + conv + heads
    shapes: Shapes = {
        "in_proj.weight": (projected, config.d_model),
        "conv1d.weight": (conv, 1, config.d_conv),
        "conv1d.bias": (conv,),
        "dt_bias": (heads,),
        "A_log": (heads,),
        "D": (width,) if config.D_has_hdim else (heads,),
        "norm.weight": (width,),
        "out_proj.weight": (config.d_model, config.d_inner),
    }
    if not config.conv_bias:
        del shapes["conv1d.bias"]
    if not config.rmsnorm:
        del shapes["norm.weight"]
    if config.bias:
        shapes |= {"in_proj.bias": (projected,), "out_proj.bias": (config.d_model,)}
    return shapes


def init_mamba2(
    rng: np.random.Generator, config: Mamba2Config, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Return random parameters: A uniform in -A_init_range, dt log-uniform, D = 1."""
    values = parts.initial(rng, mamba2_shapes(config))
    values["A_log"] = np.log(rng.uniform(*config.A_init_range, config.nheads))
    values["dt_bias"] = parts.initial_dt_bias(rng, config, config.nheads)
    return parts.cast(values, dtype)


def mamba2_block(
    parameters: Parameters,
    x: Any,
    config: Mamba2Config,
    *,
    cache: Mamba2Cache | None = None,
    cu_seqlens: Any = None,
    ops: str = GOLDEN,
) -> tuple[Any, Mamba2Cache]:
    """Run a Mamba-2 block over x (batch, length, d_model), from `cache` or from zero.

    ::

        z0, x0, z, xBC, dt = split(in_proj(x))
        x, B, C = split(silu(conv1d(xBC)))
        y = ssd(x, dt, -exp(A_log), B, C, D)
        y = rms_norm_gated(y, z)                 or y silu(z) where rmsnorm is off
        out = out_proj([silu(z0) x0, y])

    The norm has one group per group of B and C. The cache continues the sequence with
    any number of tokens. The official step ignores dt_limit and refuses D_has_hdim;
    here all paths are one.
    """
    cache = cache or Mamba2Cache(None, None)
    return _run(parameters, x, config, cache, Ops(ops, cu_seqlens=cu_seqlens))


def mamba2_block_step(
    parameters: Parameters,
    x: Any,
    config: Mamba2Config,
    cache: Mamba2Cache,
    *,
    ops: str = GOLDEN,
) -> tuple[Any, Mamba2Cache]:
    """Run `mamba2_block` on one token x (batch, d_model) by the steps of its ops."""
    return _run(parameters, x, config, cache, Ops(ops, step=True))


def _run(p: Parameters, x: Any, config: Mamba2Config, cache: Mamba2Cache, ops: Ops):
    parts.check(p, mamba2_shapes(config), x, config.d_model, ops)
    mlp, width, heads = config.d_mlp, config.width, config.nheads
    widths = (mlp, mlp, width, config.conv_dim, heads)
    z0, x0, z, xBC, dt = split(linear(ops, x, p, "in_proj"), widths)
    xBC, conv = parts.convolve(ops, xBC, p, cache.conv, "silu")
    y, ssm = _ssd(p, xBC, dt, z, config, cache.ssm, ops)
    if config.rmsnorm:
        y = ops.plain(
            "layers.rms_norm_gated",
            y,
            p["norm.weight"],
            z,
            eps=config.norm_eps,
            group_size=width // config.ngroups,
            norm_before_gate=config.norm_before_gate,
        )
    if mlp:
        y = np.concatenate([parts.silu(z0) * x0, y], axis=-1)
    return linear(ops, y, p, "out_proj"), Mamba2Cache(conv, ssm)


def _ssd(p: Parameters, xBC: Any, dt: Any, z: Any, config: Mamba2Config, state, ops):
    groups, heads = config.ngroups, (config.nheads, config.headdim)
    projected = groups * config.d_state
    x, B, C = split(xBC, (config.width, projected, projected))
    y, state = ops.scan(
        "mamba2.ssd",
        fold(x, *heads),
        dt,
        -np.exp(p["A_log"]),
        fold(B, groups, config.d_state),
        fold(C, groups, config.d_state),
        D=p["D"].reshape(heads) if config.D_has_hdim else p["D"],
        z=None if config.rmsnorm else fold(z, *heads),
        dt_bias=p["dt_bias"],
        dt_softplus=True,
        dt_limit=config.dt_limit,
        state=state,
    )
    return y.reshape(*y.shape[:-2], config.width), state
