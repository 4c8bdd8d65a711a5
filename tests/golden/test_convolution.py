import numpy as np
import pytest
from support.compare import assert_close

from ssmref.golden.convolution import bidirectional_convolution, fft_convolution


def direct(u, kernel, backward=None, lag=1):
    y = np.zeros_like(u)
    length, taps = u.shape[1], kernel.shape[1]
    for t in range(length):
        for s in range(length):
            if 0 <= t - s < taps:
                y[:, t] += kernel[:, t - s] * u[:, s]
            if backward is not None and 0 <= s - t - lag < backward.shape[1]:
                y[:, t] += backward[:, s - t - lag] * u[:, s]
    return y


@pytest.mark.parametrize("taps", [0, 1, 4, 7, 12])
@pytest.mark.parametrize("length", [0, 1, 2, 7])
def test_fft_convolution_is_the_sum(length, taps):
    rng = np.random.default_rng(0)
    u, kernel = rng.standard_normal((2, length, 3)), rng.standard_normal((3, taps))
    D = rng.standard_normal(3)
    assert_close(fft_convolution(u, kernel, D=D), direct(u, kernel) + D * u)


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize(("taps", "later"), [(7, 7), (3, 5), (9, 1)])
@pytest.mark.parametrize("length", [0, 1, 2, 7])
def test_bidirectional_convolution_is_the_sum(length, taps, later, lag):
    rng = np.random.default_rng(0)
    u = rng.standard_normal((2, length, 3))
    kernel, backward = rng.standard_normal((3, taps)), rng.standard_normal((3, later))
    D = rng.standard_normal(3)
    found = bidirectional_convolution(u, kernel, backward, D=D, lag=lag)
    assert_close(found, direct(u, kernel, backward, lag) + D * u)


def test_default_lag_is_the_official_one():
    u, one = np.array([[[1.0], [2.0], [4.0]]]), np.ones((1, 1))
    found = bidirectional_convolution(u, one, one)
    assert_close(found, np.array([[[3.0], [6.0], [4.0]]]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_precision_is_kept(dtype):
    rng = np.random.default_rng(0)
    u, kernel = rng.standard_normal((2, 9, 3)), rng.standard_normal((3, 4))
    found = bidirectional_convolution(*(x.astype(dtype) for x in (u, kernel, kernel)))
    assert found.dtype == dtype
    expected = direct(u, kernel, kernel)
    assert_close(found.astype(float), expected, max(1e-12, 10 * np.finfo(dtype).eps))


def test_bad_arguments_are_refused():
    u, kernel = np.zeros((1, 3, 2)), np.zeros((2, 3))
    with pytest.raises(ValueError, match="lag is 2; it needs to be one of"):
        bidirectional_convolution(u, kernel, kernel, lag=2)
    with pytest.raises(ValueError, match=r"kernel has shape \(3, 3\); it needs"):
        fft_convolution(u, np.zeros((3, 3)))
