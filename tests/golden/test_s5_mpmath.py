"""S5 against a scalar transcription at 50 digits."""

import numpy as np
import pytest
from mpmath import exp, re, workdps
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.s4_inputs import complex_normal
from support.s5_inputs import s5_inputs

from ssmref.golden.s5 import s5, s5_blelloch, s5_convolution

FORMS = [s5, s5_blelloch, s5_convolution]
METHODS = {
    "zoh": lambda a, dt: (exp(dt * a), (exp(dt * a) - 1) / a),
    "bilinear": lambda a, dt: (
        (1 + dt * a / 2) / (1 - dt * a / 2),
        dt / (1 - dt * a / 2),
    ),
}


def states(rule, u, dt, A, B, x):
    """Return all states of one sequence, each a list."""
    found = []
    for token in u:
        after = []
        for n in range(len(A)):
            decay, gain = rule(A[n], dt[n])
            drive = sum(B[n][i] * token[i] for i in range(len(token)))
            after.append(decay * x[n] + gain * drive)
        x = after
        found.append(x)
    return found


def exact(rule, factor, u, dt, A, B, C, C_backward, D, initial_state):
    """Return y and the final state in nested lists."""
    u, dt, A, B, C, D = map(numbers, (u, dt, A, B, C, D))
    backward, initial = numbers(C_backward), numbers(initial_state)
    y, final = [], []
    for b, sequence in enumerate(u):
        past = states(rule, sequence, dt, A, B, initial[b])
        future = states(rule, sequence[::-1], dt, A, B, [0] * len(A))[::-1]
        final.append(past[-1])
        rows = []
        for t, token in enumerate(sequence):
            row = []
            for o in range(len(C)):
                read = sum(c * x for c, x in zip(C[o], past[t], strict=True))
                read += sum(c * x for c, x in zip(backward[o], future[t], strict=True))
                row.append(factor * re(read) + D[o] * token[o])
            rows.append(row)
        y.append(rows)
    return y, final


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("conj_sym", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_equations_at_50_digits(form, method, conj_sym, dtype):
    rng = np.random.default_rng(3)
    given = s5_inputs(rng, inputs=3, outputs=3, length=6)
    given["C_backward"] = complex_normal(rng, 3, 4)
    found = form(**cast(given, dtype), method=method, conj_sym=conj_sym)
    with workdps(DIGITS):
        assert_exact(found, exact(METHODS[method], 2 if conj_sym else 1, **given))
