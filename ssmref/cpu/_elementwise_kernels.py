"""Kernels of functions of one number.

Limit: memory, 8 bytes per number in float32; 15 to 40 vector instructions for 16
numbers are less than that.
"""

from numba import prange

from ._lanes import kernel, parallel_kernel, use_wide_vectors
from ._math import exp, sigmoid, silu, softplus_smooth

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


def apply(y, x, function, threshold):
    """Write the value of `function` at each number of x; both have one axis."""
    run = _apply if x.size <= 2 * BLOCK else _apply_parallel
    run(y, x, function, x.dtype.type(threshold))
