"""Halves of blocks: what stands around a state space model, with what it hands on.

Mistakes in the wiring of a block are invisible to the ops inside. These are the parts
of the official blocks of Mamba and S4 where such mistakes were made.
"""

import numpy as np

from ._contract import at_least, checked, in_slots, separately
from ._types import Complex, Integer, Real
from .gaussian import gelu
from .layers import rms_norm, sigmoid, silu
from .s4d import s4d, s4d_blelloch, s4d_convolution, s4d_step

Sequence = Real[np.ndarray, "batch length channels"]
Token = Real[np.ndarray, "batch channels"]
PerChannel = Real[np.ndarray, " channels"]
Stacked = Real[np.ndarray, "projections channels"]
Diagonal = Complex[np.ndarray, "channels state"]
State = Complex[np.ndarray, "sequences channels state"]
SlotState = Complex[np.ndarray, "slots channels state"]
Bounds = Integer[np.ndarray, " bounds"]


@checked
def mlp_block(
    hidden: Sequence,
    residual: Sequence,
    norm_weight: PerChannel,
    fc1: Stacked,
    fc2: Real[np.ndarray, "channels inner"],
    *,
    eps: float = 1e-5,
) -> tuple[Sequence, Sequence]:
    """Run the second half of a Mamba block: add, norm, gated MLP.

    ::

        residual' = hidden + residual
        up, gate = fc1 rms_norm(residual') norm_weight        the first half is up
        y = fc2 (up silu(gate))

    The residual is handed on beside y and not yet added to it: the next block begins
    by adding both. Official ``Block.forward`` with a ``GatedMLP``, which has no biases.
    The official sum may be in float32 while y is in a shorter dtype. Raises ValueError
    where the rows of fc1 are not twice the columns of fc2.
    """
    residual = hidden + residual
    normed = rms_norm(residual, norm_weight, eps=eps)
    up, gate = _halves("fc1", fc1, normed, fc2.shape[1])
    return np.einsum("de,bte->btd", fc2, up * silu(gate)), residual


@checked
def mlp_block_folded(
    hidden: Sequence,
    residual: Sequence,
    norm_weight: PerChannel,
    fc1: Stacked,
    fc2: Real[np.ndarray, "channels inner"],
    *,
    eps: float = 1e-5,
) -> tuple[Sequence, Sequence]:
    """`mlp_block` with the norm behind fc1: its weight folded in, its root divided by.

    How fused kernels run it, since fc1 is linear.
    """
    at_least("eps", eps, 0)
    residual = hidden + residual
    square = np.einsum("btd,btd->bt", residual, residual) / max(len(norm_weight), 1)
    root = np.sqrt(square + residual.dtype.type(eps))[..., None]
    up, gate = _halves("fc1", fc1 * norm_weight, residual, fc2.shape[1])
    return np.einsum("de,bte->btd", fc2, up / root * silu(gate / root)), residual


@checked
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
    """Run S4D, an activation, and a gated linear unit that mixes the channels.

    ::

        y', x = s4d(u, dt, A, B, C, D)
        a, b = weight gelu(y') + bias                    the second half is the gate
        y = a sigmoid(b)

    The layer of S4D, Gu et al. 2022 (arXiv 2206.11893): official ``S4D`` of
    ``models/s4/s4d.py``, and ``S4Block`` with a diagonal kernel, its defaults GELU and
    GLU and neither gate nor bottleneck; no dropout. Zero-order hold. Raises ValueError
    where the rows of weight are not twice the channels.
    """
    if cu_seqlens is not None:
        return separately(s4_block, locals())
    y, state = s4d(u, dt, A, B, C, D=D, initial_state=initial_state)
    return _glu(gelu(y), weight, bias), state


@checked
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
    """Advance `s4_block` by one token. Official ``S4Block.step``."""
    if slots is not None:
        return in_slots(s4_block_step, locals())
    y, state = s4d_step(u, dt, A, B, C, state, D=D)
    return _glu(gelu(y), weight, bias), state


@checked
def s4_block_convolution(
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
    """`s4_block` by `s4d_convolution`: how the official code trains."""
    if cu_seqlens is not None:
        return separately(s4_block_convolution, locals())
    y, state = s4d_convolution(u, dt, A, B, C, D=D, initial_state=initial_state)
    return _glu(gelu(y), weight, bias), state


@checked
def s4_block_blelloch(
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
    """`s4_block` by `s4d_blelloch`, a parallel scan."""
    if cu_seqlens is not None:
        return separately(s4_block_blelloch, locals())
    y, state = s4d_blelloch(u, dt, A, B, C, D=D, initial_state=initial_state)
    return _glu(gelu(y), weight, bias), state


def _glu(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return one half of ``weight x + bias`` gated by the other."""
    size = x.shape[-1]
    a, b = _halves("weight", weight, x, size)
    return (a + bias[:size]) * sigmoid(b + bias[size:])


def _halves(name: str, weight: np.ndarray, x: np.ndarray, size: int):
    """Return the products of x with the first and the last `size` rows of a weight."""
    if len(weight) != 2 * size:
        raise ValueError(f"{name} has {len(weight)} rows; it needs 2 x {size}")
    y = np.einsum("ed,...d->...e", weight, x)
    return y[..., :size], y[..., size:]
