"""Long convolutions on the CPU: see `ssmref.golden.convolution`."""

from typing import Any

import numpy as np
from scipy import fft

from ..contract import choose
from ._arguments import checked
from ._types import Real
from .toolkit.threads import threads

Sequence = Real[np.ndarray, "batch length channels"]
Kernel = Real[np.ndarray, "channels taps"]
PerChannel = Real[np.ndarray, " channels"]

# Channels that are transformed together: at least so many, and numbers that fit into
# the second-level cache.
CHANNELS = 16
NUMBERS = 2**18


@checked
def fft_convolution(
    u: Sequence, kernel: Kernel, *, D: PerChannel | None = None
) -> Sequence:
    """`golden.convolution.fft_convolution`, some channels at a time, in all threads.

    Taps that no output reaches are not transformed.
    """
    taps = kernel[:, : u.shape[1]]
    return _convolve(u, taps, taps[:, :0], 0, D)


@checked
def bidirectional_convolution(
    u: Sequence,
    kernel: Kernel,
    backward: Real[np.ndarray, "channels later"],
    *,
    D: PerChannel | None = None,
    lag: int = 1,
) -> Sequence:
    """`golden.convolution.bidirectional_convolution`, by one circular kernel."""
    choose("lag", lag, 0, 1)
    length = u.shape[1]
    return _convolve(u, kernel[:, :length], backward[:, :length], lag, D)


def _convolve(u, past, future, lag: int, D) -> np.ndarray:
    """Convolve with taps for the lags 0, 1, ... and for -lag, -lag - 1, ..."""
    (_, length, channels), reach = u.shape, max(past.shape[1], future.shape[1] + lag)
    y = np.empty(u.shape, u.dtype)
    n: Any = fft.next_fast_len(max(length + reach - 1, 1), real=True)
    block = max(CHANNELS, NUMBERS // n)
    for first in range(0, channels if length else 0, block):
        own = slice(first, first + block)
        taps = np.zeros((len(past[own]), n), u.dtype)
        taps[:, : past.shape[1]] = past[own]
        # The tap of lag -m is m from the end, with lag 0 at the front.
        places = -np.arange(lag, lag + future.shape[1]) % n
        taps[:, places] += future[own]
        x = u[:, :, own].swapaxes(1, 2)
        spectrum: Any = fft.rfft(x, n, workers=threads())
        spectrum *= fft.rfft(taps, workers=threads())
        x: Any = fft.irfft(spectrum, n, overwrite_x=True, workers=threads())
        y[:, :, own] = x[:, :, :length].swapaxes(1, 2)
    if D is not None:
        y += D * u
    return y
