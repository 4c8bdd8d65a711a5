"""Activations, segment sums, rotary and norms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compare import assert_close
from support.exact import cast
from support.layers_inputs import EXAMPLES

from ssmref.golden import layers
from ssmref.golden.layers import (
    heavy_tail,
    layer_norm,
    pi,
    rms_norm,
    rms_norm_gated,
    rotary,
    rotary_attention,
    segsum,
    sigmoid,
    silu,
    softplus,
    softplus_inverse,
)

PRINTED = 1e-11  # known answers have 12 digits


def random(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def test_softplus_known_answers():
    x = np.array([-17, 0, 20, 20.0000001])
    expected = [4.13993763309e-08, 0.69314718056, 20.0000000021, 20.0000001]
    np.testing.assert_allclose(softplus(x), expected, rtol=PRINTED)


def test_softplus_threshold_is_exclusive_and_can_be_off():
    above = np.nextafter(20.0, 21.0)
    assert softplus(np.array([20.0]))[0] > 20.0
    assert softplus(np.array([above]))[0] == above
    assert softplus(np.array([above]), threshold=None)[0] > above + 1e-9
    assert softplus(np.array([3.0]), threshold=2.0)[0] == 3.0


def test_softplus_keeps_small_values_and_does_not_overflow():
    x = np.array([-700.0, -50.0, 1e308, -1e308, np.inf])
    expected = [np.exp(-700.0), np.exp(-50.0), 1e308, 0.0, np.inf]
    np.testing.assert_allclose(softplus(x), expected, rtol=1e-15)
    np.testing.assert_allclose(
        softplus(np.array([-17], np.float32)), np.exp(-17.0), rtol=1e-6
    )


def test_softplus_inverse_known_answers():
    found = softplus_inverse(np.array([0.001, 0.1]))
    np.testing.assert_allclose(found, [-6.90725523732, -2.25216846104], rtol=PRINTED)


def test_softplus_inverse_is_the_inverse():
    y = np.logspace(-30, 2, 200)
    np.testing.assert_allclose(
        softplus(softplus_inverse(y), threshold=None), y, rtol=1e-13
    )
    assert np.all(np.isnan(softplus_inverse(np.array([0.0, -1.0]))))


def test_sigmoid_and_silu_are_what_they_say_and_do_not_overflow():
    x = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-14)
    np.testing.assert_allclose(silu(x), x / (1 + np.exp(-x)), rtol=1e-14, atol=0)
    assert sigmoid(np.array([-800.0, 0.0, 800.0])).tolist() == [0.0, 0.5, 1.0]
    assert silu(np.array([-800.0, 0.0, 800.0])).tolist() == [0.0, 0.0, 800.0]


def test_heavy_tail_known_answers():
    found = heavy_tail(np.array([-3, -0.5, 0, 2]))
    np.testing.assert_allclose(found, [0.25, 2 / 3, 1, 3], rtol=1e-15)


def test_heavy_tail_is_positive_and_smooth_at_zero():
    assert np.all(heavy_tail(np.array([-1e300, -1e8])) > 0)
    step = 1e-7
    left, middle, right = heavy_tail(np.array([-step, 0.0, step]))
    assert (middle - left) / step == pytest.approx(1, abs=1e-6)
    assert (right - middle) / step == pytest.approx(1, abs=1e-6)


def test_pi_has_the_precision_of_its_dtype():
    assert pi(np.dtype(np.float64)) == np.pi
    assert pi(np.dtype(np.complex64)) == np.float32(np.pi)
    assert abs(np.sin(pi(np.dtype(np.longdouble)))) <= np.finfo(np.longdouble).eps


@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_segsum_sums_segments(length):
    a, found = random(3, length), segsum(random(3, length))
    assert found.shape == (3, length, length)
    for i in range(length):
        for j in range(length):
            expected = a[:, j + 1 : i + 1].sum(axis=1) if i >= j else -np.inf
            np.testing.assert_allclose(found[:, i, j], expected, rtol=1e-14, atol=1e-14)


def test_segsum_subtracts_no_large_numbers():
    a = np.array([-1e17, 1e-3, 2e-3])
    assert segsum(a)[2, 0] == 3e-3
    assert np.all(segsum(a).diagonal() == 0)


def test_segsum_is_masked_before_exp():
    decay = np.exp(segsum(np.full(64, -20.0)))
    assert np.all(np.isfinite(decay))
    np.testing.assert_array_equal(np.triu(decay), np.eye(64))


def test_rotary_turns_pairs_by_their_angle():
    v, quarter = np.array([1.0, 2.0, 3.0, 4.0]), np.full(2, np.pi / 2)
    turned = {
        "pairwise": [-2, 1, -4, 3],
        "halved": [-3, -4, 1, 2],
    }
    for pairing, expected in turned.items():
        found = rotary(v, quarter, pairing=pairing)
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_rotary_passes_coordinates_without_an_angle():
    v, theta = random(2, 8), random(2, 2)
    pairwise, halved = (rotary(v, theta, pairing=p) for p in ("pairwise", "halved"))
    moved = lambda new: np.flatnonzero(np.any(new != v, axis=0)).tolist()  # noqa: E731
    assert moved(pairwise) == [0, 1, 2, 3]
    assert moved(halved) == [0, 1, 4, 5]


@pytest.mark.parametrize("angles", [0, 1, 3, 5])
def test_pairings_are_one_up_to_a_permutation(angles):
    v, theta = random(2, 3, 10), random(2, 3, angles)
    permutation = np.arange(10).reshape(5, 2).T.ravel()
    halved = rotary(v[..., permutation], theta, pairing="halved")
    np.testing.assert_array_equal(halved, rotary(v, theta)[..., permutation])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["pairwise", "halved"]))
def test_rotary_keeps_products_and_adds_angles(seed, pairing):
    q, k = random(2, 6, seed=seed)
    first, second = random(2, 3, seed=seed)

    def turn(v, theta):
        return rotary(v, theta, pairing=pairing)

    assert_close(turn(q, first) @ turn(k, first), q @ k, 1e-13)
    assert_close(turn(turn(q, first), second), turn(q, first + second), 1e-14)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_attention_is_the_product_of_complex_numbers(interleaved):
    x, positions = random(2, 5, 3, 8), np.array([[0, 1, 2, 3, 4], [7, 9, 9, 0, 100]])
    found = rotary_attention(x, positions, dim=6, base=50.0, interleaved=interleaved)
    turn = np.exp(1j * positions[..., None] * 50.0 ** (-np.arange(0, 6, 2) / 6))
    first = slice(0, 6, 2) if interleaved else slice(0, 3)
    second = slice(1, 6, 2) if interleaved else slice(3, 6)
    z = (x[..., first] + 1j * x[..., second]) * turn[:, :, None]
    assert_close(found[..., first], z.real, 1e-14)
    assert_close(found[..., second], z.imag, 1e-14)
    assert_close(found[..., 6:], x[..., 6:], 0.0)


def test_rotary_attention_positions_may_be_shared_by_the_batch():
    x, positions = random(2, 5, 3, 8), np.arange(3, 8)
    rows = np.stack([positions, positions])
    found = rotary_attention(x, positions, dim=8)
    assert_close(found, rotary_attention(x, rows, dim=8), 0.0)
    assert_close(rotary_attention(x, positions * 0, dim=8), x, 0.0)


NORM = {"x": [1, 2, -1, 0.5], "weight": [1, 1, 2, 2], "z": [0.5, -1, 2, 0]}
NORM_ANSWERS = {
    True: [0.196838530066, -0.340186299105, -4.4564842248, 0],
    False: [0.708253623256, -1.22403971846, -2.82841801028, 0],
}


@pytest.mark.parametrize(("before", "expected"), NORM_ANSWERS.items())
def test_gated_norm_known_answers(before, expected):
    x, weight, z = (np.array(part, float) for part in NORM.values())
    found = rms_norm_gated(x, weight, z, group_size=2, norm_before_gate=before)
    np.testing.assert_allclose(found, expected, rtol=PRINTED)


@pytest.mark.parametrize("before", [True, False])
def test_grouped_norm_is_norms_of_groups(before):
    x, weight, z = random(2, 5, 6), random(6), random(2, 5, 6, seed=1)
    parts = [
        rms_norm_gated(x[..., g], weight[g], z[..., g], norm_before_gate=before)
        for g in (slice(0, 2), slice(2, 4), slice(4, 6))
    ]
    found = rms_norm_gated(x, weight, z, group_size=2, norm_before_gate=before)
    assert_close(found, np.concatenate(parts, axis=-1), 1e-14)
    assert np.max(np.abs(found - rms_norm_gated(x, weight, z))) > 0.1


def test_gated_norm_orders():
    x, weight, z = random(2, 5, 6), random(6), random(2, 5, 6, seed=1)
    first = rms_norm_gated(x, weight, z, norm_before_gate=True)
    assert_close(first, rms_norm(x, weight) * silu(z), 1e-14)
    assert_close(rms_norm_gated(x, weight, z), rms_norm(x * silu(z), weight), 1e-14)
    assert_close(rms_norm_gated(x, weight), rms_norm(x, weight), 1e-14)


def test_norms_do_what_they_say():
    x, weight, bias = random(4, 6) + 3, random(6), random(6, seed=1)
    y = rms_norm(x, eps=0.0)
    assert_close(np.mean(y * y, axis=-1), np.ones(4), 1e-14)
    y = layer_norm(x, eps=0.0)
    assert_close(np.mean(y, axis=-1) + 1, np.ones(4), 1e-14)
    assert_close(np.var(y, axis=-1), np.ones(4), 1e-14)
    assert_close(rms_norm(x, weight), rms_norm(x) * weight, 1e-15)
    assert_close(layer_norm(x, weight, bias), layer_norm(x) * weight + bias, 1e-15)


def test_eps_is_inside_the_root():
    x = np.array([[3e-3, 4e-3]])
    expected = x / np.sqrt(12.5e-6 + 1e-5)
    assert_close(rms_norm(x), expected, 1e-14)
    assert_close(rms_norm_gated(x), expected, 1e-14)
    spread = np.array([[-0.5e-3, 0.5e-3]])
    assert_close(layer_norm(x), spread / np.sqrt(0.25e-6 + 1e-5), 1e-14)


@pytest.mark.parametrize("shape", [(2, 4), (2, 0, 4), (4,)])
def test_zeros_stay_zeros_and_nothing_nothing(shape):
    zeros = np.zeros(shape)
    for norm in (rms_norm, layer_norm, rms_norm_gated):
        assert_close(norm(zeros), zeros, 0.0)
    assert_close(rms_norm_gated(zeros, group_size=2), zeros, 0.0)


ELEMENTWISE = {
    "softplus": softplus,
    "softplus_inverse": lambda x: softplus_inverse(np.abs(x)),
    "sigmoid": sigmoid,
    "silu": silu,
    "heavy_tail": heavy_tail,
    "segsum": lambda x: np.exp(segsum(x)),
    "rotary": lambda x: rotary(x, x[..., :2]),
    "rotary_attention": lambda x: rotary_attention(
        x[:, :, None], np.arange(x.shape[1]), dim=4
    ),
    "rms_norm": rms_norm,
    "rms_norm_gated": lambda x: rms_norm_gated(x, None, x),
    "layer_norm": layer_norm,
}


@pytest.mark.parametrize("function", ELEMENTWISE.values(), ids=ELEMENTWISE)
@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float32, 1e-5), (np.longdouble, 1e-14)]
)
def test_precision_is_that_of_the_arguments(function, dtype, limit):
    x = random(2, 5, 4)
    found = function(x.astype(dtype))
    assert found.dtype == dtype
    assert_close(found.astype(np.float64), function(x), limit)
    assert_close(x, random(2, 5, 4), 0.0)


@pytest.mark.parametrize("name", ["rms_norm", "rms_norm_gated", "layer_norm"])
def test_examples_run_in_longdouble_and_modify_nothing(name):
    call = EXAMPLES[f"layers.{name}"](np.random.default_rng(0))
    y = getattr(layers, name)(**cast(call, np.longdouble))
    assert y.dtype == np.longdouble
    assert_close(y.astype(np.float64), getattr(layers, name)(**call))
    same = EXAMPLES[f"layers.{name}"](np.random.default_rng(0))
    for argument, value in call.items():
        np.testing.assert_array_equal(value, same[argument])


X = random(2, 5, 3, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotary(X, X[..., :5]), "theta has 5 angles for a state of 8"),
        (lambda: rotary(X[..., :7], X[..., :2]), "for a state of 7; .* even"),
        (lambda: rotary(X, X[:1, ..., :2]), "theta has shape"),
        (lambda: rotary(X, X[..., :2], pairing="half"), "pairing is 'half'; .*halved"),
        (lambda: rotary_attention(X, np.arange(5), dim=3), "dim is 3; .* even"),
        (lambda: rotary_attention(X, np.arange(5), dim=10), "at most headdim = 8"),
        (lambda: rotary_attention(X, np.arange(5), dim=-2), "dim is -2; .*at least 0"),
        (lambda: rotary_attention(X, np.arange(4), dim=2), "positions has shape"),
        (lambda: rms_norm(X, np.ones(7)), r"weight has shape \(7,\).*channels = 8"),
        (lambda: rms_norm(X, eps=-1.0), r"eps is -1.0; .* at least 0"),
        (lambda: layer_norm(X, eps=-1.0), r"eps is -1.0; .* at least 0"),
        (lambda: layer_norm(X, None, np.ones(7)), r"bias has shape \(7,\)"),
        (lambda: rms_norm_gated(X, None, X[:1]), r"z has shape \(1, 5, 3, 8\)"),
        (lambda: rms_norm_gated(X, group_size=3), "group_size is 3; .* divide 8"),
        (lambda: rms_norm_gated(X, group_size=0), "group_size is 0; .* divide 8"),
    ],
)
def test_wrong_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: softplus(np.arange(3)), "x has dtype int64"),
        (lambda: silu(X + 0j), "x has dtype complex128"),
        (lambda: rms_norm(X, np.ones(8, np.float32)), "weight has dtype float32"),
        (lambda: rotary_attention(X, np.ones(5), dim=2), "positions has dtype float64"),
    ],
)
def test_wrong_types_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()
