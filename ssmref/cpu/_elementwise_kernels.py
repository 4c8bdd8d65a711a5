"""Kernels of functions of one number, and of rotations of two.

Limit: memory, 8 bytes per number in float32; 15 to 40 vector instructions for 16
numbers are less than that.
"""

import math

import numpy as np
from numba import prange

from ._arguments import ready
from .toolkit.elementary import exp, sigmoid, silu, softplus_smooth
from .toolkit.kernels import kernel, parallel_kernel, use_wide_vectors
from .toolkit.threads import few

# Numbers that a thread is given at a time: about 50 us.
BLOCK = 1 << 16

EXP, HEAVY_TAIL, SIGMOID, SILU, SOFTPLUS = range(5)


@kernel
def _apply(y, x, function, threshold):
    """Write the value of `function`; numbers above `threshold` are their softplus."""
    use_wide_vectors()
    one, zero = x.dtype.type(1), x.dtype.type(0)
    if function == EXP:
        for i in range(x.size):
            y[i] = exp(x[i])
    elif function == HEAVY_TAIL:
        for i in range(x.size):
            y[i] = one + x[i] if x[i] >= zero else one / (one - x[i])
    elif function == SIGMOID:
        for i in range(x.size):
            y[i] = sigmoid(x[i])
    elif function == SILU:
        for i in range(x.size):
            y[i] = silu(x[i])
    else:
        for i in range(x.size):
            y[i] = x[i] if x[i] > threshold else softplus_smooth(x[i])


@parallel_kernel
def _apply_parallel(y, x, function, threshold):
    for i in prange((x.size + BLOCK - 1) // BLOCK):
        part = slice(i * BLOCK, min(x.size, (i + 1) * BLOCK))
        _apply(y[part], x[part], function, threshold)


def apply(function, x, threshold=math.inf):
    """Return the value of `function` at each number of x."""
    x = ready(x)
    y = np.empty_like(x)
    run = _apply if few(x.size) else _apply_parallel
    run(y.reshape(-1), x.reshape(-1), function, x.dtype.type(threshold))
    return y


@kernel
def _rotate_row(y, v, cos, sin, step, second):
    """Rotate pairs: one coordinate every `step` numbers, and `second` behind it."""
    use_wide_vectors()
    for i in range(v.size):
        y[i] = v[i]
    for i in range(cos.size):
        a, b = v[step * i], v[step * i + second]
        y[step * i] = a * cos[i] - b * sin[i]
        y[step * i + second] = a * sin[i] + b * cos[i]


@kernel
def _rotate(y, v, cos, sin, step, second):
    heads = len(v) // max(len(cos), 1)
    for row in range(len(v)):
        token = row // heads
        _rotate_row(y[row], v[row], cos[token], sin[token], step, second)


@parallel_kernel
def _rotate_parallel(y, v, cos, sin, step, second, tokens):
    heads = len(v) // len(cos)
    for i in prange((len(cos) + tokens - 1) // tokens):
        own = slice(i * tokens, min(len(cos), (i + 1) * tokens))
        rows = slice(own.start * heads, own.stop * heads)
        _rotate(y[rows], v[rows], cos[own], sin[own], step, second)


def rotate(v, theta, step, second):
    """Return v with pairs rotated; equally many rows in turn share one of theta."""
    cos, sin = (f(theta).astype(v.dtype, copy=False) for f in (np.cos, np.sin))
    y = np.empty_like(v)
    if few(v.size):
        _rotate(y, v, cos, sin, step, second)
    else:
        tokens = max(1, BLOCK * len(theta) // v.size)
        _rotate_parallel(y, v, cos, sin, step, second, tokens)
    return y
