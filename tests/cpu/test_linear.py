"""Linear maps of blocks: any sizes, the same bits whoever computes them."""

import numba
import numpy as np
import pytest
from support.compare import assert_close

from ssmref.cpu.linear import linear
from ssmref.cpu.toolkit.kernels import INTERPRETED

LIMITS = {np.float32: 2e-6, np.float64: 1e-14}
# Tokens, inputs and outputs below, at and above tiles and vectors; none; many blocks.
SIZES = [
    *((1, 1, 1), (1, 16, 8), (2, 33, 9), (3, 8, 7), (6, 17, 4), (7, 40, 5)),
    *((0, 5, 3), (2, 3, 0), (13, 100, 1023), (800, 64, 12)),
]


def made(tokens: int, inputs: int, outputs: int, dtype: type):
    rng = np.random.default_rng(tokens + inputs + outputs)
    shapes = (tokens, inputs), (outputs, inputs), (outputs,)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_product_is_that_of_numpy(sizes, dtype):
    tokens, inputs, outputs = sizes
    x, weight, bias = made(tokens, inputs, outputs, dtype)
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    for found, expected in (
        (linear(x, weight, bias), exact + bias),
        (linear(x, weight), exact),
    ):
        assert_close(found, expected.astype(dtype), LIMITS[dtype])


def test_no_inputs_leave_the_bias():
    x, weight, bias = made(4, 0, 3, np.float64)
    np.testing.assert_array_equal(linear(x, weight, bias), np.tile(bias, (4, 1)))


def test_axes_before_the_last_are_tokens():
    x, weight, bias = made(12, 5, 3, np.float64)
    found = linear(x.reshape(2, 1, 6, 5), weight, bias)
    np.testing.assert_array_equal(found, linear(x, weight, bias).reshape(2, 1, 6, 3))


@pytest.mark.skipif(INTERPRETED, reason="products of NumPy depend on sizes")
def test_bits_depend_on_a_token_and_its_row_alone():
    x, weight, bias = made(23, 770, 300, np.float32)
    together = linear(x, weight, bias)
    alone = [linear(token, weight[7:], bias[7:]) for token in x]
    np.testing.assert_array_equal(together[:, 7:], alone)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(linear(x, weight, bias), together)
    finally:
        numba.set_num_threads(before)


def test_what_is_not_finite_stays_in_its_token():
    x, weight, bias = made(9, 20, 6, np.float32)
    right = linear(x, weight, bias)
    x[4, 3], x[7, 19] = np.nan, np.inf
    found = linear(x, weight, bias)
    assert np.isnan(found[4]).all()
    assert np.isinf(found[7]).all()
    others = [0, 1, 2, 3, 5, 6, 8]
    np.testing.assert_array_equal(found[others], right[others])


def test_wrong_arguments_are_named():
    x, weight, bias = made(2, 5, 3, np.float32)
    with pytest.raises(ValueError, match="weight has shape"):
        linear(x, weight[:, 1:])
    with pytest.raises(ValueError, match="bias has shape"):
        linear(x, weight, bias[1:])
    with pytest.raises(TypeError, match="weight has dtype float64"):
        linear(x, weight.astype(np.float64))
