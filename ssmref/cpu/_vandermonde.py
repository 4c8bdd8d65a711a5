"""Kernels of diagonal systems: sums of powers, as products of matrices.

::

    K[J m + j] = Re sum_n (w[n] a[n]^(J m)) a[n]^j

Limit: 2 multiply-adds per state and number, at the rate of `add_product`. Both factors
are found in double precision by doubling, so that no power is a product of many.
"""

import numpy as np

from ._arguments import planes
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, use_wide_vectors
from .toolkit.memory import new_zeros
from .toolkit.products import add_product

# Columns and rows of a product: both factors stay in the first-level caches.
COLUMNS = 128
ROWS = 64


def power_sums(weights, decay, length, dtype):
    """Return ``Re sum_n weights[r, n] decay[r % d, n]^l``, (rows, length).

    d are the rows of `decay`.
    """
    sums = np.zeros((len(weights), length), dtype)
    arguments = (planes(weights), planes(decay), sums)
    work = 2 * sums.size * decay.shape[1]
    for_each(_sum_row, len(sums), work, sums.dtype, *arguments)
    return sums


@Item
def _sum_row(weights, decay, sums, row):
    """Fill one row, ROWS times COLUMNS numbers at a time."""
    state, length, flat = decay.shape[2], sums.shape[1], sums.ravel()
    right = new_zeros(2 * state * COLUMNS, sums)
    left = new_zeros(2 * state * ROWS, sums)
    a, w = decay[:, row % decay.shape[1]].copy(), weights[:, row].copy()
    rest = _powers(a, np.ones(state), np.zeros(state), right, COLUMNS, -1.0)
    for first in range(0, length, ROWS * COLUMNS):
        step = _powers(rest, w[0], w[1], left, ROWS, 1.0)
        for n in range(state):
            re = w[0, n] * step[0, n] - w[1, n] * step[1, n]
            w[1, n] = w[0, n] * step[1, n] + w[1, n] * step[0, n]
            w[0, n] = re
        numbers, at = min(ROWS * COLUMNS, length - first), row * length + first
        whole, tail = numbers // COLUMNS, numbers % COLUMNS
        add_product(
            *(flat, at, COLUMNS, left, 0, 1, ROWS),
            *(right, 0, COLUMNS, whole, COLUMNS, 2 * state),
        )
        add_product(
            *(flat, at + whole * COLUMNS, COLUMNS, left, whole, 1, ROWS),
            *(right, 0, COLUMNS, min(tail, 1), tail, 2 * state),
        )


@inner
def _powers(a, re, im, out, count, sign):
    """Set rows of `out` to ``x a^i`` for i < count: first all re, then sign times im.

    Returns ``a^count``; count is a power of two.
    """
    use_wide_vectors()
    state = len(re)
    x, power = np.empty((2, count)), np.empty((2, state))
    for n in range(state):
        x[0, 0], x[1, 0] = re[n], im[n]
        step_re, step_im, size = a[0, n], a[1, n], 1
        while size < count:
            _turn(x[0, :size], x[1, :size], step_re, step_im, x[0, size:], x[1, size:])
            step_re, step_im = (
                step_re * step_re - step_im * step_im,
                2 * step_re * step_im,
            )
            size *= 2
        power[0, n], power[1, n] = step_re, step_im
        real = out[n * count : (n + 1) * count]
        imag = out[(state + n) * count : (state + n + 1) * count]
        for i in range(count):
            real[i], imag[i] = x[0, i], sign * x[1, i]
    return power


@inner
def _turn(re, im, step_re, step_im, new_re, new_im):
    """Multiply numbers by a step."""
    use_wide_vectors()
    for i in range(len(re)):
        new_re[i] = re[i] * step_re - im[i] * step_im
        new_im[i] = re[i] * step_im + im[i] * step_re
