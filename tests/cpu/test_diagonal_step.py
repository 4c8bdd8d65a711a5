"""What steps of diagonal systems are made of, against the few lines that define it."""

import numpy as np
import pytest
from support.fast_paths import close

from ssmref.cpu import _diagonal_step as step
from ssmref.cpu.toolkit.kernels import kernel

LIMITS = {np.float32: 1e-5, np.float64: 1e-12}
DTYPES = list(LIMITS)


@kernel
def turn_rows(M, m_step, old, new, u, y, sums, ranks, count):
    step.turn_rows(
        *(M, 2, m_step, 200, old, new, 3, u, 1, y, 2, sums, ranks, 3, count, 7)
    )


@kernel
def move(old, new, weights, keys, shifted, count):
    step.move(old, new, 3, weights, 2, keys, shifted, 1, 3, count, 7)


@kernel
def combine(out, keep, source, factors, n):
    step.combine(out, 3, keep, source, 5, factors, 1, 3, n)


@kernel
def dot(a, b, count):
    return step.dot(a, 2, b, 3, count)


def random(dtype, *sizes):
    """Return arrays of random numbers."""
    rng = np.random.default_rng(sum(sizes))
    return [rng.standard_normal(size).astype(dtype) for size in sizes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("count", "ranks", "shared"),
    [(2, 0, False), (14, 1, False), (16, 2, True), (34, 0, True), (48, 3, False)],
)
def test_tokens_of_rows_are_products_of_complex_numbers(count, ranks, shared, dtype):
    M, old, u = random(dtype, 2500, 200, 8)
    new, y, sums = np.zeros(200, dtype), np.zeros(8, dtype), np.zeros(4, dtype)
    arguments = 0 if shared else count, old
    turn_rows(M, *arguments, new, u, y, sums, ranks, count)
    meant, meant_y = np.zeros_like(new), np.zeros_like(y)
    step._plain_turn_rows(
        *(M, 2, arguments[0], 200, old, meant, 3, u, 1, meant_y, 2, sums.copy()),
        *(ranks, 3, count, 7),
    )
    close(new, meant, 10 * LIMITS[dtype])
    close(y, meant_y, 10 * LIMITS[dtype])
    assert (new != 0).sum() == 3 * count
    assert (y != 0).sum() == 3


def test_a_token_of_a_row_is_what_complex_numbers_say():
    a, b, c, f, g, x = np.random.default_rng(0).standard_normal((6, 5, 2)) @ [1, 1j]
    M, new, y = np.zeros(2500), np.zeros(200), np.zeros(8)
    planes = (a.real, a.real), (-a.imag, a.imag), (b.real, b.imag), (c.real, -c.imag)
    planes = *planes, (g.real, g.imag), (f.real, -f.imag)
    for p, pair in enumerate(planes):
        M[2 + 200 * p : 12 + 200 * p] = np.stack(pair, axis=1).ravel()
    old = np.zeros(200)
    old[3:33] = np.tile(x.view(np.float64), 3)
    u = np.arange(8.0)
    turn_rows(M, 0, old, new, u, y, np.zeros(4), 1, 10)
    for row in range(3):
        expected = a * x + b * u[1 + row] - g * (f @ x).real
        found = new[3 + 10 * row : 13 + 10 * row].copy().view(np.complex128)
        close(found, expected)
        close(y[2 + row], (c @ expected).real)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 48])
def test_keys_move_one_place_on_and_meet_their_weights(count, dtype):
    old, weights, keys = random(dtype, 200, 200, 6)
    new, shifted = np.zeros(200, dtype), np.zeros(6, dtype)
    # What leaves a row must not be seen, nor what stands behind the row.
    old[2 + count : 200 : count] = np.nan
    move(old, new, weights, keys, shifted, count)
    meant, sums = np.zeros_like(new), np.zeros_like(shifted)
    step._plain_move(old, meant, 3, weights, 2, keys, sums, 1, 3, count, 7)
    np.testing.assert_array_equal(new, meant)
    close(shifted, sums, LIMITS[dtype])
    assert np.isfinite(shifted).all()
    assert (new != 0).sum() == 3 * count


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("n", [1, 8, 21])
def test_rows_are_set_or_added_times_a_factor_each(n, keep):
    source, factors, out = random(np.float64, 100, 6, 90)
    meant = out.copy()
    combine(out, keep, source, factors, n)
    step._plain_combine(meant, 3, keep, source, 5, factors, 1, 3, n)
    close(out, meant)
    np.testing.assert_array_equal(
        out[[0, 1, 2, 3 + 3 * n]], meant[[0, 1, 2, 3 + 3 * n]]
    )


def test_what_is_not_kept_is_not_seen():
    out = np.full(90, np.nan)
    combine(out, 0, np.ones(100), np.ones(6), 20)
    assert (out[3:63] == 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 63, 64, 65, 150])
def test_dot_takes_every_number_once(count, dtype):
    a = np.arange(200.0, dtype=dtype)
    b = np.ones_like(a)
    assert dot(a, b, count) == a[2 : 2 + count].sum()
