"""One token of the short causal convolution: its kernel, and parts of channels."""

import numpy as np
import pytest
from support.fast_paths import close

from ssmref.cpu import _convolution_step as step
from ssmref.cpu import layers
from ssmref.cpu.toolkit.kernels import kernel

LIMITS = {np.float32: 1e-6, np.float64: 1e-14}
DTYPES = list(LIMITS)


@kernel
def linear(y, x, old, new, taps, bias, count):
    step._pass_linear(y, x, 3, old, new, 5, 90, taps, bias, 2, count)


@kernel
def active(y, x, old, new, taps, bias, count):
    step._pass_active(y, x, 3, old, new, 5, 90, taps, bias, 2, count)


RUNS = [(linear, step._plain_linear), (active, step._plain_active)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 7, 16, 17, 40, 71])
@pytest.mark.parametrize(("run", "plain"), RUNS)
def test_a_pass_is_what_it_says(run, plain, count, dtype):
    rng = np.random.default_rng(count)
    x, old, taps, bias = (
        rng.standard_normal(n).astype(dtype) for n in (99, 300, 400, 99)
    )
    y, new = np.zeros(99, dtype), np.zeros(300, dtype)
    run(y, x, old, new, taps, bias, count)
    meant, meant_new = np.zeros_like(y), np.zeros_like(new)
    plain(meant, x, 3, old, meant_new, 5, 90, taps, bias, 2, count)
    close(y, meant, 10 * LIMITS[dtype])
    np.testing.assert_array_equal(new, meant_new)
    assert (y != 0).sum() == count
    assert (new != 0).sum() == 3 * count


def test_a_pass_is_a_sum_over_taps():
    old, x = np.arange(300.0), np.arange(99.0) ** 2
    taps, y, new = np.zeros(400), np.zeros(99), np.zeros(300)
    taps[4 * 2 :: 4], taps[4 * 2 + 3 :: 4] = 2, 10
    linear(y, x, old, new, taps, np.ones(99), 6)
    np.testing.assert_array_equal(y[3:9], 1 + 2 * old[5:11] + 10 * x[3:9])
    np.testing.assert_array_equal(new[5:11], old[95:101])
    np.testing.assert_array_equal(new[185:191], x[3:9])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize(("batch", "channels"), [(1, 5), (1, 1100), (3, 530), (9, 40)])
def test_parts_of_channels_agree_with_whole_rows(
    batch, channels, activation, dtype, monkeypatch
):
    rng = np.random.default_rng(batch + channels)
    shapes = (batch, channels), (channels, 4), (batch + 1, 3, channels), (channels,)
    x, weight, state, bias = (rng.standard_normal(s).astype(dtype) for s in shapes)
    slots = np.arange(batch) + 1
    slots[-1] = -1 if batch > 1 else 0
    options = {"bias": bias, "activation": activation, "slots": slots}
    found = layers.causal_conv1d_step(x, weight, state, **options)
    monkeypatch.setattr(step, "WIDTH", 0)
    meant = layers.causal_conv1d_step(x, weight, state, **options)
    close(found[0], meant[0], 10 * LIMITS[dtype])
    np.testing.assert_array_equal(found[1], meant[1])
