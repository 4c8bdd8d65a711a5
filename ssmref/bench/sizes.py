"""What is kept of a request between two tokens: caches of keys and values, and states.

The formulas are those of `ssmref.bench.bytes`, for published models and for sizes of
one's own. Everything is counted in one dtype, without the weights. Official code may
keep more: a convolution's buffer holds one input more, and Mamba-3 keeps its state and
angles in float32 whatever the dtype (state-spaces/mamba, `allocate_inference_cache`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from ..models.blocks import (
    AttentionConfig,
    LayerConfig,
    Mamba1Config,
    Mamba2Config,
    Mamba3Config,
    MixerConfig,
)
from .bytes import cache_numbers
from .presets import HEADDIM, Model

ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Kept:
    """Numbers that are kept of a request: always, and for each token of its context."""

    name: str
    fixed: int
    per_token: int

    def bytes(self, dtype: str, context: int, requests: int = 1) -> int:
        """Return the bytes of so many requests of this context."""
        numbers = self.fixed + self.per_token * context
        return requests * numbers * ITEM_BYTES[dtype]


@dataclass(frozen=True)
class Shape:
    """Sizes of one's own; the defaults are those of published models.

    A layer is as wide as its attention has channels, `heads` of `headdim`; a state
    space model has `expand` times as many heads of the same size. `mamba1_state` are
    the numbers that Mamba-1 keeps of a channel, `state` those of Mamba-2 and Mamba-3.
    """

    layers: int = 24
    heads: int = 12
    kv_heads: int = 12
    headdim: int = 64
    expand: int = 2
    mamba1_state: int = 16
    state: int = 128
    groups: int = 1
    rank: int = 4
    conv: int = 4

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} is less than 1")
        heads = self.expand * self.heads
        _need_divisor("kv_heads", self.kv_heads, self.heads, "heads")
        _need_divisor("groups", self.groups, heads, "heads of a state space model")
        # Mamba-3 turns half of the state, in pairs.
        if self.state % 4:
            raise ValueError(f"state is {self.state}, needed is a multiple of 4")


def _need_divisor(name: str, value: int, count: int, of: str) -> None:
    if count % value:
        raise ValueError(f"{name} is {value}, which does not divide the {count} {of}")


def kept(name: str, layers: Iterable[tuple[int, LayerConfig]]) -> Kept:
    """Return what a stack of layers keeps."""
    layers = tuple(layers)

    def numbers(tokens: int) -> int:
        return sum(n * cache_numbers(layer, 1, tokens) for n, layer in layers)

    return Kept(name, numbers(0), numbers(1) - numbers(0))


def of_shape(shape: Shape) -> list[Kept]:
    """Return what each mixer keeps, where it is in every layer."""
    return [
        kept(name, [(shape.layers, LayerConfig(mixer))])
        for name, mixer in _mixers(shape).items()
    ]


def _mixers(s: Shape) -> dict[str, MixerConfig]:
    width = s.heads * s.headdim
    mamba2 = Mamba2Config(
        *(width, s.state, s.conv, s.expand), headdim=s.headdim, ngroups=s.groups
    )
    siso = Mamba3Config(width, s.state, s.expand, s.headdim, s.groups)
    return {
        "attention": AttentionConfig(width, s.heads, s.kv_heads),
        "Mamba-1": Mamba1Config(width, s.mamba1_state, s.conv, s.expand),
        "Mamba-2": mamba2,
        "Mamba-3 SISO": siso,
        "Mamba-3 MIMO": replace(siso, is_mimo=True, mimo_rank=s.rank),
    }


def of_model(model: Model) -> Kept:
    """Return what a published model keeps."""
    return kept(model.name, model.layers)


def transformer_like(model: Model) -> Kept | None:
    """Return what a Transformer of as many parameters keeps; None for a hybrid.

    Its width is the model's, its heads have 64 channels, each with keys and values of
    its own. A layer with an MLP stands for two of Mamba-1 or Mamba-2, which have none
    (arXiv 2312.00752, section 3.4), and for one of Mamba-3, which has one.
    """
    if len(model.layers) > 1:
        return None
    count, layer = next(iter(model.layers))
    width = layer.mixer.d_model
    depth = count if layer.mlp else count // 2
    attention = LayerConfig(AttentionConfig(width, width // HEADDIM))
    return kept(f"Transformer like {model.name}", [(depth, attention)])
