"""S4 on the CPU: see `ssmref.golden.s4`."""

from itertools import pairwise
from typing import Any

import numpy as np
from scipy import fft

from ..contract import at_least
from . import _s4_kernels as kernels
from ._arguments import (
    boundaries,
    checked,
    flat_tokens,
    next_state,
    optional,
    parts,
    ready,
    rows_of,
)
from ._cauchy import spectrum
from ._s4_step import step
from ._s4_system import dense_of
from ._types import Complex, Integer, Real
from .convolution import fft_convolution
from .toolkit.threads import threads

Sequence = Real[np.ndarray, "batch length channels"]
Token = Real[np.ndarray, "batch channels"]
PerChannel = Real[np.ndarray, " channels"]
Diagonal = Complex[np.ndarray, "channels state"]
LowRank = Complex[np.ndarray, "ranks channels state"]
State = Complex[np.ndarray, "sequences channels state"]
SlotState = Complex[np.ndarray, "slots channels state"]
Bounds = Integer[np.ndarray, " bounds"]


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

    Time is cut where channels and sequences are too few for the threads.
    """
    y, state = kernels.scan(
        *(flat_tokens(u), ready(dt), parts(A), parts(B), parts(C), optional(D, u)),
        *(parts(P), boundaries(u, cu_seqlens), optional(initial_state, A, *A.shape)),
    )
    return y.reshape(u.shape), state


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
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Token, SlotState]:
    """`golden.s4.s4_step`: the system is found and used one channel at a time."""
    new = next_state(state, slots)
    y = step(
        *(ready(u), ready(dt), parts(A), parts(B), parts(C), optional(D, u)),
        *(parts(P), parts(state), parts(new), rows_of(slots, len(u))),
    )
    return y, new


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
    bounds = cu_seqlens if cu_seqlens is not None else np.array([0, u.shape[1]])
    longest = int(np.diff(bounds).max())
    kernel = s4_kernel(dt, A, B, C, P, max(longest, 1))
    y = np.empty(u.shape, u.dtype)
    for first, last in pairwise(bounds.tolist()):
        taps = kernel[:, : last - first]
        y[:, first:last] = fft_convolution(u[:, first:last], taps, D=D)
    options = {"initial_state": initial_state, "cu_seqlens": cu_seqlens}
    if initial_state is not None:
        y += s4(np.zeros_like(u), dt, A, B, C, P, **options)[0]
    return y, s4(u, dt, A, B, C, P, **options)[1]


@checked
def s4_kernel(
    dt: PerChannel, A: Diagonal, B: Diagonal, C: Diagonal, P: LowRank, length: int
) -> Real[np.ndarray, "channels length"]:
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
) -> Real[np.ndarray, "channels length"]:
    """`golden.s4.s4_kernel_from_tilde`: Cauchy sums over pairs, in double precision."""
    at_least("length", length, 1)
    if np.any(np.real(A) >= 0):
        raise ValueError("A has real parts >= 0; the kernel needs them to be negative")
    left = np.concatenate([C_tilde[None], np.conj(P)]).astype(np.complex128)
    right = np.concatenate([B[None], P]).astype(np.complex128)
    half = spectrum(dt.astype(np.float64), A, left, right, length, dt.dtype)
    kernel: Any = fft.irfft(half, length, overwrite_x=True, workers=threads())
    return kernel


@checked
def s4_c_tilde(
    dt: PerChannel, A: Diagonal, C: Diagonal, P: LowRank, length: int
) -> Diagonal:
    """`golden.s4.s4_c_tilde`, by repeated squaring of real matrices."""
    at_least("length", length, 0)
    row = np.concatenate([np.real(C), -np.imag(C)], axis=1).astype(np.float64)
    kept, square = row, dense_of(ready(dt), parts(A), parts(P))
    while length:
        if length % 2:
            kept = np.einsum("dm,dmn->dn", kept, square)
        length //= 2
        square = square @ square if length else square
    re, im = np.split(row - kept, 2, axis=1)
    return (re - 1j * im).astype(A.dtype)
