"""Mamba-2 against its equations in plain Python numbers of 50 digits."""

import numpy as np
import pytest
from mpmath import exp, log1p, mp, mpf
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.mamba2_inputs import part, ssd_example

from ssmref.golden.mamba2 import ssd, ssd_chunked, ssd_quadratic, ssd_step

SIZES = {"batch": 2, "length": 6, "heads": 4, "headdim": 2, "groups": 2, "state": 3}


def equations(x, dt, A, B, C, D, z, dt_bias, dt_limit, initial_state, **_):
    """Return y and the last state, written out scalar by scalar."""
    batch, length, heads = len(x), len(x[0]), len(A)
    headdim, groups, state = len(D[0]), len(B[0][0]), len(B[0][0][0])
    low, high = (mpf(limit) for limit in dt_limit)
    y = [[[[0] * headdim for _ in A] for _ in range(length)] for _ in x]
    h = initial_state
    for b in range(batch):
        for t in range(length):
            for i in range(heads):
                raw = dt[b][t][i] + dt_bias[i]
                # The threshold of softplus.
                step = raw if raw > 20 else log1p(exp(raw))
                step = min(max(step, low), high)
                g = i // (heads // groups)
                for p in range(headdim):
                    out = D[i][p] * x[b][t][i][p]
                    for n in range(state):
                        drive = step * x[b][t][i][p] * B[b][t][g][n]
                        h[b][i][p][n] = exp(step * A[i]) * h[b][i][p][n] + drive
                        out += h[b][i][p][n] * C[b][t][g][n]
                    gate = z[b][t][i][p]
                    y[b][t][i][p] = out * gate / (1 + exp(-gate))
    return y, h


def call_with_extremes():
    call = dict(ssd_example(np.random.default_rng(5), **SIZES), dt_limit=(0.1, 25.0))
    call["dt"][0, 2] = [-50, -17, 21, 24]
    return call


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [ssd, ssd_quadratic, ssd_chunked])
def test_ssd_satisfies_its_equations(form, dtype):
    call = call_with_extremes()
    options = {"chunk_size": 4} if form is ssd_chunked else {}
    found = form(**cast(call, dtype), **options)
    with mp.workdps(DIGITS):
        arrays = {k: numbers(v) for k, v in call.items() if isinstance(v, np.ndarray)}
        assert_exact(found, equations(**call | arrays))


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_satisfies_the_equations(dtype):
    call = part(call_with_extremes(), slice(2, 3))
    step = cast(part(call, 0), dtype)
    y, state = ssd_step(state=step.pop("initial_state"), **step)
    with mp.workdps(DIGITS):
        arrays = {k: numbers(v) for k, v in call.items() if isinstance(v, np.ndarray)}
        assert_exact((y[:, None], state), equations(**call | arrays))
