"""Sizes of models: a wrong one would change the published count of parameters."""

import pytest

from ssmref.bench.presets import BLOCKS, MODELS, block_of, matched, parameters
from ssmref.models.blocks import AttentionConfig, Mamba3Config

# Counted from the official modules, or given with the weights.
PUBLISHED = {
    "mamba-130m": 129_135_360,
    "mamba-370m": 371_516_416,
    "mamba-790m": 793_204_224,
    "mamba-1.4b": 1_372_178_432,
    "mamba-2.8b": 2_768_345_600,
    "mamba2-130m": 128_989_632,
    "mamba2-370m": 368_346_624,
    "mamba2-780m": 780_161_280,
    "mamba2-1.3b": 1_343_757_312,
    "mamba2-2.7b": 2_702_599_680,
    "mamba3-siso-187m": 186_849_600,
    "mamba3-mimo-187m": 187_291_968,
    "mamba3-siso-1.5b": 1_494_723_584,
    "mamba3-mimo-1.5b": 1_497_082_880,
    "codestral-7b": 7_285_403_648,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_models_have_as_many_parameters_as_published(name):
    assert MODELS[name].parameters == PUBLISHED[name]


def test_what_is_not_counted_says_why():
    rest = {name: model for name, model in MODELS.items() if name not in PUBLISHED}
    assert set(rest) == {"nemotron-h-8b", "falcon-h1-0.5b"}
    assert all(model.parameters is None and model.note for model in rest.values())


def test_every_model_has_a_source():
    assert all("https://" in model.source for model in MODELS.values())


@pytest.mark.parametrize("width", [384, 512, 768, 1024, 1536, 2048, 2560])
def test_blocks_have_equal_parameter_counts(width):
    found = matched(width)
    counts = [sum(map(parameters, layers)) for layers in found.values()]
    target = (counts[1] + counts[2]) / 2
    assert list(found) == list(BLOCKS)
    assert all(abs(count / target - 1) < 0.02 for count in counts)


def test_mimo_has_a_narrower_mlp_for_its_wider_projection():
    found = matched(768)
    siso, mimo = found["block.mamba3_siso"][0], found["block.mamba3_mimo"][0]
    assert mimo.d_intermediate < siso.d_intermediate


def test_blocks_are_named_by_their_mixers():
    for name, layers in matched(512).items():
        assert {block_of(layer) for layer in layers} == {name}
    (transformer,) = matched(512)["block.transformer"]
    assert isinstance(transformer.mixer, AttentionConfig)
    (mimo,) = matched(512)["block.mamba3_mimo"]
    assert isinstance(mimo.mixer, Mamba3Config)
    assert mimo.mixer.is_mimo
