"""The Mamba-3 block: official ``modules/mamba3.py``."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from . import _parts as parts
from ._parts import GOLDEN, Ops, Parameters, Shapes, fold, linear, split

ACTIVATIONS = {"heavy_tail": parts.heavy_tail, "softplus": parts.softplus}


@dataclass(frozen=True)
class Mamba3Config:
    """The sizes and options of a Mamba-3 block, by their official names.

    `a_activation` is "softplus" for checkpoints older than pull request 962 of
    state-spaces/mamba. `rope_pairing` is "pairwise" (SISO) or "halved" (MIMO) where
    None: the official kernels differ.
    """

    d_model: int
    d_state: int = 128
    expand: float = 2
    headdim: int = 64
    ngroups: int = 1
    rope_fraction: float = 0.5
    is_mimo: bool = False
    mimo_rank: int = 4
    is_outproj_norm: bool = False
    norm_eps: float = 1e-5
    A_floor: float = 1e-4
    a_activation: Literal["heavy_tail", "softplus"] = "heavy_tail"
    rope_pairing: Literal["pairwise", "halved"] | None = None
    dt_min: float = 1e-3
    dt_max: float = 0.1
    dt_init_floor: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse sizes and options that do not fit together."""
        parts.need_positive(self, "d_model", "d_state", "headdim", "ngroups")
        parts.need_positive(self, "mimo_rank")
        parts.need(self.d_state % 2 == 0, self, "d_state", "be even")
        parts.need(
            self.nheads * self.headdim == self.d_inner > 0,
            self,
            "headdim",
            f"divide d_model * expand = {self.d_inner}",
        )
        heads, fractions, pairings = self.nheads, (0.5, 1), (None, "pairwise", "halved")
        parts.need(
            heads % self.ngroups == 0, self, "ngroups", f"divide the {heads} heads"
        )
        for field, known in (
            ("rope_fraction", fractions),
            ("a_activation", tuple(ACTIVATIONS)),
            ("rope_pairing", pairings),
        ):
            one_of = f"be one of {known}"
            parts.need(getattr(self, field) in known, self, field, one_of)

    @property
    def d_inner(self) -> int:
        """Channels between the two projections."""
        return int(self.expand * self.d_model)

    @property
    def nheads(self) -> int:
        """Heads."""
        return self.d_inner // self.headdim

    @property
    def rank(self) -> int:
        """Inputs per head: mimo_rank, or 1 where is_mimo is off."""
        return self.mimo_rank if self.is_mimo else 1

    @property
    def angles(self) -> int:
        """Rotary pairs of the state."""
        return int(self.d_state * self.rope_fraction) // 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of z, x, B, C, dt, A, trap and angles in the input projection."""
        inner, heads = self.d_inner, self.nheads
        projected = self.rank * self.ngroups * self.d_state
        return (inner, inner, projected, projected, heads, heads, heads, self.angles)


class Mamba3Cache(NamedTuple):
    """What the next token needs: the state of the op (angle, ssm, k, v)."""

    ssm: Any


def mamba3_shapes(config: Mamba3Config) -> Shapes:
    """Return the shape of each parameter."""
    heads, rank, state = config.nheads, config.rank, config.d_state
    shapes: Shapes = {
        "in_proj.weight": (sum(config.widths), config.d_model),
        "dt_bias": (heads,),
        "B_bias": (heads, rank, state),
        "C_bias": (heads, rank, state),
        "B_norm.weight": (state,),
        "C_norm.weight": (state,),
        "D": (heads,),
        "out_proj.weight": (config.d_model, config.d_inner),
    }
    if config.is_mimo:
        per_rank = (heads, rank, config.headdim)
        shapes |= dict.fromkeys(("mimo_x", "mimo_z", "mimo_o"), per_rank)
    if config.is_outproj_norm:
        shapes["norm.weight"] = (config.d_inner,)
    return shapes


