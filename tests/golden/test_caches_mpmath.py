"""Serving and snapshots against their equations in plain numbers of 50 digits."""

import numpy as np
import pytest
from mpmath import exp, log1p, mp, mpf
from support.caches_inputs import serve_example, snapshots_example
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers

from ssmref.golden.caches import (
    serve,
    serve_stepwise,
    snapshots,
    snapshots_blockwise,
)

SIZES = {"batch": 4, "length": 5, "heads": 2, "headdim": 2, "groups": 1, "state": 2}
LOW, HIGH = mpf("0.125"), mpf("1.5")


def silu(v):
    return v / (1 + exp(-v))


def step_size(raw, bias):
    return min(max(log1p(exp(raw + bias)), LOW), HIGH)


def token(c, t, row, window, h):
    """Advance one row by one token; return its outputs and its new window."""
    taps = [*window, c["xBC"][row][t]]
    mixed = []
    for d, filters in enumerate(c["weight"]):
        terms = [taps[k][d] * f for k, f in enumerate(filters)]
        mixed.append(silu(sum(terms) + c["bias"][d]))
    x, B, C = (mixed[0:2], mixed[2:4]), mixed[4:6], mixed[6:8]
    y = []
    for i in range(2):
        dt = step_size(c["dt"][row][t][i], c["dt_bias"][i])
        y.append([])
        for p in range(2):
            for n in range(2):
                drive = dt * x[i][p] * B[n]
                h[i][p][n] = exp(dt * c["A"][i]) * h[i][p][n] + drive
            out = sum(h[i][p][n] * C[n] for n in range(2))
            y[i].append(out + c["D"][i] * x[i][p])
    return y, taps[1:]


def served(c, read, write, mask, accepted):
    """Return y and the pools, written out token by token."""
    conv, ssm = ([list(slot) for slot in pool] for pool in c["state"])
    y = [[[[mpf(0)] * 2 for _ in range(2)] for _ in row] for row in mask]
    for row, slot in enumerate(read):
        window = [[mpf(0)] * 8 for _ in range(3)]
        h = [[[mpf(0)] * 2 for _ in range(2)] for _ in range(2)]
        if slot >= 0:
            window = [list(v) for v in c["state"][0][slot]]
            h = [[list(v) for v in head] for head in c["state"][1][slot]]
        seen, kept = 0, (window, [[list(v) for v in head] for head in h])
        for t, real in enumerate(mask[row]):
            if real:
                y[row][t], window = token(c, t, row, window, h)
                seen += 1
                if seen == accepted[row]:
                    kept = window, [[list(v) for v in head] for head in h]
        if write[row] >= 0:
            conv[write[row]], ssm[write[row]] = kept
    return y, (conv, ssm)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [serve, serve_stepwise])
def test_serving_satisfies_its_equations(form, dtype):
    call = dict(serve_example(np.random.default_rng(3), **SIZES, slots=4))
    call["dt_limit"] = (0.125, 1.5)
    call["mask"][0] = [0, 1, 1, 0, 1]
    call["accepted"][0] = 2
    y, state = form(**cast(call, dtype))
    with mp.workdps(DIGITS):
        fixed = ("read", "write", "mask", "accepted")
        c = {n: numbers(v) for n, v in call.items() if isinstance(v, np.ndarray)}
        c["state"] = [numbers(part) for part in call["state"]]
        expected = served(c, *(call[n].tolist() for n in fixed))
        assert_exact((y, *state), (expected[0], *expected[1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [snapshots, snapshots_blockwise])
def test_snapshots_satisfy_their_equations(form, dtype):
    sizes = {n: SIZES[n] for n in ("heads", "headdim", "groups", "state")}
    draw = np.random.default_rng(4)
    call = snapshots_example(draw, lengths=(3, 5), position=(0, 2), block=2, **sizes)
    call["dt_limit"] = (0.125, 1.5)
    found, expected = form(**cast(call, dtype)), []
    with mp.workdps(DIGITS):
        c = {n: numbers(v) for n, v in call.items() if isinstance(v, np.ndarray)}
        for row, (first, stop, seen) in enumerate(((0, 3, 0), (3, 8, 2))):
            h = c["initial_state"][row]
            for t in range(first, stop):
                h = [advance(c, t, i, h[i]) for i in range(2)]
                if (seen + t - first + 1) % 2 == 0:
                    expected.append(h)
        assert len(expected) == 3
        assert_exact(found, expected)


def advance(c, t, i, h):
    """Return the state of head i after token t."""
    dt = step_size(c["dt"][0][t][i], c["dt_bias"][i])
    x, B = c["x"][0][t][i], c["B"][0][t][0]
    return [
        [exp(dt * c["A"][i]) * h[p][n] + dt * x[p] * B[n] for n in range(2)]
        for p in range(2)
    ]
