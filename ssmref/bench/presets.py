"""Sizes of published models, and blocks of equal parameter counts at one width.

Each size has its source. The parameters of a model are counted from its layers, and the
count is the published one where there is one: a wrong size would show.
"""

from dataclasses import dataclass, replace
from functools import cache
from math import prod

from ..models.blocks import (
    AttentionConfig,
    LayerConfig,
    Mamba1Config,
    Mamba2Config,
    Mamba3Config,
    MLPConfig,
    layer_shapes,
)

BLOCKS = (
    *("block.transformer", "block.mamba1", "block.mamba2"),
    *("block.mamba3_siso", "block.mamba3_mimo"),
)
# The published Mamba-3 models take as many channels per head.
HEADDIM = 64
# Channels of the MLPs that make counts equal come in multiples of this.
_ROUNDED = 8


@dataclass(frozen=True)
class ExactLayer(LayerConfig):
    """A layer whose MLP has the channels that it is given, not rounded up."""

    @property
    def mlp(self) -> MLPConfig | None:
        """The configuration of the MLP."""
        if not self.d_intermediate:
            return None
        return MLPConfig(self.mixer.d_model, self.d_intermediate, multiple_of=1)


@dataclass(frozen=True)
class Model:
    """A published model: how many of which layers, and where that is said.

    `vocabulary` are the rows of its embedding, after padding; 0 where what is missing
    from the layers makes its count meaningless, and `note` says what that is.
    """

    name: str
    layers: tuple[tuple[int, LayerConfig], ...]
    source: str
    vocabulary: int = 0
    tied: bool = True
    note: str = ""

    @property
    def parameters(self) -> int | None:
        """All parameters: of the layers, the embedding, the head and the last norm."""
        if not self.vocabulary:
            return None
        own = sum(count * parameters(layer) for count, layer in self.layers)
        width = self.layers[0][1].mixer.d_model
        return own + width * self.vocabulary * (1 if self.tied else 2) + width


def parameters(layer: LayerConfig) -> int:
    """Return how many numbers a layer learns."""
    return sum(prod(shape) for shape in layer_shapes(layer).values())


def block_of(layer: LayerConfig) -> str:
    """Return the name of the block that a layer is."""
    mixer = layer.mixer
    if isinstance(mixer, AttentionConfig):
        return "block.transformer"
    if isinstance(mixer, Mamba3Config):
        return "block.mamba3_mimo" if mixer.is_mimo else "block.mamba3_siso"
    return "block.mamba1" if isinstance(mixer, Mamba1Config) else "block.mamba2"


@cache
def matched(width: int) -> dict[str, tuple[LayerConfig, ...]]:
    """Return for each block the layers that have about equally many parameters.

    Two layers of Mamba-1 or Mamba-2 stand for one of a Transformer, as the Mamba paper
    counts them (arXiv 2312.00752, section 3.4); Mamba-3 comes with an MLP, as in its
    published models. The MLPs are as wide as it takes to meet the mean of the first
    two, which have none. The Transformer has heads of 64 and rotary embeddings, as
    Llama has.
    """
    pairs: dict[str, tuple[LayerConfig, ...]] = {
        "block.mamba1": (LayerConfig(Mamba1Config(width)),) * 2,
        "block.mamba2": (LayerConfig(Mamba2Config(width)),) * 2,
    }
    counts = [sum(map(parameters, layers)) for layers in pairs.values()]
    target = sum(counts) / len(counts)
    heads, plain = width // HEADDIM, {"qkv_proj_bias": False, "out_proj_bias": False}
    attention = AttentionConfig(width, heads, rotary_emb_dim=HEADDIM, **plain)
    others = {
        "block.transformer": attention,
        "block.mamba3_siso": Mamba3Config(width),
        "block.mamba3_mimo": Mamba3Config(width, is_mimo=True),
    }
    single = {
        name: (_filled(ExactLayer(mixer, d_intermediate=_ROUNDED), target),)
        for name, mixer in others.items()
    }
    every = pairs | single
    return {name: every[name] for name in BLOCKS}


