"""Where transformers is not golden: each test fails once it is.

A difference is asserted to be there, and to be the one that is described: golden with
the deviation built in agrees with the library.
"""

from dataclasses import replace

import numpy as np
import pytest
from peers.transformers import zoo
from support.compare import error
from transformers.models.mamba import modeling_mamba
from transformers.models.mamba2 import modeling_mamba2

torch = zoo.torch

pytestmark = pytest.mark.peers
ROUNDING = 5e-6
FIRST = 13


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(zoo.VOCABULARY, size=(2, 21))


def continued(model, deviating, ids, *, tokens):
    """Return their logits after a prefill, golden's, and golden's with a deviation.

    The rest comes in blocks of `tokens`; the prefill is the same in all three.
    """
    theirs = zoo.Theirs(model.random())
    parameters = zoo.parameters_of(theirs.model)
    _ = theirs(ids[:, :FIRST])
    _, right = zoo.logits(model, parameters, ids[:, :FIRST])
    wrong, results = right, []
    for start in range(FIRST, ids.shape[1], tokens):
        block = ids[:, start : start + tokens]
        golden, right = zoo.logits(model, parameters, block, right)
        emulated, wrong = zoo.logits(deviating, parameters, block, wrong)
        results.append((theirs(block), golden, emulated))
    return (np.concatenate(parts, axis=1) for parts in zip(*results, strict=True))


def restarting(mixer):
    """Forget the state of a Mamba-1 mixer, but not its convolution."""
    if mixer not in (zoo.mamba1_mixer, zoo.normed_mixer):
        return mixer

    def restarted(parameters, x, cache):
        return mixer(parameters, x, cache._replace(ssm=None))

    return restarted


@pytest.mark.parametrize("name", ["mamba", "falcon_mamba", "jamba"])
def test_mamba1_restarts_its_state_at_several_tokens(name, ids):
    model = zoo.MODELS[name]
    found, golden, emulated = continued(model, model.but(restarting), ids, tokens=4)
    assert error(found, golden) > 1e-3
    assert error(found, emulated) < ROUNDING


def test_mamba2_decodes_without_its_limits_of_dt(ids):
    limit = (0.2, 0.8)
    free = zoo.MODELS["mamba2"]
    limited = replace(free, options=free.options | {"time_step_limit": limit}).but(
        lambda _: zoo.mamba2_mixer(dt_limit=limit)
    )
    found, golden, emulated = continued(limited, free, ids, tokens=1)
    assert error(found, golden) > 1e-3
    assert error(found, emulated) < ROUNDING


def test_bamba_decodes_at_position_zero(ids):
    model = zoo.MODELS["bamba"]
    unrotated = replace(model, mixers=(model.mixers[0], zoo.attention_mixer(0)))
    found, golden, emulated = continued(model, unrotated, ids, tokens=1)
    assert error(found, golden) > 1e-3
    assert error(found, emulated) < ROUNDING


def test_the_chunk_scan_ignores_a_gate():
    x = torch.randn(1, 5, 3, 2)
    arguments = (x, torch.rand(1, 5, 3), -torch.rand(3), *torch.randn(2, 1, 5, 1, 4), 8)
    plain = modeling_mamba2.mamba2_chunk_scan(*arguments)
    gated = modeling_mamba2.mamba2_chunk_scan(*arguments, z=torch.randn_like(x))
    assert torch.equal(plain, gated)


def test_the_step_ignores_limits_of_dt():
    x, dt, B = torch.randn(1, 3, 2), torch.rand(1, 3, 2), torch.randn(1, 1, 4)
    arguments = (x, dt, -torch.rand(3, 2, 4), B, B)
    free, limited = (
        modeling_mamba2.mamba2_selective_state_update(
            torch.zeros(1, 3, 2, 4), *arguments, **options
        )
        for options in ({}, {"dt_limit": (5.0, 6.0)})
    )
    assert torch.equal(free, limited)


def test_the_convolution_ignores_an_initial_state():
    x, weight = torch.randn(1, 3, 5), torch.randn(3, 4)
    started = {"initial_states": torch.randn(1, 3, 3)}
    plain = modeling_mamba.causal_conv1d_fn(x, weight)
    assert torch.equal(plain, modeling_mamba.causal_conv1d_fn(x, weight, **started))
