"""Language models of transformers with random weights, and the same models in golden.

What `ssmref.models` does not have is put together here from golden functions: the norms
of FalconMamba and Jamba on dt, B and C, and the names of Jamba and Bamba.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from peers.requirement import keep_apart_from, require

from ssmref.golden import layers, mamba1
from ssmref.models import blocks
from ssmref.models.attention import AttentionCache

keep_apart_from("mamba_ssm")
torch = require("torch", "peers")
transformers = require("transformers", "peers")
torch.set_num_threads(1)  # the tensors are tiny

VOCABULARY, WIDTH = 64, 32
MLP = blocks.MLPConfig(WIDTH, d_intermediate=48, multiple_of=1)
ATTENTION = blocks.AttentionConfig(
    WIDTH, num_heads=4, num_heads_kv=2, qkv_proj_bias=False, out_proj_bias=False
)
MAMBA1 = blocks.Mamba1Config(WIDTH, d_state=8, dt_rank=3)
MAMBA2 = blocks.Mamba2Config(WIDTH, d_state=8, headdim=16)

Parameters = dict[str, np.ndarray]
# A mixer: (parameters, x, cache) to (y, cache).
Mixer = Callable[[Parameters, np.ndarray, Any], tuple[np.ndarray, Any]]


@dataclass(frozen=True)
class Model:
    """A language model: its configuration there, its mixers here."""

    name: str
    options: dict[str, Any]
    mixers: tuple[Mixer, ...]
    eps: float = 1e-5
    gated_mlp: bool = False

    def random(self) -> Any:
        """Return theirs with every parameter drawn anew."""
        config = getattr(transformers, f"{self.name}Config")
        common = {"hidden_size": WIDTH, "vocab_size": VOCABULARY}
        common["num_hidden_layers"] = len(self.mixers)
        _ = torch.manual_seed(0)
        model = getattr(transformers, f"{self.name}ForCausalLM")(
            config(**common, **self.options)
        ).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                _ = parameter.copy_(0.3 * torch.randn_like(parameter))
        return model

    def but(self, change: Callable[[Mixer], Mixer]) -> "Model":
        """Return the model with other mixers in golden."""
        return replace(self, mixers=tuple(map(change, self.mixers)))


class Theirs:
    """Their model, and the cache of the tokens that it has seen."""

    def __init__(self, model: Any):
        self.model, self.cache = model, None
        accepted = inspect.signature(model.forward).parameters
        names = ("cache_params", "past_key_values")
        self.keyword = next(name for name in names if name in accepted)

    def __call__(self, ids: np.ndarray, **options: Any) -> np.ndarray:
        options |= {self.keyword: self.cache, "use_cache": True}
        with torch.no_grad():
            outputs = self.model(torch.tensor(ids), **options)
        self.cache = outputs[self.keyword]
        return outputs.logits.numpy()

    def states(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what the cache holds for a mixer; its oldest input is never used."""
        assert self.cache is not None
        conv = self.cache.get_conv_state(layer)[:, :, 1:].mT
        return conv.numpy(), self.cache.get_recurrent_state(layer).numpy()


def mamba1_mixer(p: Parameters, x: np.ndarray, cache: Any) -> tuple:
    return blocks.mamba1_block(p, x, MAMBA1, cache=cache)


def normed_mixer(p: Parameters, x: np.ndarray, cache: Any) -> tuple:
    """Mamba-1 with RMS norms of dt, B and C before dt_proj, weightless in Falcon."""
    conv, ssm = cache or (None, None)
    u, z = np.split(x @ p["in_proj.weight"].T, 2, axis=-1)
    u, conv = layers.causal_conv1d(
        u,
        p["conv1d.weight"][:, 0],
        bias=p["conv1d.bias"],
        activation="silu",
        initial_state=conv,
    )
    ends = [MAMBA1.rank, MAMBA1.rank + MAMBA1.d_state]
    parts = np.split(u @ p["x_proj.weight"].T, ends, axis=-1)
    dt, B, C = (
        layers.rms_norm(part, p.get(f"{name}_layernorm.weight"), eps=1e-6)
        for name, part in zip(("dt", "b", "c"), parts, strict=True)
    )
    y, ssm = mamba1.selective_scan(
        u,
        dt @ p["dt_proj.weight"].T,
        -np.exp(p["A_log"]),
        B,
        C,
        D=p["D"],
        z=z,
        dt_bias=p["dt_proj.bias"],
        dt_softplus=True,
        initial_state=ssm,
    )
    return y @ p["out_proj.weight"].T, blocks.Mamba1Cache(conv, ssm)


