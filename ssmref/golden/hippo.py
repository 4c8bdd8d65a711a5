"""HiPPO matrices, their diagonalisation, and the initialisations of S4D.

HiPPO (arXiv 2008.07669) projects the past of u onto a basis of functions; the
coefficients follow ``x' = A x + B u``. S4 needs A as normal plus low rank::

    A + sum_r P[r] P[r]^T = c I + skew          c = -1/2 (legs), 0 (legt, fourier)

Everything here is float64 and complex128: the eigenvectors come from LAPACK, which
stops there. It is the one place of golden with LAPACK; the phases of the eigenvectors
(hence of B and P in their basis) are its choice, so compare eigenvalues, ``|B|``,
``|P|``, ``B conj(P)`` or kernels between implementations, never B or P themselves.
"""

from typing import NamedTuple

import numpy as np

from ._contract import at_least, checked, choose
from ._types import Complex, Real

Matrix = Real[np.ndarray, "state state"]
Vector = Real[np.ndarray, " state"]
Eigenvalues = Complex[np.ndarray, " state"]


@checked
def legs(N: int) -> tuple[Matrix, Vector]:
    """Return (A, B) of scaled Legendre polynomials on the whole past.

    ::

        A[n, k] = -sqrt((2n+1)(2k+1))  n > k;   -(n+1)  n = k;   0  n < k
        B[n] = sqrt(2n+1)

    HiPPO, theorem 2, in its time-invariant form: S4 (arXiv 2111.00396), equation 2.
    """
    r = _roots(N)
    A = -np.tril(np.outer(r, r), -1) - np.diag(np.arange(N) + 1.0)
    return A, r


@checked
def legt(N: int) -> tuple[Matrix, Vector]:
    """Return (A, B) of Legendre polynomials on a sliding window.

    ::

        A[n, k] = -1/2 sqrt((2n+1)(2k+1)) ((-1)^{n-k}  n < k;   1  n >= k)
        B[n] = 1/2 sqrt(2n+1)

    HiPPO, theorem 1, halved as in the official S4 code.
    """
    r, n = _roots(N), np.arange(N)
    sign = np.where(n[:, None] < n, (-1.0) ** (n[:, None] - n), 1)
    return -sign * np.outer(r, r) / 2, r / 2


