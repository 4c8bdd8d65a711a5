"""Caches and states, counted."""

import numpy as np
import pytest

from ssmref.bench.bytes import request_bytes
from ssmref.bench.presets import MODELS
from ssmref.bench.sizes import (
    ITEM_BYTES,
    Kept,
    Shape,
    kept,
    of_model,
    of_shape,
    transformer_like,
)
from ssmref.models.blocks import (
    AttentionConfig,
    LayerConfig,
    Mamba1Config,
    Mamba2Config,
    Mamba3Config,
    init_layer,
    residual_layer,
)

GIB = 2**30


MIXERS = {
    "attention": AttentionConfig(24, 6, 2),
    "Mamba-1": Mamba1Config(24, 5, 3, 3),
    "Mamba-2": Mamba2Config(24, 12, 3, 3, headdim=4, ngroups=2),
    "Mamba-3 SISO": Mamba3Config(24, 12, 3, 4, 2),
    "Mamba-3 MIMO": Mamba3Config(24, 12, 3, 4, 2, is_mimo=True, mimo_rank=3),
}


def held(cache):
    """Return the bytes of all arrays of a cache."""
    if isinstance(cache, tuple):
        return sum(map(held, cache))
    return 0 if cache is None else cache.nbytes


def named(found):
    return {kept.name: kept for kept in found}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("context", [0, 1, 4096])
def test_two_numbers_say_what_a_model_keeps(name, context):
    expected = request_bytes(MODELS[name], np.dtype(np.float32), context, 7)
    assert of_model(MODELS[name]).bytes("float32", context, 7) == expected


def test_known_sizes():
    """As in the formulas of the official caches; the convolution keeps its past 3."""
    shape = Shape(layers=24, heads=12, kv_heads=4, groups=2)
    found = named(of_shape(shape))
    assert found == {
        "attention": Kept("attention", 0, 24 * 2 * 4 * 64),
        "Mamba-1": Kept("Mamba-1", 24 * 1536 * (16 + 3), 0),
        "Mamba-2": Kept("Mamba-2", 24 * (3 * (1536 + 2 * 2 * 128) + 1536 * 128), 0),
        "Mamba-3 SISO": Kept("Mamba-3 SISO", 24 * 24 * (32 + 64 * 128 + 128 + 64), 0),
        "Mamba-3 MIMO": Kept(
            "Mamba-3 MIMO", 24 * 24 * (32 + 64 * 128 + 4 * 128 + 64), 0
        ),
    }


@pytest.mark.parametrize("name", MIXERS)
def test_sizes_are_those_of_the_arrays_that_a_block_keeps(name):
    """Three requests of 5 tokens, in a stack of two layers."""
    layer = LayerConfig(MIXERS[name])
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 5, 24))
    _, cache = residual_layer(init_layer(rng, layer), x, layer)
    shape = Shape(
        **{"layers": 2, "heads": 6, "kv_heads": 2, "headdim": 4, "expand": 3},
        **{"mamba1_state": 5, "state": 12, "groups": 2, "rank": 3, "conv": 3},
    )
    expected = named(of_shape(shape))[name].bytes("float64", 5, requests=3)
    assert 2 * held(cache) == expected


def test_every_size_counts():
    """None of the fields of a shape is without effect."""
    base = Shape(layers=3, heads=6, kv_heads=2, headdim=8, expand=2, groups=2, state=16)
    changes = {
        **{"layers": 4, "heads": 8, "kv_heads": 3, "headdim": 16, "expand": 3},
        **{"mamba1_state": 8, "state": 32, "groups": 3, "rank": 5, "conv": 5},
    }
    assert changes.keys() == vars(base).keys()
    for name, value in changes.items():
        assert of_shape(Shape(**vars(base) | {name: value})) != of_shape(base), name


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layers": 0}, "layers is less than 1"),
        ({"kv_heads": 5}, "kv_heads is 5, which does not divide the 12 heads"),
        ({"groups": 7}, "groups is 7, which does not divide the 24 heads of a state"),
        ({"state": 6}, "state is 6, needed is a multiple of 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Shape(**wrong)


def test_bytes_follow_dtype_context_and_requests():
    cache = Kept("a hybrid", 10, 3)
    assert cache.bytes("bfloat16", 100) == 2 * 310
    assert cache.bytes("float64", 100, 5) == 5 * 8 * 310
    assert {np.dtype(n).itemsize for n in ITEM_BYTES if n != "bfloat16"} == {2, 4, 8}


def test_a_transformer_like_a_model_is_the_published_one():
    """GPT-3 of 1.3B has 24 layers of width 2048, Llama-2 of 7B 32 of width 4096."""
    gpt = transformer_like(MODELS["mamba-1.4b"])
    assert gpt
    assert gpt.per_token == 24 * 2 * 2048
    llama = transformer_like(MODELS["codestral-7b"])
    assert llama
    assert llama.per_token == 32 * 2 * 4096
    assert llama.bytes("float16", 4096) == 2 * GIB
    mamba3 = transformer_like(MODELS["mamba3-siso-1.5b"])
    assert mamba3
    assert mamba3.per_token == 24 * 2 * 2048
    assert transformer_like(MODELS["nemotron-h-8b"]) is None


def test_a_hybrid_keeps_both():
    """Nemotron-H keeps keys and values in 4 layers, of 8 heads with 128 channels."""
    found = of_model(MODELS["nemotron-h-8b"])
    assert found.per_token == 4 * 2 * 8 * 128
    assert found.fixed > 24 * 128 * 64 * 128


def test_a_cache_of_a_known_model():
    """Llama-3.2-1B: 16 layers, 8 heads of 64 for keys and values: 32 KiB per token."""
    layer = LayerConfig(AttentionConfig(2048, 32, 8))
    llama = kept("Llama-3.2-1B", [(16, layer)])
    assert llama.bytes("bfloat16", 1) == 32 * 1024
