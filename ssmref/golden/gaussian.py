"""The error function, which NumPy lacks, and the activation that is made of it."""

import numpy as np

from ._contract import checked
from ._types import Real
from .layers import pi

# Where series and fraction meet, and where erf is 1 in every precision. So many terms
# of each are enough for 34 digits.
MEET, ONE, TERMS, LEVELS = 2, 10, 70, 240


@checked
def erf(x: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """Return the error function of x in the precision of x.

    ::

        erf(x) = 2/sqrt(pi) e^{-x^2} sum_n 2^n x^{2n+1} / (1 3 5 ... (2n+1))    |x| < 2
        erf(x) = sign(x) (1 - erfc(|x|))                                   otherwise
        erfc(x) = e^{-x^2}/sqrt(pi) 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...))))

    Abramowitz & Stegun, equations 7.1.6 and 7.1.14: a series without cancellation and
    Laplace's continued fraction. The factor e^{-x^2} loses digits as x grows, where it
    only counts less.
    """
    near, far = np.clip(x, -MEET, MEET), np.clip(np.abs(x), MEET, ONE)
    outer = np.sign(x) * (1 - _complement(far))
    return np.where(np.abs(x) < MEET, _series(near), outer)


def _series(x: np.ndarray) -> np.ndarray:
    term = total = x
    for n in range(1, TERMS):
        term = term * (2 * x * x / (2 * n + 1))
        total = total + term
    return 2 / np.sqrt(pi(x.dtype)) * np.exp(-x * x) * total


def _complement(x: np.ndarray) -> np.ndarray:
    """Return ``1 - erf(x)`` for x >= 2, the fraction from its far end."""
    fraction = x
    for k in range(LEVELS, 0, -1):
        fraction = x + k / (2 * fraction)
    return np.exp(-x * x) / (np.sqrt(pi(x.dtype)) * fraction)


@checked
def gelu(x: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """Return ``x (1 + erf(x / sqrt(2))) / 2``: x times the normal distribution.

    Hendrycks & Gimpel 2016 (arXiv 1606.08415), section 2, and the default of
    ``torch.nn.GELU``: exact, where JAX's default is an approximation by tanh. For
    x < -1 its digits are those of ``1 + erf``.
    """
    return x * (1 + erf(x / np.sqrt(x.dtype.type(2)))) / 2