def mamba2_mixer(**options: Any) -> Mixer:
    config = replace(MAMBA2, **options)

    def mixer(p: Parameters, x: np.ndarray, cache: Any) -> tuple:
        return blocks.mamba2_block(p, x, config, cache=cache)

    return mixer


def attention_mixer(rotary: int) -> Mixer:
    config = replace(ATTENTION, rotary_emb_dim=rotary)

    def mixer(p: Parameters, x: np.ndarray, cache: AttentionCache | None) -> tuple:
        joined = np.concatenate([p[f"{name}_proj.weight"] for name in "qkv"])
        own = {"in_proj.weight": joined, "out_proj.weight": p["o_proj.weight"]}
        return blocks.attention_block(own, x, config, cache=cache)

    return mixer


def logits(model: Model, parameters: Parameters, ids: np.ndarray, caches: Any = None):
    """Return golden's logits and caches, after the tokens of `caches`."""
    hybrid = "model.embed_tokens.weight" in parameters
    embedding, final = (
        ("model.embed_tokens", "model.final_layernorm")
        if hybrid
        else ("backbone.embeddings", "backbone.norm_f")
    )
    x, after = parameters[f"{embedding}.weight"][ids], []
    for i, mixer in enumerate(model.mixers):
        p = under(parameters, f"{'model' if hybrid else 'backbone'}.layers.{i}")
        x, cache = _layer(model, p, x, mixer, caches[i] if caches else None)
        after.append(cache)
    x = layers.rms_norm(x, parameters[f"{final}.weight"], eps=model.eps)
    return x @ parameters["lm_head.weight"].T, after


def _layer(model: Model, p: Parameters, x: np.ndarray, mixer: Mixer, cache: Any):
    norm = p["norm.weight" if "norm.weight" in p else "input_layernorm.weight"]
    own = next(filter(None, (under(p, n) for n in ("mixer", "mamba", "self_attn"))))
    h, cache = mixer(own, layers.rms_norm(x, norm, eps=model.eps), cache)
    x = x + h
    if model.gated_mlp:
        h = layers.rms_norm(x, p["pre_ff_layernorm.weight"], eps=model.eps)
        up, gate, down = (
            p[f"feed_forward.{name}_proj.weight"] for name in ("up", "gate", "down")
        )
        fc = {"fc1.weight": np.concatenate([up, gate]), "fc2.weight": down}
        x = x + blocks.gated_mlp(fc, h, MLP)
    return x, cache


def first_mixer(model: Any) -> tuple[str, Any]:
    """Return the name and the module of the first layer's mixer."""
    named = dict(model.named_modules())
    names = ("backbone.layers.0.mixer", "model.layers.0.mamba")
    return next((name, named[name]) for name in names if name in named)


def under(parameters: Parameters, prefix: str) -> Parameters:
    start = f"{prefix}."
    return {
        name.removeprefix(start): array
        for name, array in parameters.items()
        if name.startswith(start)
    }


def parameters_of(model: Any) -> Parameters:
    """Return the parameters in double precision."""
    state = model.state_dict()
    return {name: array.numpy().astype(np.float64) for name, array in state.items()}


SMALL_MAMBA1 = {"state_size": 8, "time_step_rank": 3}
SMALL_MAMBA2 = {"state_size": 8, "num_heads": 4, "head_dim": 16, "chunk_size": 8}
HYBRID = {
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
JAMBA = {
    "mamba_d_state": 8,
    "mamba_dt_rank": 3,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "num_experts": 1,
    "num_experts_per_tok": 1,
}
BAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 2,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
    "attn_layer_indices": [1],
}
MODELS = {
    "mamba": Model("Mamba", SMALL_MAMBA1, (mamba1_mixer,) * 2),
    "mamba2": Model("Mamba2", SMALL_MAMBA2 | {"n_groups": 1}, (mamba2_mixer(),) * 2),
    "mamba2 of two groups": Model(
        "Mamba2", SMALL_MAMBA2 | {"n_groups": 2}, (mamba2_mixer(ngroups=2),) * 2
    ),
    "falcon_mamba": Model("FalconMamba", SMALL_MAMBA1, (normed_mixer,) * 2),
    "jamba": Model(
        "Jamba",
        HYBRID | JAMBA,
        (normed_mixer, attention_mixer(0)),
        eps=1e-6,
        gated_mlp=True,
    ),
    "bamba": Model(
        "Bamba",
        HYBRID | BAMBA,
        (mamba2_mixer(ngroups=2), attention_mixer(4)),
        gated_mlp=True,
    ),
}
