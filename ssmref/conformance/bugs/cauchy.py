"""A bug of the Cauchy sums in the kernel of S4.

A fraction ``v / (z - w)`` and its conjugate are merged over
``z^2 - 2 z Re w + |w|^2``, and two of these again over their product. Beside a pole, z
and w nearly cancel; their difference is exact, but that of their squares is off by the
rounding of the squares. That is no more than if w had been rounded, as it mostly is, so
it shows beside poles whose distance is small and exact. The second merge loses range,
but no digits.
"""

from typing import Any

import numpy as np

from ...golden._linalg import solve
from ...golden.convolution import fft_convolution
from ...golden.layers import pi
from ...golden.s4 import s4_c_tilde, s4_kernel
from ..precision import rounded
from .bug import Arguments, Bug, Function
from .structured import S4_REPOSITORY
from .tokens import lengths, per_sequence, tokens
from .when import any_token

# All but the denominators is exact, so that nothing else differs.
EXACT = np.dtype(np.longdouble)
SYSTEM = ("dt", "A", "B", "C", "P")
# A distance so much smaller than its terms has lost three digits.
NEAR = 1e-3


def merged_kernel(a: Arguments, length: int, dtype: np.dtype) -> np.ndarray:
    """Return `s4_kernel` with merged sums whose denominators are in `dtype`, complex.

    The letters are those of `s4_kernel_from_tilde`.
    """
    dt, A, B, C, P = (a[name] for name in SYSTEM)
    tilde = s4_c_tilde(dt, A, C, P, length)
    left, right = np.concatenate([tilde[None], P.conj()]), np.concatenate([B[None], P])
    v = np.einsum("d,adn,cdn->dacn", dt, left, right)
    w, poles = _nodes(dt.dtype, length)[:, None, None, None, None], dt[:, None] * A
    m = (1 + w) / 2
    r, m = _merged(v, 1 - w, m, poles[:, None, None], dtype), m[..., 0]
    weights = solve(np.eye(len(P), dtype=A.dtype) + m * r[..., 1:, 1:], r[..., 1:, :1])
    low_rank = np.einsum("wdr,wdrc->wd", r[..., 0, 1:], weights)
    return np.fft.irfft(r[..., 0, 0] - m[..., 0, 0] * low_rank, length, axis=0).T


def _nodes(dtype: np.dtype, length: int) -> np.ndarray:
    node = np.arange(length // 2 + 1).astype(dtype) / max(length, 1)
    return np.exp(-2j * pi(dtype) * node)


def _merged(
    v: np.ndarray, p: np.ndarray, m: np.ndarray, a: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """Return the sum of ``v / (p - m a)`` and conjugates, four over a denominator."""
    terms = (p * p, -2 * p * m * np.real(a), m * m * np.abs(a) ** 2)
    square, linear, constant = (term.astype(dtype) for term in terms)
    bottom = (square + linear + constant).astype(v.dtype)
    top = 2 * (p * np.real(v) - m * np.real(v * np.conj(a)))
    half = a.shape[-1] // 2
    (b, d), (x, y) = (_halves(array, half) for array in (bottom, top))
    odd = np.sum(top[..., 2 * half :] / bottom[..., 2 * half :], axis=-1)
    return np.sum((x * d + y * b) / (b * d), axis=-1) + odd


def _halves(array: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
    return array[..., :half], array[..., half : 2 * half]


def _beside_a_pole(a: Arguments) -> bool:
    """Return whether a node is much nearer to a pole than both are to 0."""
    both = np.concatenate([a["A"], np.conj(a["A"])], axis=-1) * a["dt"][:, None]
    for length in lengths(a) if any_token(a) else []:
        w = _nodes(EXACT, length)[:, None, None]
        pole = (1 + w) / 2 * both
        if np.any(np.abs(1 - w - pole) < NEAR * np.abs(pole)):
            return True
    return False


def _with_merged_kernel(function: Function, a: Arguments) -> Any:
    """Add what the merged kernel is off."""
    y, state = function(**a)
    if (length := tokens(a)) == 0:
        return y, state
    b = rounded(a, EXACT)
    right = s4_kernel(**{n: b[n] for n in SYSTEM}, length=length)
    error = merged_kernel(b, length, a["A"].dtype) - right
    return (y + fft_convolution(b["u"], error)).astype(y.dtype), state


CAUCHY = (
    Bug(
        "s4-cauchy-pair-merge",
        ("s4.s4",),
        "The fractions of the Cauchy sums are merged over the products of their "
        "denominators, in which small distances of poles are lost.",
        "Add the fractions one by one: v / (z - w), and its conjugate.",
        "poles close to an evaluation point",
        _beside_a_pole,
        per_sequence(_with_merged_kernel),
        (f"{S4_REPOSITORY}/commit/e1519d4",),
        ("s4-cauchy-pair-merge",),
    ),
)
