"""Parameters: golden to the last places, with limits, NaN, and layouts."""

import numpy as np
import pytest
from support.compare import assert_close
from support.parameters_inputs import EXAMPLES

from ssmref.cpu import parameters
from ssmref.golden import parameters as golden

OPS = [name.split(".")[1] for name in EXAMPLES]
CLOSE = {np.float32: 1e-6, np.float64: 1e-14}


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", OPS)
def test_op_agrees_with_golden(name, dtype):
    call = {
        k: v.astype(dtype) if isinstance(v, np.ndarray) else v
        for k, v in EXAMPLES[f"parameters.{name}"](np.random.default_rng(1)).items()
    }
    found, expected = getattr(parameters, name)(**call), getattr(golden, name)(**call)
    assert_close(found, expected, CLOSE[dtype])


def test_limits_of_steps_hold_and_nan_is_not_clipped():
    dt = np.array([-50.0, 0.0, 90.0, np.nan, np.inf, -np.inf]).reshape(1, 1, 6)
    call = {"dt": dt, "dt_bias": np.zeros(6), "dt_limit": (0.25, 3.0)}
    found = parameters.mamba2_step_size(**call)
    expected = golden.mamba2_step_size(**call)
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    np.testing.assert_array_equal(found[0, 0, [0, 2, 4]], [0.25, 3, 3])
    assert np.isnan(found[0, 0, 3])


@pytest.mark.parametrize("activation", ["heavy_tail", "softplus"])
def test_rates_are_at_most_minus_the_floor(activation):
    a = np.array([-1e6, -3.0, 0.0, 2.0, np.nan]).reshape(1, 1, 5)
    found = parameters.mamba3_rate(a, floor=0.125, activation=activation)
    expected = golden.mamba3_rate(a, floor=0.125, activation=activation)
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert found[0, 0, 0] == -0.125


@pytest.mark.parametrize("module", [parameters, golden])
def test_what_cannot_be_is_refused(module):
    a = np.zeros((1, 1, 2))
    with pytest.raises(ValueError, match=r"dt_limit is \(2\.0, 1\.0\)"):
        module.mamba2_step_size(a, np.zeros(2), dt_limit=(2.0, 1.0))
    with pytest.raises(ValueError, match=r"floor is -1\.0; it needs to be at least"):
        module.mamba3_rate(a, floor=-1.0)
    with pytest.raises(ValueError, match="activation is 'relu'"):
        module.mamba3_rate(a, activation="relu")
    with pytest.raises(ValueError, match="projected has 2 features; it needs 9"):
        module.falcon_h1_projections(a, np.ones(5), heads=3, headdim=1, groups=1)


def test_arguments_are_not_written_to():
    for name in OPS:
        call = EXAMPLES[f"parameters.{name}"](np.random.default_rng(2))
        arrays = {k: v.copy() for k, v in call.items() if isinstance(v, np.ndarray)}
        getattr(parameters, name)(**call)
        for key, before in arrays.items():
            np.testing.assert_array_equal(call[key], before)
