"""The selective scan as one parallel scan over time, to be compared with.

Decays, drives and states of all tokens are written out, (tokens, channels times state),
as frameworks do that have an associative scan: bound by memory, where `_mamba1_scan`
is bound by arithmetic. Numbers may be complex.
"""

import cmath

import numpy as np
from numba import prange

from .toolkit.elementary import exp
from .toolkit.kernels import parallel_kernel, use_wide_vectors


def states_of(dt, u, A, B, h):
    """Return the states before and after all tokens of a sequence that begins with h.

    dt, u: (length, channels). A, h: (channels, state). B: (length, groups, state), or
    (1, channels, state) where constant.
    """
    length, size = len(dt), 1
    while size < length:
        size *= 2
    decay = np.zeros((size, h.size), h.dtype)
    drive = np.zeros_like(decay)
    exponents_and_drives(dt, u, A, B, decay, drive)
    exponentials = _complex_exp if h.dtype.kind == "c" else _real_exp
    exponentials(decay)
    states = np.empty((size + 1, h.size), h.dtype)
    states[0] = h.reshape(-1)
    _sweep(decay, drive, states)
    return states[: length + 1].reshape(length + 1, *h.shape)


@parallel_kernel
def exponents_and_drives(dt, u, A, B, exponent, drive):
    """Write dt A and dt u B; tokens after the last keep 0, the identity of the scan."""
    channels, states = A.shape
    share, varying = channels // B.shape[1], 0 if len(B) == 1 else 1
    for t in prange(len(dt)):
        for d in range(channels):
            for n in range(states):
                exponent[t, d * states + n] = dt[t, d] * A[d, n]
                B_now = B[t * varying, d // share, n]
                drive[t, d * states + n] = dt[t, d] * u[t, d] * B_now


@parallel_kernel
def _real_exp(x):
    for t in prange(len(x)):
        use_wide_vectors()
        row = x[t]
        for k in range(len(row)):
            row[k] = exp(row[k])


@parallel_kernel
def _complex_exp(x):
    for t in prange(len(x)):
        for k in range(x.shape[1]):
            x[t, k] = cmath.exp(x[t, k])


@parallel_kernel
def _sweep(decay, drive, states):
    """Scan: pairs become one, up the tree; then states before pairs, down the tree.

    ``states[0]`` is given; ``states[t + 1]`` will be the state after token t.
    """
    size, width = decay.shape
    half = 1
    while half < size:
        for pair in prange(size // (2 * half)):
            left, right = (2 * pair + 1) * half - 1, (2 * pair + 2) * half - 1
            for k in range(width):
                drive[right, k] += decay[right, k] * drive[left, k]
                decay[right, k] *= decay[left, k]
        half *= 2
    for k in range(width):
        states[size, k] = decay[size - 1, k] * states[0, k] + drive[size - 1, k]
    while half > 1:
        half //= 2
        for pair in prange(size // (2 * half)):
            first, left = 2 * pair * half, (2 * pair + 1) * half - 1
            for k in range(width):
                after = decay[left, k] * states[first, k] + drive[left, k]
                states[left + 1, k] = after


@parallel_kernel
def read(states, C, y, factor):
    """Write ``factor Re(C h)`` of the states after all tokens."""
    channels, count = states.shape[1:]
    share, varying = channels // C.shape[1], 0 if len(C) == 1 else 1
    for t in prange(len(y)):
        for d in range(channels):
            total = factor * 0
            for n in range(count):
                own = C[t * varying, d // share, n] * states[t + 1, d, n]
                total += own.real
            y[t, d] = factor * total
