"""Normalisations, activations and rotations: sums, limits, threads."""

import numpy as np
import pytest
from numba import njit
from support.compare import assert_close
from support.layers_inputs import (
    layer_norm_inputs,
    rms_norm_gated_inputs,
    rms_norm_inputs,
)

from ssmref.cpu import _elementwise_kernels, _norm_kernels, layers
from ssmref.golden import layers as golden

CLOSE = {np.float32: 2e-6, np.float64: 1e-14}


@njit
def _reduced(x, count, mean, sums):
    _norm_kernels.moments(x, count, mean, sums)
    return _norm_kernels.sum_of(x, count), _norm_kernels.square_sum(x, count)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("count", [0, 1, 5, 8, 15, 16, 17, 63, 64, 65, 100, 200, 333])
def test_sums_are_what_they_say(count, dtype):
    x = np.random.default_rng(1).uniform(1, 2, 400).astype(dtype)
    found, expected = np.empty(2, dtype), np.empty(2, dtype)
    total, squares = _reduced(x, count, dtype(1.25), found)
    _norm_kernels._plain_moments(x, count, dtype(1.25), expected)
    plain = _norm_kernels._plain_sum, _norm_kernels._plain_square_sum
    for value, function in zip((total, squares), plain, strict=True):
        np.testing.assert_allclose(value, function(x, count), rtol=CLOSE[dtype])
    np.testing.assert_allclose(found, expected, rtol=CLOSE[dtype])


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("channels", [1, 3, 16, 50, 131])
@pytest.mark.parametrize("given", [True, False])
def test_norms_of_any_size_agree_with_golden(given, channels, dtype):
    rng = np.random.default_rng(2)
    x, weight, bias = (
        rng.standard_normal(s).astype(dtype)
        for s in ((2, 3, channels), channels, channels)
    )
    weight, bias = (weight, bias) if given else (None, None)
    for eps in (1e-5, 0.5):
        found = layers.rms_norm(x, weight, eps=eps)
        assert_close(found, golden.rms_norm(x, weight, eps=eps), CLOSE[dtype])
        found = layers.layer_norm(x, weight, bias, eps=eps)
        # One channel is its own mean.
        expected = golden.layer_norm(x, weight, bias, eps=eps)
        np.testing.assert_allclose(found, expected, rtol=50 * CLOSE[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 6])
@pytest.mark.parametrize("given", [("weight", "z"), ("z",), ("weight",), ()])
def test_gated_norm_agrees_with_golden(given, size, before, dtype):
    call = rms_norm_gated_inputs(np.random.default_rng(3))
    arrays = {k: call[k].astype(dtype) for k in ("x", *given)}
    options = {"group_size": size, "norm_before_gate": before, "eps": 1e-2}
    found = layers.rms_norm_gated(**arrays, **options)
    assert_close(found, golden.rms_norm_gated(**arrays, **options), CLOSE[dtype])


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("rms_norm", rms_norm_inputs),
        ("rms_norm_gated", rms_norm_gated_inputs),
        ("layer_norm", layer_norm_inputs),
    ],
)
def test_rows_may_be_divided_among_threads(name, inputs, monkeypatch):
    call, norm = inputs(np.random.default_rng(4)), getattr(layers, name)
    alone = norm(**call)
    monkeypatch.setattr("ssmref.cpu.toolkit.threads.SERIAL", 0)
    monkeypatch.setattr(_norm_kernels, "BLOCK", 12)
    for _ in range(2):
        np.testing.assert_array_equal(norm(**call), alone)


def test_nan_and_infinity_stay_in_their_group():
    call = rms_norm_gated_inputs(np.random.default_rng(5))
    clean = layers.rms_norm_gated(**call)
    call["x"][0, 2, 1], call["z"][1, 3, 4] = np.nan, np.inf
    with np.errstate(all="ignore"):
        y, expected = layers.rms_norm_gated(**call), golden.rms_norm_gated(**call)
    touched = np.zeros(y.shape, bool)
    touched[0, 2, 0:2] = touched[1, 3, 4:6] = True
    np.testing.assert_array_equal(y[~touched], clean[~touched])
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    assert np.isnan(y[0, 2, 0:2]).all()


def test_a_row_of_zeros_is_nan_only_without_eps():
    x = np.zeros((1, 9))
    for norm in (layers.rms_norm, layers.layer_norm):
        with np.errstate(all="ignore"):
            assert np.isnan(norm(x, eps=0)).all()
        np.testing.assert_array_equal(norm(x), 0)


def test_long_rows_lose_no_digits():
    x = np.random.default_rng(6).uniform(0.5, 1.5, (1, 30_001)).astype(np.float32)
    for norm in ("rms_norm", "layer_norm"):
        exact = getattr(golden, norm)(x.astype(np.float64))
        assert_close(getattr(layers, norm)(x).astype(np.float64), exact, 3e-7)


