"""The halves of blocks against scalar transcriptions at 50 digits."""

import numpy as np
import pytest
from mpmath import erf, exp, expm1, mpf, re, sqrt, workdps
from support.blocks_inputs import EXAMPLES, mlp_inputs, s4_block_inputs
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers

from ssmref.golden import blocks


def dot(weight, x):
    return [sum(w * v for w, v in zip(row, x, strict=True)) for row in weight]


def mlp(hidden, residual, norm_weight, fc1, fc2, eps):
    """One token: the new residual, its norm, the gated MLP."""
    residual = [h + r for h, r in zip(hidden, residual, strict=True)]
    root = sqrt(sum(r * r for r in residual) / len(residual) + eps)
    normed = [r / root * w for r, w in zip(residual, norm_weight, strict=True)]
    both, size = dot(fc1, normed), len(fc2[0])
    gated = [both[i] * (g := both[size + i]) / (1 + exp(-g)) for i in range(size)]
    return dot(fc2, gated), residual


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [blocks.mlp_block, blocks.mlp_block_folded])
def test_mlp_block(form, dtype):
    call = mlp_inputs(np.random.default_rng(5), length=3)
    found = form(**cast(call, dtype))
    with workdps(DIGITS):
        eps = mpf(call.pop("eps"))
        given = {name: numbers(array) for name, array in call.items()}
        rows = list(zip(given.pop("hidden"), given.pop("residual"), strict=True))
        pairs = [list(zip(*row, strict=True)) for row in rows]
        exact = [[mlp(h, r, **given, eps=eps) for h, r in row] for row in pairs]
        y, residual = ([[token[i] for token in row] for row in exact] for i in (0, 1))
        assert_exact(found, (y, residual))


def advance(x, u, dt, A, B, C, D, weight, bias):
    """One token of one row: the states x of all channels are replaced, y returned."""
    size, activated = len(u), []
    for d in range(size):
        total = D[d] * u[d]
        for n in range(len(A[d])):
            decay, gain = exp(dt[d] * A[d][n]), expm1(dt[d] * A[d][n]) / A[d][n]
            x[d][n] = decay * x[d][n] + gain * B[d][n] * u[d]
            total += 2 * re(C[d][n] * x[d][n])
        activated.append(total * (1 + erf(total / sqrt(2))) / 2)
    mixed = [v + b for v, b in zip(dot(weight, activated), bias, strict=True)]
    return [mixed[d] / (1 + exp(-mixed[size + d])) for d in range(size)]


FORMS = [blocks.s4_block, blocks.s4_block_convolution, blocks.s4_block_blelloch]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_s4_block(form, dtype):
    call = s4_block_inputs(np.random.default_rng(5), channels=3, state=2, length=4)
    found = form(**cast(call, dtype))
    with workdps(DIGITS):
        given = {name: numbers(array) for name, array in call.items()}
        u, x = given.pop("u"), given.pop("initial_state")
        y = [[advance(x[b], token, **given) for token in u[b]] for b in range(len(u))]
        assert_exact(found, (y, x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_s4_block_step(dtype):
    call = EXAMPLES["blocks.s4_block_step"](np.random.default_rng(5))
    y, state = blocks.s4_block_step(**cast(call, dtype))
    with workdps(DIGITS):
        slots = call.pop("slots").tolist()
        given = {name: numbers(array) for name, array in call.items()}
        u, x = given.pop("u"), given.pop("state")
        exact = [advance(x[s], u[b], **given) for b, s in enumerate(slots) if s >= 0]
        live = [b for b, slot in enumerate(slots) if slot >= 0]
        assert_exact((y[live], state), (exact, x))
