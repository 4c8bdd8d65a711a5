"""Mamba-3 against its equations in plain Python numbers of 50 digits."""

from typing import Any

import numpy as np
import pytest
from mpmath import cos, exp, mp, mpf, pi, sin, sqrt, tanh
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.mamba3_inputs import comparable, mimo_example, part, siso_example, step_of

from ssmref.golden import mamba3

SIZES = {"batch": 1, "length": 5, "heads": 4, "headdim": 2, "groups": 2}
SIZES |= {"state": 6, "angles": 2}
FORMS = ["", "_chunked", "_rotating"]


def sigmoid(x):
    return 1 / (1 + exp(-x))


def pair(i, state, pairing):
    """Return the two coordinates that angle i turns."""
    return (2 * i, 2 * i + 1) if pairing == "pairwise" else (i, i + state // 2)


def turned(v, theta, pairing):
    """Return v with its pairs turned by theta."""
    out = list(v)
    for i, angle in enumerate(theta):
        first, second = pair(i, len(v), pairing)
        out[first] = v[first] * cos(angle) - v[second] * sin(angle)
        out[second] = v[first] * sin(angle) + v[second] * cos(angle)
    return out


def add(v, w):
    return [a + b for a, b in zip(v, w, strict=True)]


def read(h, q):
    return [sum(h_n * q_n for h_n, q_n in zip(row, q, strict=True)) for row in h]


def head_outputs(b, i, call):
    """Return the outputs and the last state of head i, token by token."""
    state = call["initial_state"]
    theta, h = list(state.angle[b][i]), state.ssm[b][i]
    ranks, headdim = len(call["mimo_x"][i]), len(call["mimo_x"][i][0])
    k, v = [state.k[b][r][i] for r in range(ranks)], state.v[b][i]
    g = i // (len(call["mimo_x"]) // len(call["B"][b][0][0]))
    ys = []
    for t, x in enumerate(call["x"][b]):
        dt, lam = call["dt"][b][t][i], sigmoid(call["trap"][b][t][i])
        rates = [pi * tanh(a) * dt for a in call["angles"][b][t][i]]
        theta = add(theta, rates)
        alpha = exp(call["A"][b][t][i] * dt)
        k_new, q = [], []
        for r in range(ranks):
            biased = add(call["B"][b][t][r][g], call["B_bias"][i][r])
            k_new.append(turned(biased, theta, call["pairing"]))
            biased = add(call["C"][b][t][r][g], call["C_bias"][i][r])
            q.append(turned(biased, theta, call["pairing"]))
        for p in range(headdim):
            for n in range(len(k[0])):
                h[p][n] *= alpha
                for r in range(ranks):
                    w = call["mimo_x"][i][r][p]
                    h[p][n] += (1 - lam) * dt * alpha * w * v[p] * k[r][n]
                    h[p][n] += lam * dt * w * x[i][p] * k_new[r][n]
        k, v = k_new, x[i]
        ys.append(token_output(h, q, x[i], call["z"][b][t][i], i, call))
    return ys, (theta, h, k, v)


def token_output(h, q, x, z, i, call):
    """Return skip, norm, gate and the sum over ranks of one token and head."""
    out = [mpf(0)] * len(x)
    for r, q_r in enumerate(q):
        y = read(h, q_r)
        y = [
            y[p] + call["D"][i] * call["mimo_x"][i][r][p] * x[p] for p in range(len(x))
        ]
        size = sqrt(sum(a * a for a in y) / len(y) + mpf(call["norm_eps"]))
        for p in range(len(x)):
            gate = call["mimo_z"][i][r][p] * z[p]
            normed = y[p] / size * call["norm_weight"][i][p]
            out[p] += call["mimo_o"][i][r][p] * normed * gate * sigmoid(gate)
    return out


def equations(call: dict[str, Any]) -> tuple:
    """Return y, cosine and sine of the angles, ssm, k, v of the one batch row."""
    heads = range(len(call["mimo_x"]))
    results = [head_outputs(0, i, call) for i in heads]
    ys, states = zip(*results, strict=True)
    thetas, ssm, ks, vs = (list(parts) for parts in zip(*states, strict=True))
    y = [[ys[i][t] for i in heads] for t in range(len(ys[0]))]
    k = [[ks[i][r] for i in heads] for r in range(len(ks[0]))]
    turns = [[[f(a) for a in theta] for theta in thetas] for f in (cos, sin)]
    return tuple([part] for part in (y, *turns, ssm, k, vs))


def exactly(call: dict[str, Any]) -> tuple:
    """Return the equations' results for a call of SISO or MIMO."""
    call = dict(call)
    if call["B"].ndim == 4:
        call |= {k: call[k][:, :, None] for k in "BC"}
        call |= {k: call[k][:, None] for k in ("B_bias", "C_bias")}
        ones = np.ones((SIZES["heads"], 1, SIZES["headdim"]))
        call |= dict.fromkeys(("mimo_x", "mimo_z", "mimo_o"), ones)
    state = call["initial_state"]
    call["initial_state"] = type(state)(*(numbers(v) for v in state))
    return equations(
        {k: numbers(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    )


def example(op: str) -> dict[str, Any]:
    rng = np.random.default_rng(14)
    return siso_example(rng, **SIZES) if op == "siso" else mimo_example(rng, **SIZES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_op_satisfies_its_equations(op, pairing, form, dtype):
    call = dict(example(op), pairing=pairing)
    options = {"chunk_size": 3} if form == "_chunked" else {}
    found = comparable(getattr(mamba3, op + form)(**cast(call, dtype), **options))
    with mp.workdps(DIGITS):
        assert_exact(found, exactly(call))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_step_satisfies_the_equations(op, pairing, dtype):
    call = dict(part(example(op), slice(0, 1)), pairing=pairing)
    step = step_of(cast(call, dtype))
    y, state = getattr(mamba3, f"{op}_step")(**step)
    with mp.workdps(DIGITS):
        assert_exact(comparable((y[:, None], state)), exactly(call))
