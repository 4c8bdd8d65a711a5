"""S4D against a scalar transcription at 50 digits."""

import numpy as np
import pytest
from mpmath import conj, exp, mpf, re, workdps
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.s4d_inputs import s4d_inputs

from ssmref.golden.s4d import s4d, s4d_blelloch, s4d_convolution, s4d_kernel

FORMS = [s4d, s4d_blelloch, s4d_convolution]
METHODS = {
    "zoh": lambda a, dt: (exp(dt * a), (exp(dt * a) - 1) / a),
    "bilinear": lambda a, dt: (
        (1 + dt * a / 2) / (1 - dt * a / 2),
        dt / (1 - dt * a / 2),
    ),
}


def exact(rule, u, dt, A, B, C, D, initial_state):
    """Return y and the final state in nested lists."""
    u, dt, A, B, C, D = map(numbers, (u, dt, A, B, C, D))
    x = numbers(initial_state)
    y = [[[D[d] * row[t][d] for d in range(len(dt))] for t in range(6)] for row in u]
    for b in range(len(u)):
        for t in range(len(u[b])):
            for d in range(len(dt)):
                for n in range(len(A[d])):
                    decay, gain = rule(A[d][n], dt[d])
                    drive = gain * B[d][n] * u[b][t][d]
                    x[b][d][n] = decay * x[b][d][n] + drive
                    y[b][t][d] += 2 * re(C[d][n] * x[b][d][n])
    return y, x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_equations_at_50_digits(form, method, dtype):
    given = s4d_inputs(np.random.default_rng(3), channels=4, state=3, length=6)
    found = form(**cast(given, dtype), method=method)
    with workdps(DIGITS):
        assert_exact(found, exact(METHODS[method], **given))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dss_kernel_at_50_digits(dtype):
    given = s4d_inputs(np.random.default_rng(3), channels=2, state=3)
    given = {name: given[name] for name in ("dt", "A", "B", "C")}
    found = s4d_kernel(**cast(given, dtype), length=8, method="dss")
    with workdps(DIGITS):
        dt, A, B, C = (numbers(given[name]) for name in ("dt", "A", "B", "C"))
        kernel = [[mpf(0)] * 8 for _ in dt]
        for d in range(2):
            for n in range(3):
                a, step = A[d][n], dt[d]
                x = a * (exp(8 * step * a) - 1)
                inverse = conj(x) / (x * conj(x) + mpf(1e-7))
                weight = C[d][n] * B[d][n] * (exp(step * a) - 1) * inverse
                for t in range(8):
                    kernel[d][t] += re(weight * exp(step * a * t))
        assert_exact(found, kernel)
