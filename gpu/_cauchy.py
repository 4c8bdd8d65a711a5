"""The generating function of S4, launched: see `kernels/cauchy.cu`."""

import numpy as np

from ._cupy import cupy
from ._launch import Budget, Program, product
from ._types import Array

CAUCHY = Program(
    "cauchy.cu",
    variants=product(RANKS=(0, 1, 2)),
    budgets=(Budget("cauchy", registers=128, shared=4_608),),
)
THREADS = 128
SLAB = 32


def spectrum(dt: Array, A: Array, left: Array, right: Array, length: int) -> Array:
    """Return K^ at the first half of the roots of unity, (channels, length // 2 + 1).

    Of left and right, (1 + ranks, channels, state), C~ and B come first, then conj(P)
    and P. Double precision is for what is known once for all nodes, or all channels.
    """
    cp, (channels, state), size = cupy(), A.shape, len(left)
    count = length // 2 + 1
    a = dt.astype(np.float64)[:, None] * A
    v = dt[:, None] * left[:, None] * right[None]
    v = cp.ascontiguousarray(v.reshape(size * size, channels, state))
    s = 2 * cp.tan(cp.arange(count) * (np.pi / length))
    out = cp.empty((channels, count), np.complex64)
    CAUCHY.kernel("cauchy", RANKS=size - 1)(
        (channels * -(-count // THREADS),),
        (THREADS,),
        (
            *(_pair(s), *_halves(a), v, out),
            *(channels, state, count, count - 1 if length % 2 == 0 else -1),
        ),
        shared=SLAB * (4 + 2 * size * size) * 4,
    )
    return out


def _pair(values: Array) -> Array:
    """Return doubles as a high and a low float, in the parts of complex numbers."""
    high = values.astype(np.float32)
    return high + 1j * (values - high).astype(np.float32)


def _halves(values: Array) -> tuple[Array, Array]:
    """Return complex doubles as a high and a low part."""
    high = cupy().ascontiguousarray(values.astype(np.complex64))
    return high, cupy().ascontiguousarray((values - high).astype(np.complex64))
