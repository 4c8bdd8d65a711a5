"""Tiles and rows: what the kernels of several ops are made of, against NumPy."""

from typing import Any

import numpy as np
import pytest

from ssmref.cpu.toolkit import products
from ssmref.cpu.toolkit import rows as row_kernels
from ssmref.cpu.toolkit.kernels import kernel

DTYPES = [np.float32, np.float64]
# Around tiles of 4 rows and of 1, 2 and 4 vectors of up to 16 numbers; sums of nothing.
SIZES = [
    *[(1, 1, 1), (3, 15, 5), (4, 16, 3), (5, 17, 2), (8, 64, 7), (9, 81, 4)],
    *[(2, 33, 0), (0, 5, 3), (3, 0, 3)],
]


def close(found, expected):
    limit = 20 * np.finfo(found.dtype).eps * max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


def operands(sizes, dtype, *, transposed=False) -> tuple[Any, int, int, tuple]:
    """Return C, A, B inside larger arrays, with the offsets and steps of products."""
    m, n, k = sizes
    rng = np.random.default_rng(m + 10 * n + 100 * k)
    C, A, B = (
        rng.standard_normal(size + 50).astype(dtype)
        for size in (m * (n + 3), (m + 2) * (k + 2), k * (n + 1))
    )
    rows = (1, m + 2) if transposed else (k + 2, 1)
    return C, 7, n + 3, (A, 5, *rows, B, 3, n + 1, m, n, k)


@kernel
def add(C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k):
    products.add_product(C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k)


@kernel
def scale(
    F, f_at, f_step, C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k
):
    products.scaled_product(
        F, f_at, f_step, C, at, step, A, a_at, a_row, a_column, B, b_at, b_row, m, n, k
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_product_is_added_and_nothing_else_is_touched(sizes, transposed, dtype):
    C, at, step, rest = operands(sizes, dtype, transposed=transposed)
    expected = C.copy()
    products._plain_tile(expected, at, step, *rest)
    add(C, at, step, *rest)
    close(C, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("f_step", [0, 1, 2])
@pytest.mark.parametrize("sizes", SIZES)
def test_rows_are_scaled_before_the_product_is_added(sizes, f_step, dtype):
    C, at, step, rest = operands(sizes, dtype)
    factors = np.linspace(-2, 3, 30).astype(dtype)
    expected = C.copy()
    products._plain_scaled_tile(factors, 2, f_step, expected, at, step, *rest)
    scale(factors, 2, f_step, C, at, step, *rest)
    close(C, expected)


@kernel
def transpose(out, at, step, source, s_at, s_step, rows, columns):
    row_kernels.transpose(out, at, step, source, s_at, s_step, rows, columns)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (15, 17), (33, 8), (40, 35)])
def test_transpose_moves_every_number(shape, dtype):
    rows, columns = shape
    source = np.arange(3 + rows * (columns + 2), dtype=dtype)
    out = np.full(4 + columns * (rows + 1), -1, dtype)
    expected = out.copy()
    arguments = (rows + 1, source, 3, columns + 2, rows, columns)
    row_kernels._plain_transpose(expected, 4, *arguments)
    transpose(out, 4, *arguments)
    np.testing.assert_array_equal(out, expected)


@kernel
def scale_rows(out, at, step, source, s_at, s_step, factors, f_at, m, n):
    return row_kernels.scale_rows(
        out, at, step, source, s_at, s_step, factors, f_at, m, n
    )


@kernel
def all_finite(array, at, step, m, n):
    return row_kernels.all_finite(array, at, step, m, n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 16, 19, 40])
def test_rows_are_scaled_one_by_one(n, dtype):
    source = np.random.default_rng(n).standard_normal(200).astype(dtype)
    factors, out = np.arange(1, 6, dtype=dtype), np.zeros(200, dtype)
    expected = out.copy()
    arguments = (n + 2, source, 2, n + 1, factors, 1, 3, n)
    row_kernels._plain_scale_rows(expected, 5, *arguments)
    assert scale_rows(out, 5, *arguments)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_each_number_that_is_not_finite_is_found(value, dtype):
    factors, out = np.ones(3, dtype), np.empty(60, dtype)
    for place in range(3 * 19):
        array = np.full(3 * 21 + 4, np.nan, dtype)
        rows = array[4:].reshape(3, 21)[:, :19]
        rows[:] = 1
        assert all_finite(array, 4, 21, 3, 19)
        assert scale_rows(out, 0, 19, array, 4, 21, factors, 0, 3, 19)
        rows[place // 19, place % 19] = value
        assert not all_finite(array, 4, 21, 3, 19)
        assert not scale_rows(out, 0, 19, array, 4, 21, factors, 0, 3, 19)
