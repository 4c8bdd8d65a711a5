"""Parameters and projections: known values, equations at 50 digits, wrong calls."""

import copy

import numpy as np
import pytest
from mpmath import exp, log1p, mp, mpf, sqrt
from support.compare import assert_close
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.mamba2_inputs import ssd_inputs
from support.parameters_inputs import EXAMPLES

from ssmref.golden import layers, parameters
from ssmref.golden.mamba2 import ssd
from ssmref.golden.parameters import (
    falcon_h1_projections,
    falcon_mamba_projections,
    mamba2_step_size,
    mamba3_rate,
    mamba_rate,
)


def rng():
    return np.random.default_rng(9)


def call_of(function):
    return EXAMPLES[f"parameters.{function.__name__}"](rng())


FUNCTIONS = [getattr(parameters, op.split(".")[1]) for op in EXAMPLES]
every_function = pytest.mark.parametrize("function", FUNCTIONS)


def parts(found):
    return found if isinstance(found, tuple) else (found,)


@every_function
@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float32, 1e-6), (np.longdouble, 1e-15)]
)
def test_each_precision_is_its_own(function, dtype, limit):
    call = call_of(function)
    found = function(**cast(call, dtype))
    assert all(x.dtype == dtype for x in parts(found))
    assert_close(cast(found, np.float64), function(**call), limit)


@every_function
def test_inputs_are_not_modified(function):
    call = call_of(function)
    before = copy.deepcopy(call)
    found = function(**call)
    for name, value in before.items():
        np.testing.assert_array_equal(call[name], value)
        if isinstance(value, np.ndarray):
            assert not any(np.shares_memory(x, call[name]) for x in parts(found))


def norm(row, eps):
    return [v / sqrt(sum(w * w for w in row) / len(row) + eps) for v in row]


def rate(A_log):
    return [[-exp(v) for v in row] for row in A_log]


def step_size(dt, dt_bias, dt_limit):
    low, high = (mpf(limit) for limit in dt_limit)

    def one(raw):
        return min(max(raw if raw > 20 else log1p(exp(raw)), low), high)

    return [
        [[one(v + b) for v, b in zip(row, dt_bias, strict=True)] for row in rows]
        for rows in dt
    ]


def tail_rate(a, floor, activation):
    def one(v):
        if activation == "softplus":
            return min(-log1p(exp(v)), -mpf(floor))
        return min(-(1 + v) if v >= 0 else -1 / (1 - v), -mpf(floor))

    return [[[one(v) for v in row] for row in rows] for rows in a]


def falcon_mamba(dt, B, C, weight, eps):
    eps = mpf(eps)
    dt, B, C = ([[norm(row, eps) for row in rows] for rows in X] for X in (dt, B, C))
    projected = [
        [[sum(v * w for v, w in zip(row, f, strict=True)) for f in weight] for row in r]
        for r in dt
    ]
    return projected, B, C


