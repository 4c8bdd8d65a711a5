"""Functions of work items, called by their address."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ssmref.cpu.toolkit.items import Item, for_each
from ssmref.cpu.toolkit.kernels import INTERPRETED, kernel

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
    y[item] += line.factors[item] * line.x[item] + line.shift + more


@pytest.mark.parametrize("operations", [ALONE, SHARED])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 5, 301])
def test_items_get_named_tuples_and_numbers_once(dtype, operations, count):
    x = np.arange(count, dtype=dtype)
    for shift in (2.0, -3.0):
        line, y = Line(shift, x[::-1].copy(), x), np.zeros_like(x)
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


def test_an_error_of_an_item_is_raised():
    values = np.array([1.0, -1.0])
    with pytest.raises(ValueError, match="negative"):
        for_each(double, len(values), ALONE, values.dtype, values)


@intrinsic
def _owner(_context, array):
    """Return the address of what counts references to an array, 0 if nothing does."""

    def generate(context, builder, signature, values):
        given = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.ptrtoint(given.meminfo, ir.IntType(64))

    return types.int64(array), generate


owner: Any = _owner


@Item
def owners(line, x, found, item):
    found[item] = owner(x) + owner(line.x) + owner(line.factors)


@kernel
def owned(x):
    return owner(x)


@pytest.mark.skipif(INTERPRETED, reason="is about compiled code")
def test_threads_do_not_count_references_to_arguments():
    x, found = np.zeros(8), np.ones(8, np.int64)
    assert owned(x) != 0
    for_each(owners, len(found), SHARED, x.dtype, Line(1.0, x, x), x, found)
    assert not found.any()
