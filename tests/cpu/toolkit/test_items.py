"""Functions of work items, called by their address."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from ssmref.cpu.toolkit.items import Item, call_item, for_each
from ssmref.cpu.toolkit.kernels import kernel

DTYPES = [np.float32, np.float64]
# Operations that one thread does, and that all do.
ALONE, SHARED = 0, 1 << 40


class Line(NamedTuple):
    """Numbers that depend on i: ``factors[i] x[i] + shift``."""

    shift: Any
    factors: Any
    x: Any


@Item
def evaluate(line, more, y, item):
    y[item] = line.factors[item] * line.x[item] + line.shift + more


@pytest.mark.parametrize("operations", [ALONE, SHARED])
@pytest.mark.parametrize("dtype", DTYPES)
def test_items_get_named_tuples_and_numbers(dtype, operations):
    x, y = np.arange(300, dtype=dtype), np.zeros(300, dtype)
    for shift in (2.0, -3.0):
        line = Line(shift, x[::-1].copy(), x)
        for_each(evaluate, len(x), operations, x.dtype, line, 1, y)
        np.testing.assert_array_equal(y, x[::-1] * x + shift + 1)


def test_there_may_be_no_item():
    x = np.zeros(0)
    for_each(evaluate, 0, SHARED, x.dtype, Line(0.0, x, x), 1, x)


@Item
def double(values, item):
    if values[item] < 0:
        raise ValueError("negative")
    values[item] *= 2


@kernel
def double_all(address, values):
    for item in range(len(values)):
        call_item(address, (values, item))


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_call_items_by_their_address(dtype):
    values = np.arange(5, dtype=dtype)
    double_all(double.address(values.dtype, values, 0), values)
    np.testing.assert_array_equal(values, 2 * np.arange(5))


def test_an_error_of_an_item_is_raised():
    values = np.array([1.0, -1.0])
    with pytest.raises(ValueError, match="negative"):
        double_all(double.address(values.dtype, values, 0), values)
    with pytest.raises(ValueError, match="negative"):
        for_each(double, len(values), ALONE, values.dtype, values)
