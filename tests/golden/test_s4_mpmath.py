"""S4 against a scalar transcription at 50 digits."""

import numpy as np
import pytest
from mpmath import conj, mp, mpf, re, workdps
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.s4_inputs import hippo_system, s4_inputs

from ssmref.golden.s4 import s4, s4_convolution, s4_kernel, s4_linear

FORMS = [s4, s4_linear, s4_convolution]


def both(v):
    return [*v, *(conj(x) for x in v)]


def discrete(dt, a, b, ranks):
    """Return the bilinear pair of diag(a) - sum p p*, on completed vectors."""
    a, b, ranks = both(a), both(b), [both(p) for p in ranks]
    M = mp.diag(a)
    for p in ranks:
        for i, left in enumerate(p):
            for j, right in enumerate(p):
                M[i, j] -= left * conj(right)
    inverse = (mp.eye(len(a)) - dt / 2 * M) ** -1
    return inverse * (mp.eye(len(a)) + dt / 2 * M), inverse * mp.matrix(b) * dt


def exact(u, dt, A, B, C, P, D, initial_state):
    """Return y and the final state in nested lists."""
    u, dt, A, B, C, P, D = map(numbers, (u, dt, A, B, C, P, D))
    final = numbers(initial_state)
    y = [[[mpf(0) for _ in dt] for _ in row] for row in u]
    for d in range(len(dt)):
        A_bar, B_bar = discrete(dt[d], A[d], B[d], [rank[d] for rank in P])
        c = both(C[d])
        for b in range(len(u)):
            x = mp.matrix(both(final[b][d]))
            for t in range(len(u[b])):
                x = A_bar * x + B_bar * u[b][t][d]
                y[b][t][d] = re(sum(c[n] * x[n] for n in range(len(c))))
                y[b][t][d] += D[d] * u[b][t][d]
            final[b][d] = [x[n] for n in range(len(A[d]))]
    return y, final


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_equations_at_50_digits(form, dtype):
    given = s4_inputs(np.random.default_rng(3), channels=2, state=3, ranks=2, length=6)
    found = form(**cast(given, dtype))
    with workdps(DIGITS):
        assert_exact(found, exact(**given))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_kernel_of_legs_at_50_digits(length, dtype):
    given = hippo_system("legs", 6, channels=2)
    found = s4_kernel(**cast(given, dtype), length=length)
    with workdps(DIGITS):
        dt, A, B, C, P = (numbers(given[name]) for name in ("dt", *"ABCP"))
        kernel = []
        for d in range(2):
            A_bar, x = discrete(dt[d], A[d], B[d], [rank[d] for rank in P])
            c, row = both(C[d]), []
            for _ in range(length):
                row.append(re(sum(c[n] * x[n] for n in range(len(c)))))
                x = A_bar * x
            kernel.append(row)
        assert_exact(found, kernel)
