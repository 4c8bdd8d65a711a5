"""The selective scan against a scalar transcription at 50 digits."""

import numpy as np
import pytest
from mpmath import exp, log, re, workdps
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.mamba1_inputs import EXAMPLES, KINDS, selective_scan_inputs

from ssmref.golden import mamba1

SUFFIXES = ("", "_hillis_steele", "_blelloch", "_chunked", "_attention")


def softplus(x):
    return x if x > 20 else log(1 + exp(x))


def silu(x):
    return x / (1 + exp(-x))


def entry(X, b, t, d, channels):
    """Return the states of constant, varying or grouped B or C."""
    if not isinstance(X[0][0], list):
        return X[d]
    token = X[b][t]
    return token[d // (channels // len(token))] if isinstance(token[0], list) else token


def exact(u, dt, A, B, C, D, z, dt_bias, initial_state, complex_A):
    """Return y and the last state in nested lists."""
    length, channels, y, state = len(u[0]), len(A), [], []
    for b in range(len(u)):
        h = [list(row) for row in initial_state[b]]
        rows = []
        for t in range(length):
            row = []
            for d in range(channels):
                step = softplus(dt[b][t][d] + dt_bias[d])
                B_td, C_td = entry(B, b, t, d, channels), entry(C, b, t, d, channels)
                for n in range(len(A[d])):
                    drive = step * B_td[n] * u[b][t][d]
                    h[d][n] = exp(step * A[d][n]) * h[d][n] + drive
                read = sum(c * x for c, x in zip(C_td, h[d], strict=True))
                read = 2 * re(read) if complex_A else read
                row.append((read + D[d] * u[b][t][d]) * silu(z[b][t][d]))
            rows.append(row)
        y.append(rows)
        state.append(h)
    return y, state


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("complex_A", [False, True])
@pytest.mark.parametrize("kinds", [("grouped", "grouped"), KINDS[:2], KINDS[1::-1]])
def test_equations_at_50_digits(kinds, complex_A, dtype):
    call = selective_scan_inputs(
        np.random.default_rng(6),
        length=5,
        channels=4,
        groups=2,
        state=3,
        B=kinds[0],
        C=kinds[1],
        complex_A=complex_A,
    )
    with workdps(DIGITS):
        arrays = {n: numbers(x) for n, x in call.items() if n != "dt_softplus"}
        expected = exact(**arrays, complex_A=complex_A)
        for suffix in SUFFIXES:
            form = getattr(mamba1, f"selective_scan{suffix}")
            assert_exact(form(**cast(call, dtype)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_at_50_digits(dtype):
    call = EXAMPLES["mamba1.selective_scan_step"](np.random.default_rng(6))
    y, state = mamba1.selective_scan_step(**cast(call, dtype))
    with workdps(DIGITS):
        for row, slot in ((0, 4), (2, 1)):
            tokens = {n: call[n][row][None, None] for n in ("u", "dt", "z", "B", "C")}
            fixed = {n: call[n] for n in ("A", "D", "dt_bias")}
            arrays = {n: numbers(x) for n, x in {**tokens, **fixed}.items()}
            start = numbers(call["state"][slot][None])
            expected = exact(**arrays, initial_state=start, complex_A=False)
            assert_exact((y[row], state[slot]), (expected[0][0][0], expected[1][0]))
