"""S4D: S4 with a diagonal matrix, Gu et al. 2022 (arXiv 2206.11893).

Arrays and states hold one eigenvalue of each conjugate pair, hence the factor 2 of the
outputs. dt, A, B and C are given as they enter the equations, one set per channel; the
minimal official layer ``s4d.py`` is this with B = 1.
"""

import numpy as np

from ._contract import at_least, checked, choose, in_slots, separately
from ._types import Complex, Integer, Real
from .convolution import fft_convolution
from .discretize import discretize
from .scan import linear_scan_blelloch

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
    """Run the diagonal recurrence one token at a time.

    ::

        x[t] = A_bar x[t-1] + B_bar u[t]
        y[t] = 2 Re(C x[t]) + D u[t]            C is not conjugated

    S4D, section 3; `method` is ``"zoh"`` or ``"bilinear"``, see
    `ssmref.golden.discretize.discretize`. Official ``SSMKernelDiag``. The annotated S4D
    keeps all N eigenvalues instead of one per pair and has no factor 2.

    Returns y and the last state, one per sequence. Raises ValueError for another
    method.
    """
    if cu_seqlens is not None:
        return separately(s4d, locals())
    A_bar, B_bar = discretize(A, B, dt, method=method)
    x = _start(initial_state, u, A)
    y = np.empty_like(u)
    for t in range(u.shape[1]):
        x = A_bar * x + B_bar * u[:, t, :, None]
        y[:, t] = 2 * np.real(np.einsum("bdn,dn->bd", x, C))
    return y if D is None else y + D * u, x


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
    """Advance `s4d` by one token. Official ``SSMKernelDiag.step``."""
    if slots is not None:
        return in_slots(s4d_step, locals())
    A_bar, B_bar = discretize(A, B, dt, method=method)
    state = A_bar * state + B_bar * u[:, :, None]
    y = 2 * np.real(np.sum(C * state, axis=-1))
    return y if D is None else y + D * u, state


@checked
def s4d_blelloch(
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
    """`s4d` by Blelloch's work-efficient up-sweep and down-sweep."""
    if cu_seqlens is not None:
        return separately(s4d_blelloch, locals())
    A_bar, B_bar = discretize(A, B, dt, method=method)
    drive, start = B_bar * u[..., None], _start(initial_state, u, A)
    decay = np.broadcast_to(A_bar, drive.shape)
    x = linear_scan_blelloch(decay, drive, initial_state=start)
    y = 2 * np.real(np.einsum("btdn,dn->btd", x, C))
    return y if D is None else y + D * u, x[:, -1] if u.shape[1] else start


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
    """`s4d` as a convolution with `s4d_kernel` plus the response to the initial state.

    The last state is a sum over powers::

        x[L-1] = A_bar^L x[-1] + sum_l A_bar^{L-1-l} B_bar u[l]
    """
    if cu_seqlens is not None:
        return separately(s4d_convolution, locals())
    length, start = u.shape[1], _start(initial_state, u, A)
    y = fft_convolution(u, s4d_kernel(dt, A, B, C, length, method=method), D=D)
    y = y + s4d_state_response(dt, A, C, start, length, method=method)
    A_bar, B_bar = discretize(A, B, dt, method=method)
    powers = _powers(A_bar, length + 1)
    drive = np.einsum("dnl,bld->bdn", powers[..., :length][..., ::-1], u)
    return y, powers[..., length] * start + B_bar * drive


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
    """Return the impulse response of `s4d`, a Vandermonde product.

    ::

        zoh, bilinear:  K[l] = 2 Re sum_n C B_bar A_bar^l
        dss:            K[l] = Re sum_n C B (e^{dt A} - 1) inv(A (e^{dt A L} - 1))
                               e^{dt A l},         inv(x) = conj(x)/(|x|^2 + 1e-7)

    Official ``SSMKernelDiag.forward``. ``"dss"`` is the normalised kernel of Gupta et
    al. 2022 (arXiv 2203.14343), for Re A <= 0 only; it depends on its own length and
    is no recurrence, so only this function has it. As in the official code it has no
    factor 2.
    """
    at_least("length", length, 0)
    choose("method", method, "zoh", "bilinear", "dss")
    if method == "dss":
        return _dss_kernel(dt[:, None], A, B, C, length)
    A_bar, B_bar = discretize(A, B, dt, method=method)
    return 2 * np.real(np.einsum("dn,dnl->dl", C * B_bar, _powers(A_bar, length)))


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
    """Return ``2 Re(C A_bar^{l+1} x[-1])``, what an initial state adds to y."""
    at_least("length", length, 0)
    A_bar, _ = discretize(A, A, dt, method=method)
    powers = _powers(A_bar, length)
    return 2 * np.real(np.einsum("bdn,dnl->bld", C * A_bar * state, powers))


def _powers(A_bar: np.ndarray, length: int) -> np.ndarray:
    """Return ``A_bar^l`` for l < length along a new last axis."""
    factors = np.repeat(A_bar[..., None], length, axis=-1)
    factors[..., :1] = 1
    return np.cumprod(factors, axis=-1)


def _dss_kernel(dt, A, B, C, length: int) -> np.ndarray:
    if np.any(np.real(A) > 0):
        raise ValueError("A has real parts above 0; method dss needs them at most 0")
    exponent = dt * A
    x = A * np.expm1(exponent * length)
    inverse = np.conj(x) / (np.abs(x) ** 2 + dt.dtype.type(1e-7))
    weight = C * B * np.expm1(exponent) * inverse
    decay = np.exp(exponent[..., None] * np.arange(length).astype(dt.dtype))
    return np.real(np.einsum("dn,dnl->dl", weight, decay))


def _start(initial_state, u, A) -> np.ndarray:
    if initial_state is not None:
        return initial_state
    return np.zeros((u.shape[0], *A.shape), A.dtype)
