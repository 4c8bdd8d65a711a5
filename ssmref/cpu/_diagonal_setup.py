"""Constants of diagonal systems, and their states on the way into kernels and out.

Constants are found in double precision: what they lose stays in every token.
"""

import numpy as np

from ._diagonal import DECAY, DRIVE, GROUP, PLANES, POWER, READ
from ._discretize import discretize
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, kernel
from .toolkit.memory import aligned_zeros


def constants(dt, A, B, C, D, hold, owner):
    """Return W, K, see `advance`, and A_bar (2, state, lanes) of vectors of channels.

    Lane i of vector v has row ``owner[v, i]`` of A, or is padding where that is
    negative. D may be empty.
    """
    (vectors, count), state = owner.shape, A.shape[1]
    W = aligned_zeros((vectors, PLANES * state * count), dt.dtype)
    K = aligned_zeros((vectors, GROUP * count), dt.dtype)
    decay = np.zeros((vectors, 2, state * count))
    inputs = (dt.astype(np.float64), A, B, C, D, hold, owner)
    for_each(
        _prepare, vectors, 100 * owner.size * state, dt.dtype, *inputs, W, K, decay
    )
    return W, K, decay


@Item
def _prepare(dt, A, B, C, D, hold, owners, all_W, all_K, all_decay, vector):
    """Fill the constants of one vector of channels."""
    W, K, decay = all_W[vector], all_K[vector], all_decay[vector]
    owner, twice = owners[vector], np.zeros(len(dt)) + 2.0
    size = A.shape[1] * len(owner)
    z, b, c = np.zeros((2, size)), np.zeros((2, size)), np.zeros((2, size))
    _gather(dt, A, owner, z)
    discretize(z, decay, b, hold)
    _gather(dt, B, owner, z)
    _multiply(b, z)
    _gather(twice, C, owner, c)
    start, power = b.copy(), decay.copy()
    _keep(W, DECAY, decay)
    for j in range(GROUP):
        _taps(c, start, D, owner, j, K)
        _multiply(c, decay)
        _keep(W, DRIVE + 2 * j, b)
        _keep(W, READ + 2 * j, c)
        _multiply(b, decay)
        if j:
            _multiply(power, decay)
    _keep(W, POWER, power)


@inner
def _gather(scale, A, owner, planes):
    """Find ``scale[d] A[d, n]`` of the rows d that the lanes have."""
    count = len(owner)
    for lane in range(count):
        d = owner[lane]
        if d >= 0:
            for n in range(A.shape[1]):
                planes[0, n * count + lane] = scale[d] * A[d, n].real
                planes[1, n * count + lane] = scale[d] * A[d, n].imag


@inner
def _multiply(x, a):
    """Multiply x by a: planes of complex numbers."""
    for i in range(x.shape[1]):
        re = x[0, i] * a[0, i] - x[1, i] * a[1, i]
        x[1, i] = x[0, i] * a[1, i] + x[1, i] * a[0, i]
        x[0, i] = re


@inner
def _keep(W, plane, x):
    """Round both parts to the dtype of W."""
    size = x.shape[1]
    for i in range(size):
        W[plane * size + i] = x[0, i]
        W[(plane + 1) * size + i] = x[1, i]


@inner
def _taps(c, b, D, owner, j, K):
    """Set ``K[j]`` to the sum of ``Re(c b)`` over states; D is added to the first."""
    count = len(owner)
    total = np.zeros(count)
    for i in range(c.shape[1]):
        total[i % count] += c[0, i] * b[0, i] - c[1, i] * b[1, i]
    for lane in range(count):
        if j == 0 and len(D) and owner[lane] >= 0:
            total[lane] += D[owner[lane]]
        K[j * count + lane] = total[lane]


@kernel
def raise_to(a, exponent, power):
    """Find ``a^exponent`` for planes of complex numbers, by repeated squaring."""
    for i in range(a.shape[1]):
        power[0, i], power[1, i] = 1.0, 0.0
    square = a.copy()
    while exponent > 0:
        if exponent % 2:
            _multiply(power, square)
        _multiply(square, square.copy())
        exponent //= 2


@inner
def load_state(states, row, index, X, at, plane):
    """Copy states into planes, see `advance`: lane i is ``states[row, index[i]]``.

    Where the index is negative the lane stays as it is.
    """
    for lane in range(len(index)):
        for n in range(states.shape[2] if index[lane] >= 0 else 0):
            place = at + n * len(index) + lane
            X[place] = states[row, index[lane], n].real
            X[plane + place] = states[row, index[lane], n].imag


@inner
def store_state(X, at, plane, states, row, index):
    """The opposite of `load_state`."""
    for lane in range(len(index)):
        for n in range(states.shape[2] if index[lane] >= 0 else 0):
            place = at + n * len(index) + lane
            states[row, index[lane], n] = complex(X[place], X[place + plane])
