"""The functions of mathematics that kernels need.

The wheels of Numba bring no vector mathematics, and a call of libm per number would
cost more than all the rest of a scan. Each function here is a formula over `Value`
(``exp_of`` in `formulas`, with error bounds), so that micro-kernels and loops compute
the same; the functions without suffix are for Numba code, and LLVM vectorises loops
over them. What `sin` and `cos` of one argument have in common is computed once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .formulas import (
    LARGEST,
    LARGEST_ANGLE,
    LOG2_E,
    SMALLEST,
    decay_of,
    exp2_bounded,
    exp2_of,
    exp_of,
    expm1_of,
    log1p_of,
    log_of,
    magnitude_of,
    polynomial,
    reciprocal_root_of,
    sigmoid_of,
    silu_of,
    sin_cos_of,
    softplus_of,
    softplus_smooth_of,
    tanh_of,
)
from .kernels import scalar_function
from .vectors import Value

__all__ = [
    "LARGEST",
    "LARGEST_ANGLE",
    "LOG2_E",
    "SMALLEST",
    "cos",
    "decay",
    "decay_of",
    "exp",
    "exp2",
    "exp2_bounded",
    "exp2_of",
    "exp_of",
    "expm1",
    "expm1_of",
    "log",
    "log1p",
    "log1p_of",
    "log_of",
    "magnitude_of",
    "polynomial",
    "reciprocal_root",
    "reciprocal_root_of",
    "sigmoid",
    "sigmoid_of",
    "silu",
    "silu_of",
    "sin",
    "sin_cos_of",
    "softplus",
    "softplus_of",
    "softplus_smooth",
    "softplus_smooth_of",
    "tanh",
    "tanh_of",
]


def _plain(function: Callable) -> Callable:
    """Return what a function is in NumPy, where limits are no reason for a warning."""

    def quiet(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(x)

    return quiet


def _plain_sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, np.ones_like(e)) / (1 + e)


def _plain_softplus(x: Any) -> Any:
    return np.where(x > 20, x, _plain_softplus_smooth(x))[()]


def _plain_softplus_smooth(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@scalar_function(_plain(np.exp2))
def exp2(x: Value) -> Value:
    """Return 2^x."""
    return exp2_of(x)


@scalar_function(_plain(np.exp))
def exp(x: Value) -> Value:
    """Return e^x."""
    return exp_of(x)


@scalar_function(_plain(np.exp))
def decay(x: Value) -> Value:
    """Return e^x where ``x <= 0``."""
    return decay_of(x)


@scalar_function(_plain(np.expm1))
def expm1(x: Value) -> Value:
    """Return e^x - 1."""
    return expm1_of(x)


@scalar_function(_plain(np.log))
def log(x: Value) -> Value:
    """Return the logarithm of x."""
    return log_of(x)


@scalar_function(_plain(np.log1p))
def log1p(x: Value) -> Value:
    """Return log(1 + x)."""
    return log1p_of(x)


@scalar_function(_plain(np.tanh))
def tanh(x: Value) -> Value:
    """Return the hyperbolic tangent of x."""
    return tanh_of(x)


@scalar_function(_plain(_plain_sigmoid))
def sigmoid(x: Value) -> Value:
    """Return 1 / (1 + e^-x)."""
    return sigmoid_of(x)


@scalar_function(_plain(lambda x: x * _plain_sigmoid(x)))
def silu(x: Value) -> Value:
    """Return x sigmoid(x)."""
    return silu_of(x)


@scalar_function(_plain(_plain_softplus))
def softplus(x: Value) -> Value:
    """Return log(1 + e^x), and x where x > 20."""
    return softplus_of(x)


@scalar_function(_plain(_plain_softplus_smooth))
def softplus_smooth(x: Value) -> Value:
    """Return log(1 + e^x)."""
    return softplus_smooth_of(x)


@scalar_function(_plain(np.sin))
def sin(x: Value) -> Value:
    """Return the sine of x, in radians."""
    return sin_cos_of(x)[0]


@scalar_function(_plain(np.cos))
def cos(x: Value) -> Value:
    """Return the cosine of x, in radians."""
    return sin_cos_of(x)[1]


@scalar_function(_plain(lambda x: 1 / np.sqrt(x)))
def reciprocal_root(x: Value) -> Value:
    """Return 1 / sqrt(x)."""
    return reciprocal_root_of(x)
