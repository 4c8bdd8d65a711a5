"""Tiles of products of rows with rows."""

import numpy as np
import pytest
from numba import njit

from ssmref.cpu import _row_products

DTYPES = [np.float32, np.float64]


@njit
def _product_tile(out, at, step, A, a_at, a_step, m, B, b_at, b_step, n, k):
    _row_products.product_tile(out, at, step, A, a_at, a_step, m, B, b_at, b_step, n, k)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [0, 1, 15, 16, 37])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (4, 4), (2, 3)])
def test_products_of_rows_are_what_they_say(m, n, k, dtype):
    A, B = np.random.default_rng(k).standard_normal((2, 200)).astype(dtype)
    found, expected = np.full((2, 40), 7, dtype)
    for run, out in ((_product_tile, found), (_row_products._plain_tile, expected)):
        run(out, 3, 9, A, 1, 40, m, B, 2, 41, n, k)
    close = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(found, expected, rtol=0, atol=close)
