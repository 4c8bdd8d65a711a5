"""Kernels of one or several tokens of the short causal convolution.

Limit: memory. The buffer of each row is read and written once, and so are the taps.
"""

from numba import prange

from ._convolution_kernels import copy
from .toolkit.elementary import silu
from .toolkit.kernels import inner, kernel, parallel_kernel, use_wide_vectors
from .toolkit.threads import few


@inner
def _add_product(y, weight, x):
    use_wide_vectors()
    for c in range(y.size):
        y[c] += weight[c] * x[c]


@inner
def _activate(y):
    use_wide_vectors()
    for c in range(y.size):
        y[c] = silu(y[c])


@inner
def _outputs(y, x, state, position, taps, bias, activate):
    """Write the outputs of a row. Token q < 0, before x, is at the end of `state`.

    Or where a circular buffer has it, unless `position` is negative.
    """
    window, width = len(state), len(taps)
    for t in range(len(y)):
        copy(y[t], bias)
        for k in range(width):
            q = t - (width - 1) + k
            if q >= 0:
                _add_product(y[t], taps[k], x[q])
            elif position < 0:
                _add_product(y[t], taps[k], state[window + q])
            else:
                _add_product(y[t], taps[k], state[(position + q) % window])
        if activate:
            _activate(y[t])


@inner
def _shift(new, state, x):
    """Write the last tokens of `state` and x."""
    window, tokens = len(state), len(x)
    for j in range(window):
        at = j + tokens
        copy(new[j], state[at] if at < window else x[at - window])


@inner
def _linear_row(b, y, x, state, new, rows, taps, bias, activate):
    row = rows[b]
    if row < 0:
        y[b] = 0
    else:
        _outputs(y[b], x[b], state[row], -1, taps, bias, activate)
        _shift(new[row], state[row], x[b])


@kernel
def _linear(y, x, state, new, rows, taps, bias, activate):
    for b in range(len(y)):
        _linear_row(b, y, x, state, new, rows, taps, bias, activate)


@parallel_kernel
def _linear_parallel(y, x, state, new, rows, taps, bias, activate):
    for b in prange(len(y)):
        _linear_row(b, y, x, state, new, rows, taps, bias, activate)


def linear(y, x, state, new, *options):
    """Write the outputs, and the new buffer of each row that has one."""
    run = _linear if few(y.size + new.size) else _linear_parallel
    run(y, x, state, new, *options)


@inner
def _circular_row(b, y, x, state, new, rows, position, taps, bias, activate):
    row, window = rows[b], state.shape[1]
    if row < 0:
        y[b] = 0
    else:
        _outputs(y[b], x[b], state[row], position[b], taps, bias, activate)
        for t in range(x.shape[1]):
            copy(new[row, (position[b] + t) % window], x[b, t])


@kernel
def _circular(y, x, state, new, rows, position, taps, bias, activate):
    for b in range(len(y)):
        _circular_row(b, y, x, state, new, rows, position, taps, bias, activate)


@parallel_kernel
def _circular_parallel(y, x, state, new, rows, position, taps, bias, activate):
    for b in prange(len(y)):
        _circular_row(b, y, x, state, new, rows, position, taps, bias, activate)


def circular(y, x, state, new, *options):
    """Write the outputs, and the tokens into `new`, which is a copy of `state`."""
    run = _circular if few(y.size + new.size) else _circular_parallel
    run(y, x, state, new, *options)
