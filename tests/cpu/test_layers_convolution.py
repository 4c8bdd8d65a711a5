"""The causal convolution: tiles, splits of time, packs, and steps."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numba import njit
from support.compare import assert_close
from support.fast_paths import cast, workspace
from support.layers_inputs import conv_inputs, conv_step_inputs

from ssmref.cpu import _convolution_kernels as kernels
from ssmref.cpu import layers
from ssmref.golden import layers as golden

CLOSE = {np.float32: 1e-6, np.float64: 1e-14}


def prepared(rng, dtype, *, tokens=23, channels=37, width=4, bounds=None):
    """Return the arguments of `_convolution_kernels.convolve` but the output."""
    bounds = np.array([0, tokens] if bounds is None else bounds)
    shape = (len(bounds) - 1, width - 1, channels)
    arrays = [(tokens, channels), (width, channels), (channels,), shape]
    x, taps, bias, states = (rng.standard_normal(s).astype(dtype) for s in arrays)
    return x, taps, bias, True, states, bounds


def _stretch(y, args, first, last):
    kernels._stretch(y, *args[:4], False, *args[4:], first, last)


@njit
def _linear_tile(y, x, taps, bias, t, width, channels):
    kernels._linear_tile(y, x, taps, bias, t, width, channels)


@njit
def _active_tile(y, x, taps, bias, t, width, channels):
    kernels._active_tile(y, x, taps, bias, t, width, channels)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("channels", [1, 7, 16, 33])
@pytest.mark.parametrize("width", [1, 2, 4, 9])
@pytest.mark.parametrize(
    ("tile", "plain"),
    [(_linear_tile, kernels._plain_linear), (_active_tile, kernels._plain_active)],
)
def test_tile_is_what_it_says(tile, plain, width, channels, dtype):
    rng = np.random.default_rng(1)
    x, taps, bias, *_ = prepared(rng, dtype, width=width, channels=channels)
    y = np.full_like(x, 7)
    expected = y.copy()
    for run, result in ((tile, y), (plain, expected)):
        run(result, x, taps, bias, 11, width, channels)
    assert_close(y, expected, CLOSE[dtype])
    assert np.all(y[15:] == 7)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 19])
def test_any_width_and_length_agree_with_golden(length, width, dtype):
    rng = np.random.default_rng(2)
    call = cast(conv_inputs(rng, length=length, width=width, channels=19), dtype)
    expected = golden.causal_conv1d(**call)
    assert_close(layers.causal_conv1d(**call), expected, CLOSE[dtype])


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("given", ["bias", "initial_state", ""])
def test_options_agree_with_golden(given, activation):
    call = conv_inputs(np.random.default_rng(3)) | {"activation": activation}
    for name in {"bias", "initial_state"} - {given}:
        del call[name]
    assert_close(layers.causal_conv1d(**call), golden.causal_conv1d(**call), 1e-14)


@pytest.mark.parametrize("dtype", CLOSE)
def test_time_may_be_split_anywhere(dtype):
    rng = np.random.default_rng(4)
    bounds = [0, 2, 2, 15, 16, 23]
    args = prepared(rng, dtype, bounds=bounds)
    whole = np.empty_like(args[0])
    _stretch(whole, args, 0, 23)
    for cuts in ([0, 1, 23], [0, 2, 4, 17, 23], list(range(24)), [0, 5, 5, 16, 23]):
        parts = np.full_like(whole, np.nan)
        for first, last in pairwise(cuts):
            _stretch(parts, args, first, last)
        np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.usefixtures("no_serial_paths")
def test_threads_change_nothing(threads, monkeypatch, use_threads):
    monkeypatch.setattr(kernels, "BLOCK", 64)
    args = prepared(np.random.default_rng(5), np.float32, bounds=[0, 11, 11, 23])
    whole, divided = np.empty_like(args[0]), np.empty_like(args[0])
    _stretch(whole, args, 0, 23)
    use_threads(threads)
    for _ in range(2):
        divided.fill(np.nan)
        kernels.convolve(divided, *args)
        np.testing.assert_array_equal(divided, whole)


def test_packs_with_empty_sequences_agree_with_golden():
    rng = np.random.default_rng(6)
    call = conv_inputs(rng, batch=1, length=17, channels=19)
    call["cu_seqlens"] = np.array([0, 0, 1, 3, 3, 12, 17, 17])
    call["initial_state"] = rng.standard_normal((7, 3, 19))
    assert_close(layers.causal_conv1d(**call), golden.causal_conv1d(**call), 1e-14)


def test_nan_reaches_no_other_token_or_channel():
    call = conv_inputs(np.random.default_rng(7), length=12, channels=35)
    clean, _ = layers.causal_conv1d(**call)
    call["x"][1, 5, 20], call["x"][0, 11, 3] = np.nan, np.inf
    y, state = layers.causal_conv1d(**call)
    touched = np.zeros(y.shape, bool)
    touched[1, 5:9, 20] = touched[0, 11, 3] = True
    np.testing.assert_array_equal(np.isnan(y) | np.isinf(y), touched)
    np.testing.assert_array_equal(y[~touched], clean[~touched])
    assert np.isinf(state).sum() == 1


def test_strided_inputs_give_the_same():
    call = conv_inputs(np.random.default_rng(8), length=9)
    strided: dict[str, Any] = {
        k: np.repeat(v, 2, axis=-1)[..., ::2] if isinstance(v, np.ndarray) else v
        for k, v in call.items()
    }
    assert not strided["x"].flags.c_contiguous
    for a, b in zip(
        layers.causal_conv1d(**call), layers.causal_conv1d(**strided), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_workspace_does_not_grow_with_length():
    # In kernels: twice width - 1 tokens and as many, of one thread, at sequence starts.
    rng = np.random.default_rng(9)
    calls = (conv_inputs(rng, length=length, channels=16) for length in (64, 2048))
    short, long = (workspace(layers.causal_conv1d, call) for call in calls)
    assert long < short + 4096


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("window", [3, 4, 9])
@pytest.mark.parametrize("tokens", [1, 2, 12])
def test_step_continues_a_sequence(tokens, window, dtype):
    rng = np.random.default_rng(10)
    call = cast(conv_inputs(rng, length=20, channels=21), dtype)
    whole, _ = layers.causal_conv1d(**call)
    history = np.concatenate([call["initial_state"], call["x"]], axis=1)
    x, rest = call["x"][:, -tokens:], history[:, :-tokens]
    if window > rest.shape[1]:
        rest = np.concatenate([np.zeros((2, 9, 21), dtype), rest], axis=1)
    state = np.ascontiguousarray(rest[:, -window:])
    options: dict[str, Any] = {k: call[k] for k in ("bias", "activation")}
    y, new = layers.causal_conv1d_step(x, call["weight"], state, **options)
    assert_close(y, whole[:, -tokens:], CLOSE[dtype])
    np.testing.assert_array_equal(new, history[:, history.shape[1] - window :])


def test_circular_step_agrees_with_the_linear_one():
    rng = np.random.default_rng(11)
    call = conv_step_inputs(rng, batch=3, tokens=1)
    slots, options = call["slots"], {k: call[k] for k in ("bias", "activation")}
    linear = circular = call["state"] * 0
    for position in range(15):
        x = rng.standard_normal((3, 5))
        places = np.array([position, -1, position])
        y, linear = layers.causal_conv1d_step(
            x, call["weight"], linear, slots=slots, **options
        )
        z, circular = layers.causal_conv1d_step_circular(
            x, call["weight"], circular, places, slots=slots, **options
        )
        np.testing.assert_array_equal(y, z)
        assert np.any(y[0] != y[2])
        np.testing.assert_array_equal(y[1], 0)


def test_a_negative_position_is_refused_unless_it_is_padding():
    call = conv_step_inputs(np.random.default_rng(12))
    ok = np.array([2, -5, 3])
    layers.causal_conv1d_step_circular(**call, position=ok)
    with pytest.raises(ValueError, match="position is -5; it needs to be at least 0"):
        layers.causal_conv1d_step_circular(**call, position=ok[[1, 0, 2]])


def test_steps_leave_the_state_they_are_given_and_other_slots():
    call = conv_step_inputs(np.random.default_rng(13))
    before = call["state"].copy()
    _, new = layers.causal_conv1d_step(**call)
    np.testing.assert_array_equal(call["state"], before)
    np.testing.assert_array_equal(new[[0, 2, 3]], before[[0, 2, 3]])
    assert np.all(new[[1, 4]] != before[[1, 4]])


@pytest.mark.parametrize("name", ["linear", "circular"])
def test_rows_of_a_step_may_be_divided_among_threads(name, monkeypatch):
    call = conv_step_inputs(np.random.default_rng(14))
    step = layers.causal_conv1d_step
    if name == "circular":
        call["position"] = np.array([4, 0, 9])
        step = layers.causal_conv1d_step_circular
    alone = step(**call)
    monkeypatch.setattr("ssmref.cpu.toolkit.threads.SERIAL", 0)
    for a, b in zip(alone, step(**call), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nan_in_a_buffer_stays_in_its_row_and_channel():
    call = conv_step_inputs(np.random.default_rng(15))
    call["state"][4, -1, 2] = np.nan
    y, new = layers.causal_conv1d_step(**call)
    assert np.isnan(y[0, :, 2]).all()
    assert np.isnan(y).sum() == 2
    assert np.isnan(new).sum() == 1
