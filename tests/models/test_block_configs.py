"""Configurations and parameters: official counts, official names, clear errors."""

import numpy as np
import pytest
from support.blocks_inputs import CONFIGS, block_inputs

from ssmref.models.blocks import (
    MIXERS,
    AttentionConfig,
    LayerConfig,
    Mamba1Config,
    Mamba2Config,
    Mamba3Config,
    MLPConfig,
    gated_mlp,
    init_attention,
    init_mamba1,
    init_mamba2,
    init_mamba3,
    init_mlp,
    layer_shapes,
    mamba1_block_step,
    mamba2_block,
    residual_layer,
)


def count(config):
    """Return the number of parameters of a residual layer."""
    return sum(int(np.prod(shape)) for shape in layer_shapes(config).values())


def siso(width, intermediate):
    return LayerConfig(Mamba3Config(width), intermediate)


def mimo(width, intermediate):
    return LayerConfig(Mamba3Config(width, is_mimo=True), intermediate)


# Published models: layers, width, padded vocabulary, layer, all parameters.
PUBLISHED = {
    "mamba-130m": (24, 768, 50280, LayerConfig(Mamba1Config(768)), 129_135_360),
    "mamba-370m": (48, 1024, 50280, LayerConfig(Mamba1Config(1024)), 371_516_416),
    "mamba-790m": (48, 1536, 50280, LayerConfig(Mamba1Config(1536)), 793_204_224),
    "mamba-1.4b": (48, 2048, 50280, LayerConfig(Mamba1Config(2048)), 1_372_178_432),
    "mamba-2.8b": (64, 2560, 50280, LayerConfig(Mamba1Config(2560)), 2_768_345_600),
    "mamba2-130m": (24, 768, 50288, LayerConfig(Mamba2Config(768)), 128_989_632),
    "mamba2-370m": (48, 1024, 50288, LayerConfig(Mamba2Config(1024)), 368_346_624),
    "mamba2-780m": (48, 1536, 50288, LayerConfig(Mamba2Config(1536)), 780_161_280),
    "mamba2-1.3b": (48, 2048, 50288, LayerConfig(Mamba2Config(2048)), 1_343_757_312),
    "mamba2-2.7b": (64, 2560, 50288, LayerConfig(Mamba2Config(2560)), 2_702_599_680),
    "mamba3-siso-187m": (12, 768, 128256, siso(768, 1536), 186_849_600),
    "mamba3-mimo-187m": (12, 768, 128256, mimo(768, 1264), 187_291_968),
    "mamba3-siso-1.5b": (24, 2048, 128256, siso(2048, 4096), 1_494_723_584),
    "mamba3-mimo-1.5b": (24, 2048, 128256, mimo(2048, 3824), 1_497_082_880),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_number_of_parameters_is_the_published_one(name):
    layers, width, vocabulary, layer, published = PUBLISHED[name]
    assert layers * count(layer) + vocabulary * width + width == published


def test_number_of_parameters_of_a_hybrid_is_the_published_one():
    attention = AttentionConfig(
        2560,
        num_heads=30,
        head_dim=128,
        d_conv=4,
        rotary_emb_dim=64,
        qkv_proj_bias=False,
        out_proj_bias=False,
    )
    layers = 58 * count(LayerConfig(Mamba2Config(2560))) + 6 * count(
        LayerConfig(attention)
    )
    assert layers + 50288 * 2560 + 2560 == 2_697_590_880


def test_sizes_follow_the_official_rules():
    assert Mamba1Config(768).rank == 48
    assert Mamba1Config(100).rank == 7
    assert Mamba2Config(768).nheads == 24
    assert MLPConfig(768).hidden == 2048
    assert MLPConfig(768, 1264).hidden == 1280
    assert AttentionConfig(64, 4, mlp_dim=257).d_mlp == 256
    assert Mamba3Config(64, d_state=128).angles == 32
    assert Mamba3Config(64, d_state=18).angles == 4
    assert Mamba3Config(64, rope_fraction=1).angles == 64


def bounds(values):
    return values.min(), values.max()


def softplus(v):
    return np.log1p(np.exp(v))


def test_initial_values_follow_the_official_distributions():
    rng = np.random.default_rng(0)
    p = init_mamba1(rng, Mamba1Config(256))
    assert np.array_equal(
        np.round(np.exp(p["A_log"])), np.tile(np.arange(1, 17), (512, 1))
    )
    low, high = bounds(softplus(p["dt_proj.bias"]))
    assert 1e-3 <= low < 1.1e-3
    assert 0.09 < high <= 0.1
    limits = {
        "in_proj": 256,
        "x_proj": 512,
        "dt_proj": 16,
        "out_proj": 512,
        "conv1d": 4,
    }
    for name, fan_in in limits.items():
        low, high = bounds(p[f"{name}.weight"] * fan_in**0.5)
        assert -1 <= low < -0.98
        assert 0.98 < high <= 1
    assert bounds(p["conv1d.bias"]) != (0, 0)
    p = init_mamba2(rng, Mamba2Config(2048, headdim=4))
    low, high = bounds(np.exp(p["A_log"]))
    assert 1 <= low < 1.1
    assert 15.9 < high <= 16
    assert bounds(p["D"]) == bounds(p["norm.weight"]) == (1, 1)
    p = init_mamba3(rng, Mamba3Config(64, is_mimo=True))
    assert bounds(p["mimo_x"]) == bounds(p["mimo_o"]) == (0.25, 0.25)
    for name in ("mimo_z", "B_bias", "C_bias", "B_norm.weight", "C_norm.weight", "D"):
        assert bounds(p[name]) == (1, 1)
    p = init_attention(rng, AttentionConfig(64, 4))
    assert bounds(p["in_proj.bias"]) == bounds(p["out_proj.bias"]) == (0, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mamba1Config(0), "Mamba1Config.d_model is 0; .* at least 1"),
        (lambda: Mamba1Config(8, d_state=0), "Mamba1Config.d_state is 0"),
        (lambda: Mamba1Config(8, d_conv=0), "Mamba1Config.d_conv is 0"),
        (lambda: Mamba1Config(8, expand=0.1), "Mamba1Config.expand is 0.1"),
        (lambda: Mamba1Config(8, dt_rank=0), "Mamba1Config.dt_rank is 0; .*'auto'"),
        (
            lambda: Mamba2Config(60),
            r"headdim is 64; .*heads \* headdim = d_ssm = 120.*heads is 1 and",
        ),
        (
            lambda: Mamba2Config(64, heads=3),
            r"Mamba2Config.heads is 3; .* d_ssm = 128 .*heads is 3 and headdim 64",
        ),
        (
            lambda: Mamba2Config(64, d_ssm=256),
            "d_ssm is 256; .* from 1 to d_inner = 128",
        ),
        (lambda: Mamba2Config(64, d_ssm=0), "Mamba2Config.d_ssm is 0"),
        (lambda: Mamba2Config(64, ngroups=3), "ngroups is 3; .* divide the 2 heads"),
        (lambda: Mamba3Config(60), "headdim is 64; .*divide d_model . expand = 120"),
        (lambda: Mamba3Config(64, d_state=15), "d_state is 15; it needs to be even"),
        (lambda: Mamba3Config(64, ngroups=4), "ngroups is 4; .* divide the 2 heads"),
        (lambda: Mamba3Config(64, rope_fraction=0.3), "rope_fraction is 0.3; .*0.5, 1"),
        (
            lambda: Mamba3Config(64, a_activation="relu"),  # type: ignore[arg-type]
            "a_activation is 'relu'; .*heavy_tail",
        ),
        (
            lambda: Mamba3Config(64, rope_pairing="half"),  # type: ignore[arg-type]
            "rope_pairing is 'half'; .*halved",
        ),
        (lambda: Mamba3Config(64, is_mimo=True, mimo_rank=0), "mimo_rank is 0"),
        (lambda: AttentionConfig(64, 5), "num_heads is 5; .* divide d_model = 64"),
        (
            lambda: AttentionConfig(64, 4, 3),
            "num_heads_kv is 3; .* divide num_heads = 4",
        ),
        (
            lambda: AttentionConfig(64, 4, rotary_emb_dim=5),
            "rotary_emb_dim is 5; .* even and from 0 to 16",
        ),
        (lambda: AttentionConfig(64, 4, mlp_dim=-1), "AttentionConfig.mlp_dim is -1"),
        (lambda: AttentionConfig(64, 4, head_dim=0), "AttentionConfig.head_dim is 0"),
        (lambda: MLPConfig(8, 0), "MLPConfig.d_intermediate is 0; .* at least 1"),
        (lambda: LayerConfig(Mamba1Config(8), -1), "LayerConfig.d_intermediate is -1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layer_needs_a_mixer():
    with pytest.raises(TypeError, match=r"LayerConfig.mixer is a int; .*Mamba1Config"):
        LayerConfig(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_each_wrong_parameter_is_named(config):
    parameters, x = block_inputs(np.random.default_rng(0), config)
    block = MIXERS[type(config)].block
    for name, value in parameters.items():
        with pytest.raises(ValueError, match=f"{name} has shape .*; it needs "):
            block({**parameters, name: value[..., None]}, x, config)
        with pytest.raises(ValueError, match=f"parameters lack {name}; it needs shape"):
            block({n: v for n, v in parameters.items() if n != name}, x, config)
        with pytest.raises(
            TypeError, match=f"{name} has dtype float32, but x has float"
        ):
            block({**parameters, name: value.astype(np.float32)}, x, config)
    with pytest.raises(ValueError, match="unknown names: E, F; known are: in_proj"):
        block({**parameters, "F": x, "E": x}, x, config)


def test_wrong_input_is_refused():
    config = CONFIGS["mamba2"]
    parameters, x = block_inputs(np.random.default_rng(0), config)
    with pytest.raises(ValueError, match=r"x has shape \(2, 7, 11\); .*d_model = 12"):
        mamba2_block(parameters, x[..., :11], config)
    with pytest.raises(ValueError, match=r"x has shape \(2, 12\); .*length, d_model"):
        mamba2_block(parameters, x[:, 0], config)
    config = CONFIGS["mamba1"]
    parameters, x = block_inputs(np.random.default_rng(0), config)
    _, cache = MIXERS[type(config)].block(parameters, x, config)
    with pytest.raises(ValueError, match=r"x has shape .*it needs \(batch, d_model\)"):
        mamba1_block_step(parameters, x, config, cache)
    with pytest.raises(ValueError, match=r"state has shape .*slots = 1"):
        mamba1_block_step(parameters, x[:1, 0], config, cache)


def test_wrong_parameters_of_a_layer_and_an_mlp_are_named():
    config = LayerConfig(CONFIGS["mamba1"], 100)
    parameters, x = block_inputs(np.random.default_rng(0), config)
    del parameters["mlp.fc2.weight"]
    with pytest.raises(ValueError, match=r"parameters lack mlp.fc2.weight"):
        residual_layer(parameters, x, config)
    config = MLPConfig(12, 100)
    parameters = init_mlp(np.random.default_rng(0), config)
    with pytest.raises(ValueError, match=r"fc1.weight has shape .*\(256, 12\)"):
        gated_mlp({**parameters, "fc1.weight": x}, x, config)
