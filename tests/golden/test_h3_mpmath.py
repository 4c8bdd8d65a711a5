"""H3 against a scalar transcription at 50 digits."""

import numpy as np
import pytest
from mpmath import exp, re, workdps
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.h3_inputs import h3_inputs

from ssmref.golden.h3 import h3, h3_blelloch, h3_convolution

FORMS = [h3, h3_blelloch, h3_convolution]
METHODS = {
    "zoh": lambda a, dt: (exp(dt * a), (exp(dt * a) - 1) / a),
    "bilinear": lambda a, dt: (
        (1 + dt * a / 2) / (1 - dt * a / 2),
        dt / (1 - dt * a / 2),
    ),
}


def exact(rule, q, k, v, dt, A, B, C, shift_C, shift_D, D, head_dim, initial_state):
    """Return y and both final states in nested lists."""
    q, k, v, dt, A, B, C = map(numbers, (q, k, v, dt, A, B, C))
    shift_C, shift_D, D = map(numbers, (shift_C, shift_D, D))
    shift, x = map(numbers, initial_state)
    y = [[[0] * len(token) for token in sequence] for sequence in q]
    for b in range(len(q)):
        for t in range(len(q[b])):
            key = []
            for c, now in enumerate(k[b][t]):
                shift[b][c] = [now, *shift[b][c][:-1]]
                taps = zip(shift_C[c], shift[b][c], strict=True)
                key.append(sum(w * s for w, s in taps) + shift_D[c] * now)
            for h in range(len(dt)):
                for i in range(head_dim):
                    for j in range(head_dim):
                        kv = key[h * head_dim + i] * v[b][t][h * head_dim + j]
                        cell, o = x[b][h][i][j], D[h] * kv
                        for n in range(len(A[h])):
                            decay, gain = rule(A[h][n], dt[h])
                            cell[n] = decay * cell[n] + gain * B[h][n] * kv
                            o += 2 * re(C[h][n] * cell[n])
                        y[b][t][h * head_dim + j] += q[b][t][h * head_dim + i] * o
    return y, (shift, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [1, 2])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_equations_at_50_digits(form, method, head_dim, dtype):
    sizes = {"heads": 3, "state": 2, "length": 6, "taps": 4}
    given = h3_inputs(np.random.default_rng(3), head_dim=head_dim, **sizes)
    found = form(**cast(given, dtype), method=method)
    with workdps(DIGITS):
        assert_exact(found, exact(METHODS[method], **given))
