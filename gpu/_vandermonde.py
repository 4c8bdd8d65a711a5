"""Kernels of diagonal systems, launched: see `kernels/vandermonde.cu`.

Decays are found in double precision: they are few beside the numbers of a kernel.
"""

import numpy as np

from ._cupy import cupy
from ._launch import Budget, Program, product
from ._types import Array

VANDERMONDE = Program(
    "vandermonde.cu",
    variants=product(DIGITS=(4, 6)),
    budgets=(Budget("vandermonde", 96, per=("FFMA", 2.0), shared=16_384),),
)
THREADS = 256
SLAB, LINES, COLUMNS = 16, 64, 64


def power_sums(weights: Array, decay: Array, length: int) -> Array:
    """Return ``Re sum_n weights[r, n] decay[r % d, n]^l``, (rows, length), in float32.

    d are the rows of `decay`.
    """
    cp, (rows, state) = cupy(), weights.shape
    sums = cp.empty((rows, length), np.float32)
    table = digits(decay, length)
    VANDERMONDE.kernel("vandermonde", DIGITS=len(table))(
        (rows * -(-length // (LINES * COLUMNS)),),
        (THREADS,),
        (
            *(cp.ascontiguousarray(weights.astype(np.complex64)), table, sums),
            *(len(decay), state, length),
        ),
        shared=2 * SLAB * (LINES + COLUMNS) * 4,
    )
    return sums


def digits(decay: Array, length: int) -> Array:
    """Return ``decay^(k 8^p)`` for k < 8 at [p], as many p as exponents have digits."""
    cp = cupy()
    # A tile may begin at the last number and name exponents of a whole tile.
    largest = length + LINES * COLUMNS
    places = []
    while not places or 8 ** len(places) < largest:
        powers = cp.repeat(decay[..., None], 9, axis=-1)
        powers[..., 0] = 1
        powers = cp.cumprod(powers, axis=-1)
        decay = powers[..., 8]
        places.append(powers[..., :8])
    return cp.ascontiguousarray(cp.stack(places).astype(np.complex64))


def discrete(dt: Array, A: Array, method: str) -> tuple[Array, Array]:
    """Return A_bar and B_bar / B of S4D in double precision."""
    cp = cupy()
    dt = dt.astype(np.float64)[:, None]
    z = dt * A
    if method == "bilinear":
        return (1 + z / 2) / (1 - z / 2), dt / (1 - z / 2)
    safe = cp.where(z == 0, 1, z)
    return cp.exp(z), dt * cp.where(z == 0, 1, expm1(safe) / safe)


def expm1(z: Array) -> Array:
    """Return ``exp(z) - 1`` without cancellation."""
    cp, half = cupy(), cupy().sin(z.imag / 2)
    real = cp.expm1(z.real) * cp.cos(z.imag) - 2 * half * half
    return real + 1j * (cp.exp(z.real) * cp.sin(z.imag))