EQUATIONS = {
    mamba_rate: rate,
    mamba2_step_size: step_size,
    mamba3_rate: tail_rate,
    falcon_mamba_projections: falcon_mamba,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("changed", [{}, {"activation": "softplus"}])
@pytest.mark.parametrize("function", EQUATIONS)
def test_equations(function, changed, dtype):
    call = call_of(function)
    call |= changed if function is mamba3_rate else {}
    found = function(**cast(call, dtype))
    with mp.workdps(DIGITS):
        exact = {
            n: numbers(v) if isinstance(v, np.ndarray) else v for n, v in call.items()
        }
        expected = EQUATIONS[function](**exact)
        assert_exact(found, expected)


def test_rates_are_exponentiated_once():
    A_log = np.log(np.array([1.0, 2.0, 16.0]))
    assert_close(mamba_rate(A_log), np.array([-1.0, -2.0, -16.0]))


def test_step_size_is_that_of_ssd():
    call = ssd_inputs(rng())
    raw, bias = rng().standard_normal(call["dt"].shape), rng().standard_normal(6)
    dt = mamba2_step_size(raw, bias, dt_limit=(0.25, 1.0))
    inside = {"dt": raw, "dt_bias": bias, "dt_softplus": True, "dt_limit": (0.25, 1.0)}
    assert_close(ssd(**{**call, "dt": dt}), ssd(**{**call, **inside}))
    assert {0.25, 1.0} <= set(dt.ravel().tolist())


def test_default_limits_leave_small_and_large_steps():
    raw = np.full((1, 2, 1), -12.0)
    raw[0, 1] = 30.0
    dt = mamba2_step_size(raw, np.zeros(1))
    assert_close(dt.ravel(), np.array([6.144193477725537e-06, 30.0]))


AT_ZERO = {"heavy_tail": -1.0, "softplus": -np.log(2.0)}


@pytest.mark.parametrize("activation", AT_ZERO)
def test_rate_of_mamba3_at_zero(activation):
    A = mamba3_rate(np.zeros((1, 1, 1)), activation=activation)
    assert_close(A, np.full((1, 1, 1), AT_ZERO[activation]))


@pytest.mark.parametrize("activation", ["heavy_tail", "softplus"])
def test_rate_of_mamba3_depends_on_its_token_down_to_the_floor(activation):
    a = np.linspace(-40, 40, 81)[None, :, None]
    A = mamba3_rate(a, floor=0.125, activation=activation)[0, :, 0]
    assert A[0] == -0.125
    assert np.all(A <= -0.125)
    assert np.all(np.diff(A[a[0, :, 0] > -2]) < 0)


def test_norms_of_falcon_mamba_come_before_the_projection():
    call = call_of(falcon_mamba_projections)
    dt, B, _ = falcon_mamba_projections(**call)
    late = layers.rms_norm(call["dt"] @ call["weight"].T, eps=call["eps"])
    assert not np.allclose(dt, late)
    assert not np.allclose(B, call["B"])
    assert not np.allclose(layers.rms_norm(B, eps=call["eps"]), B)


def test_slices_of_falcon_h1_have_their_own_multipliers():
    call = call_of(falcon_h1_projections)
    z, x, B, C, dt = falcon_h1_projections(**call)
    sizes = [12, 12, 15, 15, 6]
    found = np.concatenate([v.reshape(2, 7, -1) for v in (z, x, B, C, dt)], axis=2)
    scaled = call["projected"] * np.repeat(call["multipliers"], sizes)
    assert_close(found, scaled)
    assert (z.shape, x.shape) == ((2, 7, 6, 2), (2, 7, 6, 2))
    assert (B.shape, C.shape, dt.shape) == ((2, 7, 3, 5), (2, 7, 3, 5), (2, 7, 6))


WRONG = [
    (mamba2_step_size, {"dt_limit": (2.0, 1.0)}, r"dt_limit is \(2.0, 1.0\)"),
    (mamba2_step_size, {"dt_bias": np.zeros(4)}, "dt_bias has shape.*heads = 5"),
    (mamba3_rate, {"activation": "relu"}, "activation is 'relu'"),
    (mamba3_rate, {"floor": -1.0}, "floor is -1.0; it needs to be at least 0"),
    (falcon_mamba_projections, {"eps": -1.0}, "eps is -1.0"),
    (falcon_mamba_projections, {"weight": np.zeros((5, 4))}, "weight has shape"),
    (falcon_h1_projections, {"multipliers": np.ones(4)}, r"multipliers.*needs \(5\)"),
    (falcon_h1_projections, {"heads": 7}, "projected has 60 features; it needs 35"),
    (falcon_h1_projections, {"groups": 4}, "projected has 60 features"),
    (falcon_h1_projections, {"groups": 0}, "projected has 60 features"),
    (mamba_rate, {"A_log": np.zeros(())}, "A_log has shape"),
]


@pytest.mark.parametrize(("function", "wrong", "message"), WRONG)
def test_wrong_call_is_refused(function, wrong, message):
    with pytest.raises(ValueError, match=message):
        function(**call_of(function) | wrong)


def test_wrong_dtype_is_refused():
    with pytest.raises(TypeError, match="A_log has dtype int64"):
        mamba_rate(np.arange(3))
