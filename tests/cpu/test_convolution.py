"""Long convolutions by FFT: taps that are fewer, more or none; blocks of channels."""

import numpy as np
import pytest

from ssmref.cpu import convolution
from ssmref.cpu.convolution import bidirectional_convolution, fft_convolution
from ssmref.golden import convolution as golden

LIMITS = {np.float32: 2e-5, np.float64: 1e-13}
SIZES = [
    (9, 4, 20),
    (9, 20, 3),
    (1, 1, 1),
    (50, 50, 50),
    (33, 1, 0),
    (8, 0, 8),
    (0, 3, 4),
]


def direct(u, kernel, backward, D, lag):
    """Return the sums of the definition."""
    y, length = D * u, u.shape[1]
    for t in range(length):
        for s in range(length):
            if 0 <= t - s < kernel.shape[1]:
                y[:, t] += kernel[:, t - s] * u[:, s]
            if 0 <= s - t - lag < backward.shape[1]:
                y[:, t] += backward[:, s - t - lag] * u[:, s]
    return y


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize(("length", "taps", "later"), SIZES)
def test_both_are_sums_over_tokens(length, taps, later, lag, dtype):
    rng, channels = np.random.default_rng(length), 20
    shapes = ((2, length, channels), (channels, taps), (channels, later), (channels,))
    u, kernel, backward, D = (rng.standard_normal(s).astype(dtype) for s in shapes)
    wide = [v.astype(np.float64) for v in (u, kernel, backward, D)]
    expected = direct(wide[0], wide[1], wide[2], wide[3], lag)
    found = bidirectional_convolution(u, kernel, backward, D=D, lag=lag)
    assert found.dtype == dtype
    limit = LIMITS[dtype] * max(1, length)
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
    causal = direct(u, kernel, backward[:, :0], 0 * D, lag)
    found = fft_convolution(u, kernel)
    np.testing.assert_allclose(found, causal, rtol=0, atol=limit)


def test_blocks_of_channels_are_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    u, kernel = rng.standard_normal((2, 30, 37)), rng.standard_normal((37, 30))
    whole = fft_convolution(u, kernel)
    monkeypatch.setattr(convolution, "NUMBERS", 1)
    np.testing.assert_allclose(fft_convolution(u, kernel), whole, rtol=0, atol=1e-14)


def test_lag_is_none_or_one():
    u, kernel = np.ones((1, 3, 2)), np.ones((2, 3))
    for package in (convolution, golden):
        with pytest.raises(ValueError, match=r"lag is 2; it needs to be one of"):
            package.bidirectional_convolution(u, kernel, kernel, lag=2)
