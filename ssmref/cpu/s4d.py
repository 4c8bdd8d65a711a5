"""S4D on the CPU: see `ssmref.golden.s4d`."""

from itertools import pairwise

import numpy as np

from ..contract import at_least, choose
from . import _s4d_kernels as kernels
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
from ._discretize import discrete, holds
from ._types import Complex, Integer, Real
from ._vandermonde import power_sums
from .convolution import fft_convolution

Sequence = Real[np.ndarray, "batch length channels"]
Token = Real[np.ndarray, "batch channels"]
PerChannel = Real[np.ndarray, " channels"]
Diagonal = Complex[np.ndarray, "channels state"]
State = Complex[np.ndarray, "sequences channels state"]
SlotState = Complex[np.ndarray, "slots channels state"]
Bounds = Integer[np.ndarray, " bounds"]


@checked
def s4d(
    u: Sequence,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    *,
    D: PerChannel | None = None,
    method: str = "zoh",
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.s4d.s4d`, four tokens at a time; see `_diagonal`.

    Time is cut where channels and sequences are too few for the threads.
    """
    y, state = kernels.scan(
        *(flat_tokens(u), ready(dt), ready(A), ready(B), ready(C), optional(D, u)),
        *(holds(method), boundaries(u, cu_seqlens)),
        optional(initial_state, A, *A.shape),
    )
    return y.reshape(u.shape), state


@checked
def s4d_step(
    u: Token,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    state: SlotState,
    *,
    D: PerChannel | None = None,
    method: str = "zoh",
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Token, SlotState]:
    """`golden.s4d.s4d_step`: discretises and advances some channels at a time."""
    new = next_state(state, slots)
    y = kernels.step(
        *(ready(u), ready(dt), parts(A), parts(B), parts(C), optional(D, u)),
        *(holds(method), parts(state), parts(new), rows_of(slots, len(u))),
    )
    return y, new


@checked
def s4d_convolution(
    u: Sequence,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    *,
    D: PerChannel | None = None,
    method: str = "zoh",
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.s4d.s4d_convolution`, sequence by sequence, with one kernel for all.

    The last states are those of the recurrence.
    """
    bounds = cu_seqlens if cu_seqlens is not None else np.array([0, u.shape[1]])
    longest = int(np.diff(bounds).max())
    kernel = s4d_kernel(dt, A, B, C, longest, method=method)
    y = np.empty(u.shape, u.dtype)
    for row, (first, last) in enumerate(pairwise(bounds.tolist())):
        length = last - first
        part = fft_convolution(u[:, first:last], kernel[:, :length], D=D)
        if initial_state is not None:
            start = initial_state if cu_seqlens is None else initial_state[row][None]
            part += s4d_state_response(dt, A, C, start, length, method=method)
        y[:, first:last] = part
    options = {"initial_state": initial_state, "cu_seqlens": cu_seqlens}
    return y, s4d(u, dt, A, B, C, method=method, **options)[1]


@checked
def s4d_kernel(
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    length: int,
    *,
    method: str = "zoh",
) -> Real[np.ndarray, "channels length"]:
    """`golden.s4d.s4d_kernel`: the Vandermonde product as one of two small factors."""
    at_least("length", length, 0)
    choose("method", method, "zoh", "bilinear", "dss")
    if method == "dss":
        weight, decay = _dss(dt[:, None].astype(np.float64), A, B, C, length)
    else:
        decay, scale = discrete(A, dt[:, None], method)
        weight = 2 * C * (scale * B)
    return power_sums(weight, decay, length, dt.dtype)


@checked
def s4d_state_response(
    dt: PerChannel,
    A: Diagonal,
    C: Diagonal,
    state: Complex[np.ndarray, "batch channels state"],
    length: int,
    *,
    method: str = "zoh",
) -> Real[np.ndarray, "batch length channels"]:
    """`golden.s4d.s4d_state_response`: a kernel for each row of the batch."""
    at_least("length", length, 0)
    decay, _ = discrete(A, dt[:, None], method)
    weight = (2 * C * decay * state).reshape(len(state) * len(A), A.shape[1])
    rows = power_sums(weight, decay, length, dt.dtype)
    return np.array(rows.reshape(len(state), len(A), length).swapaxes(1, 2), order="C")


def _dss(dt, A, B, C, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and the decays of the normalised kernel."""
    if np.any(np.real(A) > 0):
        raise ValueError("A has real parts above 0; method dss needs them at most 0")
    exponent = dt * A
    x = A * np.expm1(exponent * length)
    inverse = np.conj(x) / (np.abs(x) ** 2 + 1e-7)
    return C * B * np.expm1(exponent) * inverse, np.exp(exponent)
