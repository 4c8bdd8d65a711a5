"""S5: one diagonal system with many inputs and outputs.

Smith, Warrington & Linderman 2022 (arXiv 2208.04933). Where S4D runs a system per
channel, S5 mixes channels inside the system: B and C are matrices. dt, A, B and C are
given as they enter the equations (the official parameters are log_step, real and
imaginary parts).
"""

import numpy as np

from ._contract import checked, in_slots, separately
from ._types import Complex, Integer, Real
from .discretize import discretize
from .scan import linear_scan_blelloch

Inputs = Real[np.ndarray, "batch length inputs"]
Outputs = Real[np.ndarray, "batch length outputs"]
Steps = Real[np.ndarray, " state"]
Diagonal = Complex[np.ndarray, " state"]
Projection = Complex[np.ndarray, "state inputs"]
Readout = Complex[np.ndarray, "outputs state"]
Skip = Real[np.ndarray, " outputs"]
State = Complex[np.ndarray, "sequences state"]
SlotState = Complex[np.ndarray, "slots state"]
Bounds = Integer[np.ndarray, " bounds"]


@checked
def s5(
    u: Inputs,
    dt: Steps,
    A: Diagonal,
    B: Projection,
    C: Readout,
    *,
    D: Skip | None = None,
    C_backward: Readout | None = None,
    method: str = "zoh",
    conj_sym: bool = True,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Outputs, State]:
    """Run the recurrence one token at a time.

    ::

        x[t] = A_bar x[t-1] + B_bar u[t]
        y[t] = 2 Re(C x[t]) + D u[t]            without the 2 unless conj_sym

    `conj_sym`: arrays hold one of each conjugate pair. `method` is ``"zoh"`` or
    ``"bilinear"``, see `ssmref.golden.discretize.discretize`. With C_backward the layer
    is bidirectional: a second state runs from the last token to the first, from zero,
    and is read by C_backward; both include u[t]. The official C then is
    ``[C, C_backward]`` side by side, C1 and C2.

    S5, sections 2 and 3; official ``apply_ssm``, which has no initial state.

    Returns y and the last state of the forward direction, one per sequence. Raises
    ValueError where D is given and there are not as many outputs as inputs.
    """
    if cu_seqlens is not None:
        return separately(s5, locals())
    A_bar, B_bar = _discrete(A, B, dt, method)
    x = _start(initial_state, u, A)
    y = np.empty((*u.shape[:2], len(C)), u.dtype)
    for t in range(u.shape[1]):
        x = A_bar * x + np.einsum("ni,bi->bn", B_bar, u[:, t])
        y[:, t] = _read(C, x, conj_sym)
    if C_backward is not None:
        again = {"method": method, "conj_sym": conj_sym}
        y = y + s5(u[:, ::-1], dt, A, B, C_backward, **again)[0][:, ::-1]
    return _skip(y, u, D), x


@checked
def s5_step(
    u: Real[np.ndarray, "batch inputs"],
    dt: Steps,
    A: Diagonal,
    B: Projection,
    C: Readout,
    state: SlotState,
    *,
    D: Skip | None = None,
    method: str = "zoh",
    conj_sym: bool = True,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Real[np.ndarray, "batch outputs"], SlotState]:
    """Advance `s5` by one token; there is no step from the future."""
    if slots is not None:
        return in_slots(s5_step, locals())
    A_bar, B_bar = _discrete(A, B, dt, method)
    state = A_bar * state + np.einsum("ni,bi->bn", B_bar, u)
    return _skip(_read(C, state, conj_sym), u, D), state


@checked
def s5_blelloch(
    u: Inputs,
    dt: Steps,
    A: Diagonal,
    B: Projection,
    C: Readout,
    *,
    D: Skip | None = None,
    C_backward: Readout | None = None,
    method: str = "zoh",
    conj_sym: bool = True,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Outputs, State]:
    """`s5` by Blelloch's work-efficient up-sweep and down-sweep, in both directions."""
    if cu_seqlens is not None:
        return separately(s5_blelloch, locals())
    A_bar, B_bar = _discrete(A, B, dt, method)
    drive, start = np.einsum("ni,bti->btn", B_bar, u), _start(initial_state, u, A)
    decay = np.broadcast_to(A_bar, drive.shape)
    x = linear_scan_blelloch(decay, drive, initial_state=start)
    y = _read(C, x, conj_sym)
    if C_backward is not None:
        future = linear_scan_blelloch(decay, drive[:, ::-1])[:, ::-1]
        y = y + _read(C_backward, future, conj_sym)
    return _skip(y, u, D), x[:, -1] if u.shape[1] else start


@checked
def s5_convolution(
    u: Inputs,
    dt: Steps,
    A: Diagonal,
    B: Projection,
    C: Readout,
    *,
    D: Skip | None = None,
    C_backward: Readout | None = None,
    method: str = "zoh",
    conj_sym: bool = True,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Outputs, State]:
    """`s5` as a convolution of its spectrum with one kernel per input and output.

    ::

        K[l] = [2] Re(C A_bar^l B_bar)
        y[t] = sum_{s<=t} K[t-s] u[s] + sum_{s>=t} K_backward[s-t] u[s]
               + [2] Re(C A_bar^{t+1} x[-1]) + D u[t]
    """
    if cu_seqlens is not None:
        return separately(s5_convolution, locals())
    length, start = u.shape[1], _start(initial_state, u, A)
    A_bar, B_bar = _discrete(A, B, dt, method)
    factors = np.repeat(A_bar[None], length + 1, axis=0)
    factors[0] = 1
    powers = np.cumprod(factors, axis=0)
    impulse = powers[:length, None] * B_bar.T
    y = _convolve(_read(C, impulse, conj_sym), u)
    y = y + _read(C, powers[1:] * start[:, None], conj_sym)
    if C_backward is not None:
        kernel = _read(C_backward, impulse, conj_sym)
        y = y + _convolve(kernel, u[:, ::-1])[:, ::-1]
    state = powers[length] * start + np.einsum("tin,bti->bn", impulse[::-1], u)
    return _skip(y, u, D), state


def _discrete(A, B, dt, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Discretise a system whose eigenvalues have a step each and share the inputs."""
    ones = np.ones_like(A)[:, None]
    A_bar, scale = discretize(A[:, None], ones, dt, method=method)
    return A_bar[:, 0], scale * B


def _convolve(kernel: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return ``sum_s kernel[t-s] u[s]`` for a kernel (length, inputs, outputs)."""
    length = u.shape[1]
    n = max(2 * length, 1)
    spectrum = np.einsum(
        "wio,bwi->bwo", np.fft.rfft(kernel, n, axis=0), np.fft.rfft(u, n, axis=1)
    )
    return np.fft.irfft(spectrum, n, axis=1)[:, :length]


def _read(C: np.ndarray, x: np.ndarray, conj_sym: bool) -> np.ndarray:
    y = np.real(np.einsum("on,...n->...o", C, x))
    return 2 * y if conj_sym else y


def _skip(y, u, D) -> np.ndarray:
    if D is None:
        return y
    if y.shape[-1] != u.shape[-1]:
        raise ValueError(
            f"D is given with {u.shape[-1]} inputs and {y.shape[-1]} outputs; "
            "it needs as many of both"
        )
    return y + D * u


def _start(initial_state, u, A) -> np.ndarray:
    if initial_state is not None:
        return initial_state
    return np.zeros((u.shape[0], *A.shape), A.dtype)