def test_a_large_mean_costs_the_deviations_nothing():
    rest = np.random.default_rng(7).integers(-512, 512, (3, 700)).astype(np.float32)
    x = np.float32(4e6) + rest
    exact = golden.layer_norm(x.astype(np.float64))
    assert_close(layers.layer_norm(x).astype(np.float64), exact, 3e-7)


def numbers(dtype) -> np.ndarray:
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.uniform(-30, 30, 77), [0, 1e-30, -1e-30, 19.9, 20.1, 85]])
    return x.astype(dtype).reshape(-1, 1)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", ["sigmoid", "silu", "softplus", "heavy_tail"])
def test_activations_agree_with_golden_relatively(name, dtype, monkeypatch):
    x = numbers(dtype)
    y, expected = getattr(layers, name)(x), getattr(golden, name)(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=8 * np.finfo(dtype).eps)
    monkeypatch.setattr("ssmref.cpu.toolkit.threads.SERIAL", 0)
    monkeypatch.setattr(_elementwise_kernels, "BLOCK", 16)
    np.testing.assert_array_equal(getattr(layers, name)(x), y)


@pytest.mark.parametrize("name", ["sigmoid", "silu", "softplus", "heavy_tail"])
def test_limits_of_activations_are_those_of_golden(name):
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -745.0, 1e300])
    with np.errstate(all="ignore"):
        expected = getattr(golden, name)(x)
    np.testing.assert_allclose(getattr(layers, name)(x), expected, rtol=1e-15)


@pytest.mark.parametrize("threshold", [None, 3.0, np.inf, -50.0])
def test_softplus_takes_any_threshold(threshold):
    x = numbers(np.float64)
    found = layers.softplus(x, threshold=threshold)
    expected = golden.softplus(x, threshold=threshold)
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_softplus_inverse_agrees_with_golden():
    y = np.array([1e-300, 1e-9, 0.3, 5.0, 700.0, 0.0, -1.0, np.nan])
    expected = golden.softplus_inverse(y)
    np.testing.assert_allclose(layers.softplus_inverse(y), expected, rtol=1e-15)
    assert np.isnan(expected[5:]).all()


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
@pytest.mark.parametrize("angles", [0, 1, 9, 17])
def test_rotary_agrees_with_golden(angles, pairing, dtype, monkeypatch):
    rng = np.random.default_rng(9)
    v = rng.standard_normal((2, 5, 34)).astype(dtype)
    theta = rng.uniform(-9, 9, (2, 5, angles)).astype(dtype)
    y = layers.rotary(v, theta, pairing=pairing)
    assert_close(y, golden.rotary(v, theta, pairing=pairing), CLOSE[dtype])
    monkeypatch.setattr("ssmref.cpu.toolkit.threads.SERIAL", 0)
    monkeypatch.setattr(_elementwise_kernels, "BLOCK", 30)
    np.testing.assert_array_equal(layers.rotary(v, theta, pairing=pairing), y)


def test_rotary_refuses_what_golden_refuses():
    v = np.zeros((2, 5))
    for module in (layers, golden):
        with pytest.raises(ValueError, match="theta has 1 angles for a state of 5"):
            module.rotary(v, np.zeros((2, 1)))
        with pytest.raises(ValueError, match="pairing is 'x'"):
            module.rotary(v, np.zeros((2, 1)), pairing="x")
        with pytest.raises(ValueError, match="dim is 3; it needs to be even"):
            module.rotary_attention(np.zeros((1, 1, 1, 4)), np.zeros(1, int), dim=3)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("dim", [0, 2, 6, 8])
@pytest.mark.parametrize("rows", [True, False])
def test_rotary_attention_agrees_with_golden(rows, dim, interleaved, monkeypatch):
    rng = np.random.default_rng(10)
    x = rng.standard_normal((2, 5, 3, 8))
    positions = rng.integers(0, 999, (2, 5) if rows else 5)
    options = {"dim": dim, "interleaved": interleaved, "base": 500.0}
    y = layers.rotary_attention(x, positions, **options)
    assert_close(y, golden.rotary_attention(x, positions, **options))
    monkeypatch.setattr("ssmref.cpu.toolkit.threads.SERIAL", 0)
    monkeypatch.setattr(_elementwise_kernels, "BLOCK", 48)
    np.testing.assert_array_equal(layers.rotary_attention(x, positions, **options), y)


def test_rotary_attention_keeps_digits_at_large_positions():
    x = np.random.default_rng(11).standard_normal((1, 3, 2, 8))
    positions = np.array([10_000_019, 123_456_789, 2_000_000_011])
    exact = golden.rotary_attention(x, positions, dim=8)
    single = layers.rotary_attention(x.astype(np.float32), positions, dim=8)
    assert_close(single.astype(np.float64), exact, 3e-7)
