"""The mixers and language models of transformers, in single precision, are golden."""

import numpy as np
import pytest
from peers.transformers import zoo
from support.compare import error

torch = zoo.torch

pytestmark = pytest.mark.peers
# Of the largest logit or state, in single precision.
ROUNDING = 5e-6

each_model = pytest.mark.parametrize("model", zoo.MODELS.values(), ids=zoo.MODELS)


def pieces(ids, *lengths):
    """Cut the tokens into (positions, ids) of these lengths; the rest one by one."""
    ends = [*np.cumsum(lengths), *range(sum(lengths) + 1, ids.shape[1] + 1)]
    starts = [0, *ends[:-1]]
    return [(np.arange(a, b), ids[:, a:b]) for a, b in zip(starts, ends, strict=True)]


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(zoo.VOCABULARY, size=(2, 21))


@pytest.fixture
def close(record_property):
    errors = []

    def close(found, golden):
        errors.append(error(np.asarray(found), golden))
        record_property("error", max(errors))
        return errors[-1] <= ROUNDING

    return close


@each_model
def test_logits(model, ids, close):
    theirs = model.random()
    golden, _ = zoo.logits(model, zoo.parameters_of(theirs), ids)
    assert close(zoo.Theirs(theirs)(ids), golden)


@each_model
@pytest.mark.parametrize("prefilled", [13, 2])
def test_prefill_and_decode(model, prefilled, ids, close):
    theirs, caches = zoo.Theirs(model.random()), None
    parameters = zoo.parameters_of(theirs.model)
    for positions, tokens in pieces(ids, prefilled):
        # Bamba counts from 0 without them; see test_differences.
        found = theirs(tokens, position_ids=torch.tensor(positions[None]))
        golden, caches = zoo.logits(model, parameters, tokens, caches)
        assert close(found, golden)
    assert caches is not None
    conv, ssm = theirs.states(0)
    assert close(conv, caches[0].conv)
    assert close(ssm, caches[0].ssm)


@pytest.mark.parametrize("name", ["mamba2", "mamba2 of two groups", "bamba"])
def test_several_tokens_on_a_cache(name, ids, close):
    model, caches = zoo.MODELS[name], None
    theirs = zoo.Theirs(model.random())
    parameters = zoo.parameters_of(theirs.model)
    for positions, tokens in pieces(ids, 9, 2, 10):
        found = theirs(tokens, position_ids=torch.tensor(positions[None]))
        golden, caches = zoo.logits(model, parameters, tokens, caches)
        assert close(found, golden)


@each_model
def test_mixer(model, close):
    theirs = model.random()
    prefix, module = zoo.first_mixer(theirs)
    parameters = zoo.under(zoo.parameters_of(theirs), prefix)
    x = np.random.default_rng(1).standard_normal((2, 17, zoo.WIDTH)).astype(np.float32)
    with torch.no_grad():
        found = module(torch.tensor(x))
    golden, _ = model.mixers[0](parameters, x.astype(np.float64), None)
    assert close(found, golden)