@checked
def fourier(N: int) -> tuple[Matrix, Vector]:
    """Return (A, B) of a truncated Fourier basis on a sliding window (FouT), N even.

    ::

        A = R - B B^T           R turns coordinates (2k, 2k+1) with frequency pi k
        B[0] = 1,  B[2k] = sqrt(2),  B[2k+1] = 0

    How to Train Your HiPPO (arXiv 2206.12037), section 3.2, as in the official code.
    """
    _even(N)
    B = np.zeros(N)
    B[0::2] = np.sqrt(2)
    B[:1] = 1
    frequency = np.zeros(max(N - 1, 0))
    frequency[0::2] = np.pi * np.arange(N // 2)
    rotation = np.diag(frequency, -1) - np.diag(frequency, 1)
    return rotation - np.outer(B, B), B


TRANSITIONS = {"legs": legs, "legt": legt, "fourier": fourier}


@checked
def low_rank(name: str, N: int) -> Real[np.ndarray, "ranks state"]:
    """Return P such that ``A + sum_r P[r] P[r]^T`` is normal.

    Rank 1: sqrt(n + 1/2) for legs, B for fourier. Rank 2 for legt: sqrt(n + 1/2) on
    the even and on the odd coordinates. S4, appendix C.1.
    """
    choose("name", name, *TRANSITIONS)
    if name == "fourier":
        return fourier(N)[1][None]
    P = _roots(N) / np.sqrt(2)
    if name == "legs":
        return P[None]
    odd = np.arange(N) % 2
    return np.stack([P * (1 - odd), P * odd])


class NPLR(NamedTuple):
    """The normal part of a HiPPO matrix, its low-rank term P and its input B."""

    normal: Real[np.ndarray, "state state"]
    P: Real[np.ndarray, "ranks state"]
    B: Real[np.ndarray, " state"]


@checked
def nplr(name: str, N: int) -> NPLR:
    """Split a HiPPO matrix into a normal and a low-rank part.

    ``A = normal - sum_r P[r] P[r]^T``. S4, theorem 1 and appendix C.1.
    """
    P = low_rank(name, N)
    A, B = TRANSITIONS[name](N)
    return NPLR(A + P.T @ P, P, B)


class DPLR(NamedTuple):
    """Diagonal A, low-rank P and input B in the eigenbasis V; half of each pair."""

    A: Complex[np.ndarray, " pairs"]
    P: Complex[np.ndarray, "ranks pairs"]
    B: Complex[np.ndarray, " pairs"]
    V: Complex[np.ndarray, "state pairs"]


@checked
def dplr(name: str, N: int, *, B_clip: float | None = None) -> DPLR:
    """Diagonalise a HiPPO matrix up to its low-rank term.

    ::

        A_hippo = W (diag(A) - P P*) W*        W = [V conj(V)], unitary
        P = W* P_hippo,  B = W* B_hippo        on all N coordinates

    S4, theorem 1. Of each pair the eigenvalue with negative imaginary part is kept, in
    rising order; the real parts are the mean of the diagonal, the imaginary parts come
    from eigh of ``-i (A + P P^T)``. The zero pair of fourier spans coordinates 0
    and 1: its eigenvector is set to (1, i)/sqrt(2).

    `B_clip` clamps the imaginary part of B, as the official code does at 2; the default
    None keeps HiPPO's B, since the clamp depends on the phases of eigenvectors (and
    then ``V B`` is no longer it). The official P is built in float32, ours in float64.
    Raises ValueError for an odd N.
    """
    _even(N)
    normal, P, B = nplr(name, N)
    imag, V = (x[..., : N // 2] for x in np.linalg.eigh(-1j * normal))
    if name == "fourier":
        imag[-1:], V[:, -1] = 0, 0
        V[:2, -1] = np.array([1, 1j]) / np.sqrt(2)
    eigenvalues = np.mean(np.diag(normal)) + 1j * imag
    B = B @ np.conj(V)
    if B_clip is not None:
        at_least("B_clip", B_clip, 0)
        B = np.real(B) + 1j * np.clip(np.imag(B), -B_clip, B_clip)
    return DPLR(eigenvalues, P @ np.conj(V), B, V)


@checked
def s4d_lin(N: int) -> Eigenvalues:
    """Return ``-1/2 - i pi n`` for n < N/2 (S4D, arXiv 2206.11893, section 4).

    Like all ``s4d_`` initialisations: the half of the N eigenvalues that is stored,
    with negative imaginary parts as in the official ``s4.py``. The minimal ``s4d.py``
    and H3 have positive ones, an equivalent choice. The official full kernel also
    clamps the imaginary part to at most -1e-4, which moves n = 0 only; not done here.
    """
    return -0.5 - 1j * np.pi * _modes(N)


@checked
def s4d_inv(N: int) -> Eigenvalues:
    """Return ``-1/2 - i N/pi (N/(2n+1) - 1)`` for n < N/2 (S4D, section 4)."""
    return -0.5 - 1j * N / np.pi * (N / (2 * _modes(N) + 1) - 1)


@checked
def s4d_quad(N: int) -> Eigenvalues:
    """Return ``-1/2 - i (1 + 2n)^2 / pi`` for n < N/2 (S4D, section 4)."""
    return -0.5 - 1j * (1 + 2 * _modes(N)) ** 2 / np.pi


@checked
def s4d_real(N: int) -> Eigenvalues:
    """Return ``-(n+1)`` for n < N/2 (S4D, section 4), as complex numbers."""
    return -(_modes(N) + 1) + 0j


@checked
def s4d_legs(N: int) -> Eigenvalues:
    """Return the eigenvalues of the normal part of legs (S4D, section 4)."""
    return dplr("legs", N).A


def _roots(N: int) -> np.ndarray:
    at_least("N", N, 1)
    return np.sqrt(2.0 * np.arange(N) + 1)


def _modes(N: int) -> np.ndarray:
    _even(N)
    return np.arange(N // 2)


def _even(N: int) -> None:
    if N < 2 or N % 2:
        raise ValueError(f"N is {N}; it needs to be even: states come in pairs")
