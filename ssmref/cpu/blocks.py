"""Halves of blocks on the CPU: see `ssmref.golden.blocks`."""

import math

import numpy as np

from . import linear as maps
from ._arguments import checked, ready
from ._blocks_kernels import activate, gated
from ._types import Complex, Integer, Real
from .layers import rms_norm
from .s4d import s4d, s4d_step

Sequence = Real[np.ndarray, "batch length channels"]
Token = Real[np.ndarray, "batch channels"]
PerChannel = Real[np.ndarray, " channels"]
Stacked = Real[np.ndarray, "projections channels"]
Diagonal = Complex[np.ndarray, "channels state"]
State = Complex[np.ndarray, "sequences channels state"]
SlotState = Complex[np.ndarray, "slots channels state"]
Bounds = Integer[np.ndarray, " bounds"]


@checked
@np.errstate(all="ignore")
def mlp_block(
    hidden: Sequence,
    residual: Sequence,
    norm_weight: PerChannel,
    fc1: Stacked,
    fc2: Real[np.ndarray, "channels inner"],
    *,
    eps: float = 1e-5,
) -> tuple[Sequence, Sequence]:
    """`golden.blocks.mlp_block`, by products of BLAS over all tokens."""
    residual = ready(hidden) + ready(residual)
    normed = rms_norm(residual, norm_weight, eps=eps)
    _check_rows("fc1", fc1, fc2.shape[1])
    inner = _gated(normed, fc1, np.empty(0, fc1.dtype), linear=True)
    return _product(inner, fc2).reshape(residual.shape), residual


@checked
@np.errstate(all="ignore")
def s4_block(
    u: Sequence,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    weight: Stacked,
    bias: Real[np.ndarray, " projections"],
    *,
    D: PerChannel | None = None,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.blocks.s4_block`: S4D, then products of BLAS over all tokens."""
    y, state = s4d(
        *(u, dt, A, B, C), D=D, initial_state=initial_state, cu_seqlens=cu_seqlens
    )
    return _glu(y, weight, bias), state


@checked
@np.errstate(all="ignore")
def s4_block_step(
    u: Token,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    weight: Stacked,
    bias: Real[np.ndarray, " projections"],
    state: SlotState,
    *,
    D: PerChannel | None = None,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Token, SlotState]:
    """`golden.blocks.s4_block_step`: a step of S4D, then a product of BLAS."""
    y, state = s4d_step(u, dt, A, B, C, state, D=D, slots=slots)
    y = _glu(y, weight, bias)
    if slots is not None:
        y[slots < 0] = 0  # the bias would make something of padding
    return y, state


def _glu(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return one half of ``weight gelu(x) + bias`` gated by the other."""
    _check_rows("weight", weight, x.shape[-1])
    x = ready(x)
    activate(x)
    return _gated(x, weight, ready(bias), linear=False)


def _check_rows(name: str, weight: np.ndarray, size: int) -> None:
    if len(weight) != 2 * size:
        raise ValueError(f"{name} has {len(weight)} rows; it needs 2 x {size}")


def _gated(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, linear: bool
) -> np.ndarray:
    """Return one half of ``weight x + bias`` gated by the other."""
    y = gated(_product(x, weight), bias, linear=linear)
    return y.reshape(*x.shape[:-1], y.shape[1])


def _product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return ``weight x`` of all tokens, (tokens, rows of weight)."""
    tokens = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return maps.linear(tokens, weight)
