"""Long convolutions on the GPU, by cuFFT: see `ssmref.golden.convolution`."""

from typing import Any

import numpy as np

from ._arrays import ready
from ._contract import checked, choose
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._types import Array, Real, Wide, word

Sequence = Real[Array, "batch length channels"]
Kernel = Wide[Array, "channels taps"]
PerChannel = Wide[Array, " channels"]

AROUND = Program(
    "long_convolution.cu",
    variants=product(IO=("float", "bf16", "f16")),
    budgets=(
        Budget("long_convolution_in", registers=48, shared=4_224),
        Budget("long_convolution_out", registers=48, shared=4_224),
    ),
)
SIDE, STRIP = 32, 8


@checked
def fft_convolution(
    u: Sequence, kernel: Kernel, *, D: PerChannel | None = None
) -> Sequence:
    """`golden.convolution.fft_convolution`: taps that no output reaches are not used.

    Transforms are in float32 whatever u is.
    """
    u, y = ready(u), cupy().empty(u.shape, u.dtype)
    convolve(u, kernel[:, : u.shape[1]], y, D)
    return y


@checked
def bidirectional_convolution(
    u: Sequence,
    kernel: Kernel,
    backward: Wide[Array, "channels later"],
    *,
    D: PerChannel | None = None,
    lag: int = 1,
) -> Sequence:
    """`golden.convolution.bidirectional_convolution`, by one circular kernel."""
    choose("lag", lag, 0, 1)
    cp, length = cupy(), u.shape[1]
    u, y = ready(u), cp.empty(u.shape, u.dtype)
    past, future = kernel[:, :length], backward[:, :length]
    n = fast_size(length + max(past.shape[1], future.shape[1] + lag) - 1)
    taps = cp.zeros((len(kernel), n), np.float32)
    taps[:, : past.shape[1]] = past
    # The tap of lag -m is m from the end, with lag 0 at the front.
    later = future.shape[1] if lag else max(future.shape[1] - 1, 0)
    first = future.shape[1] - later
    if first:
        taps[:, 0] += future[:, 0]
    if later:
        taps[:, n - later :] += future[:, first:][:, ::-1]
    convolve(u, taps, y, D, n=n)
    return y


def convolve(
    u: Array,
    taps: Array,
    y: Array,
    D: Array | None = None,
    *,
    more: Array | None = None,
    n: int | None = None,
) -> None:
    """Write to y the convolution of u with taps, plus `more`, plus D u.

    u and y are stretches of time, (batch, length, channels), of arrays in C order;
    `more` is (batch, channels, length). n is the size of the transforms; unless it is
    given, nothing wraps around.
    """
    cp, (batch, length, channels) = cupy(), u.shape
    if 0 in u.shape:
        return
    n = n or fast_size(length + taps.shape[1] - 1)
    row = max(u.strides[0] // (channels * u.itemsize), length)
    x = cp.empty((batch, channels, n), np.float32)
    sizes, tiles = (length, channels, n, row), -(-channels // SIDE) * batch
    kernel: Any = AROUND.kernel("long_convolution_in", IO=word(u))
    shared = SIDE * (SIDE + 1) * 4
    kernel((tiles * -(-n // SIDE),), (SIDE, STRIP), (u, x, *sizes), shared=shared)
    spectrum = cp.fft.rfft(x)
    spectrum *= cp.fft.rfft(taps, n)
    x = cp.fft.irfft(spectrum, n)
    if more is not None:
        x[..., :length] += more
    kernel = AROUND.kernel("long_convolution_out", IO=word(u))
    arrays = (x, u, None if D is None else ready(D), y)
    kernel(
        (tiles * -(-length // SIDE),), (SIDE, STRIP), (*arrays, *sizes), shared=shared
    )


def fast_size(least: int) -> int:
    """Return the next even number with no prime factor but 2, 3, 5 and 7."""
    size = max(least + least % 2, 2)
    while not _smooth(size):
        size += 2
    return size


def _smooth(size: int) -> bool:
    for prime in (2, 3, 5, 7):
        while size % prime == 0:
            size //= prime
    return size == 1