def init_mamba3(
    rng: np.random.Generator, config: Mamba3Config, dtype: Any = np.float64
) -> dict[str, np.ndarray]:
    """Return random parameters: dt log-uniform, ranks averaged, the rest 1."""
    values = parts.initial(rng, mamba3_shapes(config))
    values["dt_bias"] = parts.initial_dt_bias(rng, config, config.nheads)
    if config.is_mimo:
        values["mimo_x"] /= config.rank
        values["mimo_o"] /= config.rank
    return parts.cast(values, dtype)


def mamba3_block(
    parameters: Parameters,
    x: Any,
    config: Mamba3Config,
    *,
    cache: Mamba3Cache | None = None,
    cu_seqlens: Any = None,
    ops: str = GOLDEN,
) -> tuple[Any, Mamba3Cache]:
    """Run a Mamba-3 block over x (batch, length, d_model), from `cache` or from zero.

    ::

        z, x, B, C, dt, A, trap, angles = split(in_proj(x))
        B, C = rms_norm(B), rms_norm(C)                       over the state
        dt, A = softplus(dt + dt_bias), min(-heavy_tail(A), -A_floor)
        y = siso(x, dt, A, B, C, trap, angles, B_bias, C_bias, D, z)
        out = out_proj(y)

    ``mimo`` where is_mimo; B and C are then (ranks, groups, state). All heads share the
    angles. is_outproj_norm normalises each head before its gate. The cache continues
    the sequence with any number of tokens, which the official module does not offer.
    """
    cache = cache or Mamba3Cache(None)
    return _run(parameters, x, config, cache, Ops(ops, cu_seqlens=cu_seqlens))


def mamba3_block_step(
    parameters: Parameters,
    x: Any,
    config: Mamba3Config,
    cache: Mamba3Cache,
    *,
    ops: str = GOLDEN,
) -> tuple[Any, Mamba3Cache]:
    """Run `mamba3_block` on one token x (batch, d_model) by the step of its op."""
    return _run(parameters, x, config, cache, Ops(ops, step=True))


def _run(p: Parameters, x: Any, config: Mamba3Config, cache: Mamba3Cache, ops: Ops):
    parts.check(p, mamba3_shapes(config), x, config.d_model, ops)
    heads = (config.nheads, config.headdim)
    z, x, B, C, dt, A, trap, angles = split(linear(ops, x, p, "in_proj"), config.widths)
    activation = ACTIVATIONS[config.a_activation]
    y, ssm = ops.scan(
        "mamba3.mimo" if config.is_mimo else "mamba3.siso",
        fold(x, *heads),
        parts.softplus(dt + p["dt_bias"]),
        np.minimum(-activation(A), -config.A_floor),
        _projection(p, "B", B, config, ops),
        _projection(p, "C", C, config, ops),
        trap,
        np.repeat(angles[..., None, :], config.nheads, axis=-2),
        **_options(p, config),
        z=fold(z, *heads),
        state=cache.ssm,
    )
    y = y.reshape(*y.shape[:-2], config.d_inner)
    return linear(ops, y, p, "out_proj"), Mamba3Cache(ssm)


def _projection(p: Parameters, name: str, X: Any, config: Mamba3Config, ops: Ops):
    """Return B or C normalised, with an axis of ranks for MIMO only."""
    X = fold(X, config.rank, config.ngroups, config.d_state)
    X = ops.plain("layers.rms_norm", X, p[f"{name}_norm.weight"], eps=config.norm_eps)
    return X if config.is_mimo else X[..., 0, :, :]


def _options(p: Parameters, config: Mamba3Config) -> dict[str, Any]:
    default = "halved" if config.is_mimo else "pairwise"
    options = {
        "B_bias": p["B_bias"],
        "C_bias": p["C_bias"],
        "D": p["D"],
        "norm_eps": config.norm_eps,
        "pairing": config.rope_pairing or default,
    }
    if config.is_outproj_norm:
        options["norm_weight"] = p["norm.weight"].reshape(config.nheads, -1)
    if config.is_mimo:
        return options | {name: p[name] for name in ("mimo_x", "mimo_z", "mimo_o")}
    return options | {name: p[name][:, 0] for name in ("B_bias", "C_bias")}
