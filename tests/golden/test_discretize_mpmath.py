"""The rules of discretisation against their formulas at 50 digits."""

import numpy as np
import pytest
from mpmath import exp, matrix, mp, mpf, workdps
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers

from ssmref.golden import discretize as rules

A = np.array([[-0.3 + 0j, -2.0 - 5.0j, 0.7j], [-1e-9 + 1e-9j, -40.0, -1.0 + 3.0j]])
B = np.array([[1.0, 0.5 - 1.0j, 2.0], [-1.0, 3.0, 1.0j]])
DT = np.array([0.1, 0.7])

FORMULAS = {
    rules.euler: lambda a, b, dt: (exp(dt * a), dt * b),
    rules.zero_order_hold: lambda a, b, dt: (exp(dt * a), (exp(dt * a) - 1) / a * b),
    rules.bilinear: lambda a, b, dt: (
        (1 + dt * a / 2) / (1 - dt * a / 2),
        dt / (1 - dt * a / 2) * b,
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", FORMULAS)
def test_diagonal_rules(rule, dtype):
    found = rule(*cast((A, B, DT), dtype))
    with workdps(DIGITS):
        exact = [
            [FORMULAS[rule](a, b, dt) for a, b in zip(*row, strict=True)]
            for *row, dt in zip(numbers(A), numbers(B), numbers(DT), strict=True)
        ]
        for part in range(2):
            assert_exact(found[part], [[x[part] for x in row] for row in exact])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dense_bilinear(dtype):
    rng = np.random.default_rng(0)
    full, drive = rng.standard_normal((2, 3, 3)), rng.standard_normal((2, 3))
    A_bar, B_bar = rules.bilinear_dense(*cast((full, drive, DT), dtype))
    with workdps(DIGITS):
        for d in range(2):
            a, b, dt = matrix(numbers(full[d])), matrix(numbers(drive[d])), mpf(DT[d])
            inverse = (mp.eye(3) - dt / 2 * a) ** -1
            assert_exact(A_bar[d], (inverse * (mp.eye(3) + dt / 2 * a)).tolist())
            assert_exact(B_bar[d], list(inverse * b * dt))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_trapezoidal(dtype):
    real = (np.array([-0.3, -4.0]), DT, np.array([0.25, 0.9]))
    found = rules.exponential_trapezoidal(*cast(real, dtype))
    with workdps(DIGITS):
        cells = list(zip(*numbers(real), strict=True))
        exact = (
            [exp(dt * a) for a, dt, _ in cells],
            [(1 - lam) * dt * exp(dt * a) for a, dt, lam in cells],
            [lam * dt for _, dt, lam in cells],
        )
        assert_exact(found, exact)
