"""Results written past the caches are those written through them."""

import numpy as np
import pytest

from ssmref.cpu import _convolution_kernels, _mamba2_step, _streaming, mamba2
from ssmref.cpu.toolkit.memory import aligned_empty

DTYPES = [np.float32, np.float64]
ROWS, CHANNELS = 11, 48


def outputs(dtype):
    """Return memory for results that does not begin with a line, and that does."""
    shape = ROWS, CHANNELS
    room = aligned_empty((ROWS * CHANNELS + 1,), dtype)
    return [room[1:].reshape(shape), aligned_empty(shape, dtype)]


@pytest.fixture
def small(monkeypatch):
    """Results of any size are large."""
    monkeypatch.setattr(_streaming, "STREAMED", 0)


def test_only_large_results_of_whole_lines_are_streamed(monkeypatch):
    aside, y = outputs(np.float32)
    assert not _streaming.streams(y, CHANNELS)
    assert _streaming.streams(y, CHANNELS, y.nbytes)
    monkeypatch.setattr(_streaming, "STREAMED", y.nbytes)
    assert _streaming.streams(y, CHANNELS)
    assert not _streaming.streams(aside, CHANNELS)
    assert not _streaming.streams(y[:-1], CHANNELS)
    assert not _streaming.streams(aligned_empty((ROWS * 6, 8), np.float32), 8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.usefixtures("small")
def test_convolution(activate, dtype):
    rng = np.random.default_rng(1)
    x, taps, bias, state = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((ROWS, CHANNELS), (4, CHANNELS), CHANNELS, (1, 3, CHANNELS))
    )
    plain, streamed = outputs(dtype)
    for y in (plain, streamed):
        bounds = np.array([0, ROWS])
        _convolution_kernels.convolve(y, x, taps, bias, activate, state, bounds)
    np.testing.assert_array_equal(plain, streamed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("small")
def test_one_token_of_ssd(dtype, monkeypatch):
    rng = np.random.default_rng(2)
    shapes = (3, 2, 5), (3, 2), (3, 1, 32), (3, 1, 32), (3, 2, 5, 32)
    x, dt, B, C, state = (rng.standard_normal(s).astype(dtype) for s in shapes)
    slots, found = np.array([2, -1, 0]), []
    for start in (1, 0):
        # From a line on, or one number behind it.
        room = aligned_empty((state.size + 1,), dtype)
        new = room[start:][: state.size].reshape(state.shape)
        monkeypatch.setattr(_mamba2_step, "output", lambda *_, new=new: new)
        assert _streaming.streams(new, 32) == (start == 0)
        found.append(
            mamba2.ssd_step(x, dt, -dt[0, :], B, C, state, slots=slots),
        )
    (y, plain), (z, streamed) = found
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(plain, streamed)
    np.testing.assert_array_equal(plain[1], state[1])
