"""Kernels of the element-wise parts of blocks.

Limit: memory, where threads share it; in one thread the exponential and the series of
GELU, 25 multiply-adds for 16 numbers in float32 and 55 for 8 in float64. The products
with weights, between them, are those of BLAS and take far longer.
"""

import numpy as np
from numba import prange
from scipy.special import erfc

from .toolkit.elementary import exp_of, magnitude_of, sigmoid, silu
from .toolkit.kernels import kernel, parallel_kernel, scalar_function, use_wide_vectors
from .toolkit.threads import launch
from .toolkit.vectors import FLOAT, Value

# Numbers that a thread is given at a time.
BLOCK = 1 << 15

# The Chebyshev series of log(erfc(z) e^(z^2) / t) in 2 t - 1, t = 1 / (1 + z / 2), for
# z >= 0, lowest first: interpolated at 80 nodes in arithmetic of 50 digits. Cut off at
# 6.5e-9 for float32 and at 2.8e-17 for float64.
LOG_ERFC = (
    *(-0.6513268598908547, 0.6419697923564903, 0.019476473204185836),
    *(-0.009561514786808632, -0.0009465953444820369, 0.00036683949785276145),
    *(4.252332480690777e-05, -2.0278578112534243e-05, -1.6242900046470255e-06),
    *(1.3036558355805232e-06, 1.5626441722066143e-08, -8.523809591492654e-08),
    *(6.5290544390988515e-09, 5.059343495551469e-09, -9.91364156493033e-10),
    *(-2.2736512229318359e-10, 9.646791102015527e-11, 2.3940380830391147e-12),
    *(-6.8860275264975534e-12, 8.944879273090726e-13, 3.130921399342958e-13),
    *(-1.1270822361367252e-13, 3.810905255189232e-16, 7.106013609236988e-15),
    *(-1.5230282014571043e-15, -9.457494571291234e-17, 1.2102371892242789e-16),
)
TERMS_FLOAT = 12


def _series(x: Value, coefficients: tuple[float, ...]) -> Value:
    """Return a Chebyshev series, lowest coefficient first, by Clenshaw's recurrence."""
    twice, lanes = x + x, x.lanes
    b, before = lanes.constant(coefficients[-1]), lanes.constant(0.0)
    for c in coefficients[-2:0:-1]:
        b, before = lanes.fma(twice, b, c - before), b
    return lanes.fma(x, b, coefficients[0] - before)


def _plain_gelu(x: np.ndarray) -> np.ndarray:
    """Return ``x (1 + erf(x / sqrt(2))) / 2``."""
    with np.errstate(all="ignore"):
        half = x.dtype.type(0.5)
        return half * x * erfc(-x * np.sqrt(half))


@scalar_function(_plain_gelu)
def gelu(x: Value) -> Value:
    """Return x times the normal distribution, with all digits in the left tail too."""
    lanes = x.lanes
    t = 2.0 / (magnitude_of(x) * 0.5**0.5 + 2.0)
    terms = TERMS_FLOAT if lanes.element == FLOAT else len(LOG_ERFC)
    exponent = lanes.fma(x * -0.5, x, _series(t + t - 1.0, LOG_ERFC[:terms]))
    tail = 0.5 * t * exp_of(exponent)
    return x * lanes.select(x < 0.0, tail, 1.0 - tail)


@kernel
def _activate_part(x):
    use_wide_vectors()
    for i in range(x.size):
        x[i] = gelu(x[i])


@parallel_kernel
def _activate(x):
    for i in prange((x.size + BLOCK - 1) // BLOCK):
        _activate_part(x[i * BLOCK : min(x.size, (i + 1) * BLOCK)])


def activate(x: np.ndarray) -> None:
    """Replace x, contiguous, by GELU of x."""
    launch(_activate, x.size, x.reshape(-1))


@kernel
def _gate_row(y, value, gate, linear):
    use_wide_vectors()
    if linear:
        for i in range(y.size):
            y[i] = value[i] * silu(gate[i])
    else:
        for i in range(y.size):
            y[i] = value[i] * sigmoid(gate[i])


@kernel
def _add_row(x, bias):
    use_wide_vectors()
    for i in range(x.size):
        x[i] += bias[i]


@parallel_kernel
def _gated(y, both, bias, linear):
    count, width = y.shape
    for row in prange(count):
        own = both[row]
        if bias.size:
            _add_row(own, bias)
        _gate_row(y[row], own[:width], own[width:], linear)


def gated(both: np.ndarray, bias: np.ndarray, *, linear: bool) -> np.ndarray:
    """Return the first half of each row times the sigmoid, or SiLU, of the second.

    `bias`, which may be empty, is added to `both` in place.
    """
    y = np.empty((len(both), both.shape[1] // 2), both.dtype)
    launch(_gated, both.size, y, both, bias, linear)
    return y
