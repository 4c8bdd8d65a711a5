"""The layers against scalar transcriptions at 50 digits."""

import numpy as np
import pytest
from mpmath import cos, exp, expm1, log, mpf, sin, sqrt, workdps
from mpmath import pi as exact_pi
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.layers_inputs import EXAMPLES

from ssmref.golden import layers

X = np.array([-50, -17, -3.1, -0.5, -1e-9, 1e-9, 0.3, 2.7, 19.5, 25.0])


def softplus(x):
    return x if x > 20 else log(1 + exp(x))


def softplus_inverse(y):
    return y + log(-expm1(-y))


def sigmoid(x):
    return 1 / (1 + exp(-x))


def silu(x):
    return x / (1 + exp(-x))


def heavy_tail(x):
    return 1 + x if x >= 0 else 1 / (1 - x)


def segsum(a):
    return [[sum(a[j + 1 : i + 1]) for j in range(i + 1)] for i in range(len(a))]


def convolve(x, weight, past, bias):
    """Return y and all inputs for the tokens x (token, channel) after `past`."""
    tokens, y = [*past, *x], []
    for t in range(len(x)):
        newest, row = len(past) + t, []
        for d in range(len(weight)):
            total, width = bias[d], len(weight[d])
            for k in range(width):
                total += weight[d][k] * tokens[newest - (width - 1) + k][d]
            row.append(silu(total))
        y.append(row)
    return y, tokens


def rms_norm(x, weight, eps):
    mean = sum(v * v for v in x) / len(x)
    return [v / sqrt(mean + mpf(eps)) * w for v, w in zip(x, weight, strict=True)]


def gated(x, weight, z, eps, size):
    x = [v * silu(g) for v, g in zip(x, z, strict=True)]
    starts = range(0, len(x), size)
    groups = [(x[i : i + size], weight[i : i + size]) for i in starts]
    return [v for group in groups for v in rms_norm(*group, eps)]


def layer_norm(x, weight, bias, eps):
    mean = sum(x) / len(x)
    variance = sum((v - mean) ** 2 for v in x) / len(x)
    scaled = [(v - mean) / sqrt(variance + mpf(eps)) for v in x]
    return [v * w + b for v, w, b in zip(scaled, weight, bias, strict=True)]


def example(name):
    return EXAMPLES[f"layers.{name}"](np.random.default_rng(4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [softplus, sigmoid, silu, heavy_tail])
def test_activations(function, dtype):
    for x in X:  # each by itself: relative to its own size
        found = getattr(layers, function.__name__)(np.array([x], dtype))
        with workdps(DIGITS):
            assert_exact(found, [function(mpf(x))])


@pytest.mark.parametrize("dtype", DTYPES)
def test_softplus_inverse(dtype):
    for y in (1e-12, 1e-3, 0.1, 2.0, 30.0):
        found = layers.softplus_inverse(np.array([y], dtype))
        with workdps(DIGITS):
            assert_exact(found, [softplus_inverse(mpf(y))])


@pytest.mark.parametrize("dtype", DTYPES)
def test_segsum_and_pi(dtype):
    found = layers.segsum(X.astype(dtype))
    with workdps(DIGITS):
        for i, row in enumerate(segsum(numbers(X))[1:], 1):
            assert_exact(found[i, :i], row[:i])
        assert_exact(layers.pi(np.dtype(dtype)).reshape(1), [+exact_pi])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
def test_rotary(pairing, dtype):
    v, theta = X[:8], np.array([0.3, -2.0, 11.0])
    found = layers.rotary(v.astype(dtype), theta.astype(dtype), pairing=pairing)
    with workdps(DIGITS):
        expected = numbers(v)
        for i, angle in enumerate(numbers(theta)):
            first = 2 * i if pairing == "pairwise" else i
            second = 2 * i + 1 if pairing == "pairwise" else i + 4
            a, b = mpf(v[first]), mpf(v[second])
            expected[first] = a * cos(angle) - b * sin(angle)
            expected[second] = a * sin(angle) + b * cos(angle)
        assert_exact(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [layers.causal_conv1d, layers.causal_conv1d_fft])
def test_convolution(form, dtype):
    call = example("causal_conv1d")
    y, state = form(**cast(call, dtype))
    with workdps(DIGITS):
        arrays = {n: numbers(call[n]) for n in ("x", "weight", "bias", "initial_state")}
        rows = zip(arrays.pop("x"), arrays.pop("initial_state"), strict=True)
        expected = [convolve(x, past=past, **arrays) for x, past in rows]
        assert_exact(y, [row for row, _ in expected])
        assert_exact(state, [tokens[-3:] for _, tokens in expected])


@pytest.mark.parametrize("dtype", DTYPES)
def test_convolution_step(dtype):
    call = example("causal_conv1d_step")
    y, state = layers.causal_conv1d_step(**cast(call, dtype))
    with workdps(DIGITS):
        arrays = {n: numbers(call[n]) for n in ("x", "weight", "bias", "state")}
        past = arrays.pop("state")
        for row, slot in ((0, 4), (2, 1)):
            one = {**arrays, "x": arrays["x"][row], "past": past[slot]}
            expected, tokens = convolve(**one)
            assert_exact((y[row], state[slot]), (expected, tokens[2:]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["rms_norm", "rms_norm_gated", "layer_norm"])
def test_norms(name, dtype):
    call = example(name)
    found = getattr(layers, name)(**cast(call, dtype))
    with workdps(DIGITS):
        weight, rows = numbers(call["weight"]), numbers(call["x"].reshape(-1, 6))
        if name == "rms_norm":
            expected = [rms_norm(x, weight, call["eps"]) for x in rows]
        elif name == "layer_norm":
            bias = numbers(call["bias"])
            expected = [layer_norm(x, weight, bias, call["eps"]) for x in rows]
        else:
            pairs = zip(rows, numbers(call["z"].reshape(-1, 6)), strict=True)
            expected = [gated(x, weight, z, call["eps"], 2) for x, z in pairs]
        assert_exact(found.reshape(-1, 6), expected)
