"""S4: structured state spaces, Gu, Goel & Ré 2021 (arXiv 2111.00396).

Each channel has its own continuous system ``x' = M x + B u`` with a diagonal plus
low-rank matrix, discretised by the bilinear rule::

    M = diag(A) - sum_r P[r] P[r]*

Eigenvalues come in conjugate pairs. Arrays and states hold one of each pair; the
equations are meant on the completed vectors ``[v, conj(v)]``. The official code holds
dt, A and P behind transforms (exp, -exp) and lets channels share A, B and P; here they
are given as they enter the equations, one set per channel.
"""

import numpy as np

from ._contract import at_least, checked, in_slots, separately
from ._linalg import solve
from ._types import Complex, Integer, Real
from .convolution import fft_convolution
from .discretize import bilinear_dense
from .layers import pi

Sequence = Real[np.ndarray, "batch length channels"]
Token = Real[np.ndarray, "batch channels"]
PerChannel = Real[np.ndarray, " channels"]
Diagonal = Complex[np.ndarray, "channels state"]
LowRank = Complex[np.ndarray, "ranks channels state"]
Matrix = Complex[np.ndarray, "channels state state"]
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
    """Run the recurrence one token at a time, with dense matrices.

    ::

        A_bar = (I - dt M/2)^-1 (I + dt M/2)      B_bar = (I - dt M/2)^-1 dt B
        x[t] = A_bar x[t-1] + B_bar u[t]
        y[t] = Re(C x[t]) + D u[t]                C is not conjugated

    S4, equation 3, on completed vectors; official ``SSMKernelDPLR.step`` in its
    dense mode. C is the output projection itself, where a trained official model
    stores `s4_c_tilde` of it.

    Returns y and the last state, one per sequence. Raises ValueError where
    ``I - dt M/2`` is singular.
    """
    if cu_seqlens is not None:
        return separately(s4, locals())
    A_bar, B_bar = _discrete(dt, A, B, P)
    x, C = complete(_start(initial_state, u, A)), complete(C)
    y = np.empty_like(u)
    for t in range(u.shape[1]):
        x = np.einsum("dmn,bdn->bdm", A_bar, x) + B_bar * u[:, t, :, None]
        y[:, t] = np.real(np.einsum("bdn,dn->bd", x, C))
    return y if D is None else y + D * u, x[..., : A.shape[1]]