def _filled(layer: ExactLayer, target: float) -> ExactLayer:
    """Return the layer with the MLP that brings it closest to so many parameters."""
    one = layer.mixer.d_model * 3
    rest = parameters(layer) - one * layer.d_intermediate
    steps = round((target - rest) / one / _ROUNDED)
    return replace(layer, d_intermediate=_ROUNDED * max(steps, 1))


def _mamba1(name: str, count: int, width: int) -> Model:
    layers = ((count, LayerConfig(Mamba1Config(width))),)
    return Model(name, layers, f"{_HUB}/state-spaces/{name}: config.json", 50280)


def _mamba2(name: str, count: int, width: int) -> Model:
    layers = ((count, LayerConfig(Mamba2Config(width))),)
    return Model(name, layers, f"{_HUB}/state-spaces/{name}: config.json", 50288)


def _mamba3(name: str, count: int, width: int, mlp: int, source: str) -> Model:
    mixer = Mamba3Config(width, is_mimo="mimo" in name)
    layers = ((count, LayerConfig(mixer, d_intermediate=mlp)),)
    return Model(name, layers, source, 128256)


_HUB = "https://huggingface.co"
_MAMBA3 = "https://huggingface.co/state-spaces: config.json"
_INFERRED = f"{_MAMBA3}; channels of the MLP follow from the parameter count"
_NO_BIAS = {"qkv_proj_bias": False, "out_proj_bias": False}

_MODELS = (
    _mamba1("mamba-130m", 24, 768),
    _mamba1("mamba-370m", 48, 1024),
    _mamba1("mamba-790m", 48, 1536),
    _mamba1("mamba-1.4b", 48, 2048),
    _mamba1("mamba-2.8b", 64, 2560),
    _mamba2("mamba2-130m", 24, 768),
    _mamba2("mamba2-370m", 48, 1024),
    _mamba2("mamba2-780m", 48, 1536),
    _mamba2("mamba2-1.3b", 48, 2048),
    _mamba2("mamba2-2.7b", 64, 2560),
    _mamba3("mamba3-siso-187m", 12, 768, 1536, _MAMBA3),
    _mamba3("mamba3-mimo-187m", 12, 768, 1264, _MAMBA3),
    _mamba3("mamba3-siso-1.5b", 24, 2048, 4096, _INFERRED),
    _mamba3("mamba3-mimo-1.5b", 24, 2048, 3824, _MAMBA3),
    Model(
        "codestral-7b",
        ((64, LayerConfig(Mamba2Config(4096, ngroups=8))),),
        "defaults of Mamba2Config, which are those of Mamba-Codestral-7B-v0.1: "
        f"{_HUB}/docs/transformers/model_doc/mamba2",
        32768,
        tied=False,
    ),
    Model(
        "nemotron-h-8b",
        (
            (24, LayerConfig(Mamba2Config(4096, ngroups=8))),
            (4, LayerConfig(AttentionConfig(4096, 32, 8, head_dim=128, **_NO_BIAS))),
        ),
        "defaults of NemotronHConfig: "
        "https://docs.vllm.ai/en/v0.20.2/api/vllm/transformers_utils/configs/nemotron_h/",
        note="without its 24 MLPs, which have no gate",
    ),
    Model(
        "falcon-h1-0.5b",
        (
            (36, LayerConfig(Mamba2Config(1024, expand=1.5, rmsnorm=False))),
            (
                36,
                LayerConfig(
                    AttentionConfig(
                        *(1024, 8, 2), head_dim=64, rotary_emb_dim=64, **_NO_BIAS
                    ),
                    d_intermediate=2048,
                ),
            ),
        ),
        f"{_HUB}/docs/transformers/model_doc/falcon_h1",
        note="both mixers of a layer run side by side, here one by one",
    ),
)
MODELS = {model.name: model for model in _MODELS}
