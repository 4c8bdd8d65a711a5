"""Long convolutions: how S4, S4D and H3 apply a kernel as long as the sequence."""

import numpy as np

from ._contract import checked, choose
from ._types import Real

Sequence = Real[np.ndarray, "batch length channels"]
Kernel = Real[np.ndarray, "channels taps"]
PerChannel = Real[np.ndarray, " channels"]


@checked
def fft_convolution(
    u: Sequence, kernel: Kernel, *, D: PerChannel | None = None
) -> Sequence:
    """Convolve each channel causally with its kernel, as a product of spectra.

    ::

        y[t] = sum_{s <= t} kernel[t - s] u[s] + D u[t]

    Taps beyond the given ones are zero. Official S4 ``FFTConv``; transforms of length
    ``length + taps`` leave nothing to wrap around.
    """
    length = u.shape[1]
    n = max(length + kernel.shape[1], 1)
    spectrum = np.fft.rfft(u, n, axis=1) * np.fft.rfft(kernel.T, n, axis=0)
    y = np.fft.irfft(spectrum, n, axis=1)[:, :length]
    return y if D is None else y + D * u


@checked
def bidirectional_convolution(
    u: Sequence,
    kernel: Kernel,
    backward: Real[np.ndarray, "channels later"],
    *,
    D: PerChannel | None = None,
    lag: int = 1,
) -> Sequence:
    """Convolve with one kernel from the past and another from the future.

    ::

        y[t] = sum_{s <= t} kernel[t - s] u[s]
             + sum_{s >= t + lag} backward[s - t - lag] u[s] + D u[t]

    Official S4 ``FFTConv(bidirectional=True)``: the backward kernel starts at lag 1.
    With lag 0 both start at the present, which makes equal kernels symmetric. Raises
    ValueError for another lag.
    """
    choose("lag", lag, 0, 1)
    reversed_future = fft_convolution(u[:, ::-1], backward)[:, ::-1]
    future = np.zeros_like(u)
    future[:, : u.shape[1] - lag] = reversed_future[:, lag:]
    return fft_convolution(u, kernel, D=D) + future