@checked
def s4_linear(
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
    """`s4` as a loop over `s4_step`: no matrix is formed, time linear in the state."""
    if cu_seqlens is not None:
        return separately(s4_linear, locals())
    x = _start(initial_state, u, A)
    y = np.empty_like(u)
    for t in range(u.shape[1]):
        y[:, t], x = s4_step(u[:, t], dt, A, B, C, P, x, D=D)
    return y, x


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
    """Advance `s4` by one token in the structured form.

    ::

        w = (I + dt A/2) x - dt/2 P (P* x) + dt B u
        E = (I - dt A/2)^-1
        x' = E (w - dt/2 P (I + dt/2 P* E P)^-1 P* E w)

    The Woodbury identity for the inverse of ``I - dt M/2``; sums over completed
    vectors are twice the real part of half of them. S4, appendix C.2; official mode
    ``linear``, which divides the equations by dt/2 (so dt = 0 is legal only here).
    """
    if slots is not None:
        return in_slots(s4_step, locals())
    half = dt[:, None] / 2
    E, Q = 1 / (1 - half * A), np.conj(P)
    w = (1 + half * A) * state - half * _along(P, _over_pairs(Q, state))
    w = w + dt[:, None] * B * u[:, :, None]
    inner = 2 * np.real(np.einsum("rdn,sdn->drs", Q, half * E * P))
    identity = np.eye(len(P), dtype=u.dtype)
    weights = solve(identity + inner, _over_pairs(Q, E * w)[..., None])[..., 0]
    state = E * (w - half * _along(P, weights))
    y = 2 * np.real(np.einsum("bdn,dn->bd", state, C))
    return y if D is None else y + D * u, state


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
    """`s4` as a convolution with `s4_kernel` plus the response to the initial state.

    S4, algorithm 1. The last state is a sum over powers of the dense matrix::

        x[L-1] = A_bar^L x[-1] + sum_l A_bar^{L-1-l} B_bar u[l]

    Raises ValueError where Re A >= 0, see `s4_kernel`.
    """
    if cu_seqlens is not None:
        return separately(s4_convolution, locals())
    length, initial_state = u.shape[1], _start(initial_state, u, A)
    y = fft_convolution(u, s4_kernel(dt, A, B, C, P, max(length, 1)), D=D)
    y = y + s4_state_response(dt, A, C, P, initial_state, max(length, 1))[:, :length]
    A_bar, B_bar = _discrete(dt, A, B, P)
    reach = _krylov(A_bar, B_bar, length)[:, ::-1]
    x = np.einsum("dln,bld->bdn", reach, u)
    power = np.linalg.matrix_power(A_bar, length)
    x = x + np.einsum("dmn,bdn->bdm", power, complete(initial_state))
    return y, x[..., : A.shape[1]]


@checked
def s4_kernel(
    dt: PerChannel, A: Diagonal, B: Diagonal, C: Diagonal, P: LowRank, length: int
) -> Real[np.ndarray, "channels length"]:
    """Return the impulse response ``K[l] = Re(C A_bar^l B_bar)`` of `s4`, l < length.

    `s4_kernel_from_tilde` of `s4_c_tilde`.
    """
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
    """Return the kernel by its truncated generating function at the roots of unity.

    ::

        K^(w) = sum_{l<L} K[l] w^l = C~ (I - w A_bar)^-1 B_bar          w^L = 1
              = r(C~, B) - m r(C~, P) (I + m r(P*, P))^-1 r(P*, B)
        r(v, x) = sum_n dt v[n] x[n] / (1 - w - m dt A[n])              m = (1 + w)/2

    and K is its inverse Fourier transform. S4, algorithm 1, for any rank of P. The
    paper divides by 1 + w, which has no meaning at w = -1 (the Nyquist node of an even
    length; the official code gets through by rounding). Cleared of it the value there
    is ``dt/2 C~ B``. Raises ValueError where Re A >= 0: the sums then have poles on
    the circle. The official parametrisation keeps Re A <= -1e-4.
    """
    at_least("length", length, 1)
    if np.any(np.real(A) >= 0):
        raise ValueError("A has real parts >= 0; the kernel needs them to be negative")
    node = np.arange(length // 2 + 1).astype(dt.dtype) / length
    w = np.exp(-2j * pi(dt.dtype) * node)[:, None, None]
    m = (1 + w) / 2
    resolvent = dt[:, None] / (1 - w - m * dt[:, None] * complete(A))
    left = complete(np.concatenate([C_tilde[None], np.conj(P)]))
    right = complete(np.concatenate([B[None], P]))
    r = np.einsum("adn,wdn,cdn->wdac", left, resolvent, right)
    identity = np.eye(len(P), dtype=A.dtype)
    weights = solve(identity + m[..., None] * r[..., 1:, 1:], r[..., 1:, :1])
    low_rank = np.einsum("wdr,wdrc->wd", r[..., 0, 1:], weights)
    spectrum = r[..., 0, 0] - m[..., 0] * low_rank
    return np.fft.irfft(spectrum, length, axis=0).T


@checked
def s4_kernel_dense(
    dt: PerChannel, A: Diagonal, B: Diagonal, C: Diagonal, P: LowRank, length: int
) -> Real[np.ndarray, "channels length"]:
    """Return `s4_kernel` by its definition: powers of the dense matrix."""
    kernel = dense_kernel(dt, _matrix(A, P), complete(B), complete(C), length)
    return np.real(kernel)


@checked
def dense_kernel(
    dt: PerChannel,
    A: Matrix | Real[np.ndarray, "channels state state"],
    B: Diagonal | Real[np.ndarray, "channels state"],
    C: Diagonal | Real[np.ndarray, "channels state"],
    length: int,
) -> Complex[np.ndarray, "channels length"] | Real[np.ndarray, "channels length"]:
    """Return ``K[l] = C A_bar^l B_bar`` for any matrix A, bilinear: S4, equation 5."""
    at_least("length", length, 0)
    return np.einsum("dln,dn->dl", _krylov(*bilinear_dense(A, B, dt), length), C)


@checked
def s4_c_tilde(
    dt: PerChannel, A: Diagonal, C: Diagonal, P: LowRank, length: int
) -> Diagonal:
    """Return ``C~ = (I - A_bar^length)^T C``, what truncates the generating function.

    Official models store this instead of C once ``l_kernel`` is set, and double its
    length by ``(I + A_bar^length)^T``. S4, section 3.2 (there with conjugates, since
    the paper conjugates C).
    """
    at_least("length", length, 0)
    power = np.linalg.matrix_power(_discrete(dt, A, C, P)[0], length)
    C = complete(C)
    return (C - np.einsum("dmn,dm->dn", power, C))[:, : A.shape[1]]


@checked
def s4_c_from_tilde(
    dt: PerChannel, A: Diagonal, C_tilde: Diagonal, P: LowRank, length: int
) -> Diagonal:
    """Return the C whose `s4_c_tilde` for `length` is C_tilde: the converter of models.

    Raises ValueError where ``I - A_bar^length`` is singular, as at length 0.
    """
    at_least("length", length, 0)
    power = np.linalg.matrix_power(_discrete(dt, A, C_tilde, P)[0], length)
    identity = np.eye(power.shape[-1], dtype=A.dtype)
    transposed = np.swapaxes(identity - power, -1, -2)
    C = solve(transposed, complete(C_tilde)[..., None])[..., 0]
    return C[:, : A.shape[1]]


@checked
def s4_state_response(
    dt: PerChannel,
    A: Diagonal,
    C: Diagonal,
    P: LowRank,
    state: Complex[np.ndarray, "batch channels state"],
    length: int,
) -> Real[np.ndarray, "batch length channels"]:
    """Return ``Re(C A_bar^{l+1} x[-1])``, what an initial state adds to the output.

    The kernel of the input vector ``B = (1/dt + M/2) x[-1]``, for which
    ``B_bar = A_bar x[-1]``. Official ``SSMKernelDPLR.forward`` with a state.
    """
    C_tilde = s4_c_tilde(dt, A, C, P, length)
    low_rank = _along(P, _over_pairs(np.conj(P), state))
    rows = (1 / dt[:, None] + A / 2) * state - low_rank / 2
    kernels = [s4_kernel_from_tilde(dt, A, B, C_tilde, P, length) for B in rows]
    return np.stack(kernels).swapaxes(1, 2)


def complete(v: np.ndarray) -> np.ndarray:
    """Return ``[v, conj(v)]``: all coordinates from one of each pair."""
    return np.concatenate([v, np.conj(v)], axis=-1)


def _matrix(A: np.ndarray, P: np.ndarray) -> np.ndarray:
    """Return ``diag(A) - P P*`` on completed vectors, for each channel."""
    A, P = complete(A), complete(P)
    identity = np.eye(A.shape[-1], dtype=A.dtype)
    return A[:, None] * identity - np.einsum("rdm,rdn->dmn", P, np.conj(P))


def _discrete(dt, A, B, P) -> tuple[np.ndarray, np.ndarray]:
    return bilinear_dense(_matrix(A, P), complete(B), dt)


def _krylov(A_bar: np.ndarray, x: np.ndarray, length: int) -> np.ndarray:
    """Return ``A_bar^l x`` for l < length along a new axis before the last."""
    powers = np.empty((len(x), length, x.shape[-1]), np.result_type(A_bar, x))
    for t in range(length):
        powers[:, t] = x
        x = np.einsum("dmn,dn->dm", A_bar, x)
    return powers


def _over_pairs(X: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the products of each rank of X with v, over completed vectors."""
    return 2 * np.real(np.einsum("rdn,bdn->bdr", X, v))


def _along(P: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.einsum("rdn,bdr->bdn", P, weights)


def _start(initial_state, u, A) -> np.ndarray:
    if initial_state is not None:
        return initial_state
    return np.zeros((u.shape[0], *A.shape), A.dtype)
