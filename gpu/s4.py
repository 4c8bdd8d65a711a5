"""S4 on the GPU: see `ssmref.golden.s4`."""

from itertools import pairwise

import numpy as np

from . import _diagonal as diagonal
from . import _s4_dense as matrices
from ._arrays import ready
from ._cauchy import spectrum
from ._contract import at_least, checked
from ._cupy import cupy
from ._types import Array, Complex, Integer, Real, Wide
from .convolution import convolve

Sequence = Real[Array, "batch length channels"]
Token = Real[Array, "batch channels"]
PerChannel = Wide[Array, " channels"]
Diagonal = Complex[Array, "channels state"]
LowRank = Complex[Array, "ranks channels state"]
State = Complex[Array, "sequences channels state"]
SlotState = Complex[Array, "slots channels state"]
Bounds = Integer[Array, " bounds"]

# Parts of a sequence have to pay for a power of a dense matrix.
SHORTEST = 1024


@checked
def s4(
    u: Sequence,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    P: LowRank,
    *,
    D: PerChannel | None = None,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.s4.s4`, in the diagonal plus low-rank form: linear in the state.

    Time is cut where channels and sequences are too few for the GPU. A singular system,
    which needs Re A >= 0, gives NaN: an error would have to wait for the GPU.
    """
    system = _system(dt, A, B, C, P)
    return diagonal.scan(u, system, D, initial_state, cu_seqlens, SHORTEST)


@checked
def s4_step(
    u: Token,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    P: LowRank,
    state: SlotState,
    *,
    D: PerChannel | None = None,
    slots: Integer[Array, " batch"] | None = None,
) -> tuple[Token, SlotState]:
    """`golden.s4.s4_step`; a singular system gives NaN."""
    return diagonal.step(u, _system(dt, A, B, C, P), D, state, slots)


@checked
def s4_convolution(
    u: Sequence,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    P: LowRank,
    *,
    D: PerChannel | None = None,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.s4.s4_convolution`, sequence by sequence, with one kernel for all.

    The last states are those of the recurrence.
    """
    bounds = [0, u.shape[1]] if cu_seqlens is None else cu_seqlens.tolist()
    longest = max(max(b - a for a, b in pairwise(bounds)), 1)
    kernel = s4_kernel(dt, A, B, C, P, longest)
    more = None
    if initial_state is not None:
        more = _state_response(dt, A, C, P, initial_state, longest)
    u, y = ready(u), cupy().empty(u.shape, u.dtype)
    for row, (first, last) in enumerate(pairwise(bounds)):
        rows = slice(None) if cu_seqlens is None else slice(row, row + 1)
        own = None if more is None else more[rows, :, : last - first]
        part = slice(first, last)
        convolve(u[:, part], kernel[:, : last - first], y[:, part], D, more=own)
    options = {"initial_state": initial_state, "cu_seqlens": cu_seqlens}
    return y, s4(u, dt, A, B, C, P, **options)[1]


@checked
def s4_kernel(
    dt: PerChannel, A: Diagonal, B: Diagonal, C: Diagonal, P: LowRank, length: int
) -> Wide[Array, "channels length"]:
    """`golden.s4.s4_kernel`."""
    C_tilde = s4_c_tilde(dt, A, C, P, length)
    return s4_kernel_from_tilde(dt, A, B, C_tilde, P, length)


@checked
def s4_kernel_from_tilde(
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C_tilde: Diagonal,
    P: LowRank,
    length: int,
) -> Wide[Array, "channels length"]:
    """`golden.s4.s4_kernel_from_tilde`: Cauchy sums that keep their digits near poles.

    The sign of Re A is looked at: this waits for the GPU.
    """
    at_least("length", length, 1)
    cp = cupy()
    if bool(cp.any(A.real >= 0)):
        raise ValueError("A has real parts >= 0; the kernel needs them to be negative")
    left = cp.concatenate([C_tilde[None], P.conj()])
    right = cp.concatenate([B[None], P])
    return cp.fft.irfft(spectrum(dt, A, left, right, length), length)


@checked
def s4_c_tilde(
    dt: PerChannel, A: Diagonal, C: Diagonal, P: LowRank, length: int
) -> Diagonal:
    """`golden.s4.s4_c_tilde`, by repeated squaring of real matrices in float64."""
    at_least("length", length, 0)
    return matrices.truncated(dt, A, C, P, length)


@checked
def s4_state_response(
    dt: PerChannel,
    A: Diagonal,
    C: Diagonal,
    P: LowRank,
    state: Complex[Array, "batch channels state"],
    length: int,
) -> Wide[Array, "batch length channels"]:
    """`golden.s4.s4_state_response`: a kernel for each row of the batch."""
    response = _state_response(dt, A, C, P, state, length)
    return ready(response.swapaxes(1, 2))


def _state_response(dt, A, C, P, state, length: int) -> Array:
    """Return the response as (batch, channels, length)."""
    cp = cupy()
    C_tilde = s4_c_tilde(dt, A, C, P, length)
    weights = 2 * cp.real(cp.sum(P.conj() * state[:, None], axis=-1))
    low_rank = cp.sum(P * weights[..., None], axis=1)
    inputs = (1 / dt[:, None] + A / 2) * state - low_rank / 2
    made = cp.empty((len(state), len(A), length), np.float32)
    for row, B in enumerate(inputs):
        made[row] = s4_kernel_from_tilde(dt, A, B, C_tilde, P, length)
    return made


def _system(dt, A, B, C, P) -> diagonal.System:
    planes = diagonal.planes(dt, A, B, C, P, "bilinear")
    power = matrices.dense_power(dt, A, P)
    return diagonal.System(planes, len(P), True, power)
