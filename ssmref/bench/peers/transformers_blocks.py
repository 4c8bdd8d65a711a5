# Where PyTorch is not installed, its name means torch.py of this folder to a checker.
# pyright: reportAttributeAccessIssue=false
"""Hugging Face transformers: its Mamba and Mamba-2 mixers, in layers without an MLP.

These are the modules as they run on a CPU, in PyTorch, with the cache that generation
fills; norm and residual around them are PyTorch's. They compute states in float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import rms_norm
from transformers import DynamicCache, MambaConfig
from transformers import Mamba2Config as TheirMamba2Config
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from ...conformance.arrays import converter, to_numpy
from ..contender import Contender, Outputs, UnavailableError

_tensor = converter("torch")


class _Stack:
    """Layers with their parameters, and the configuration that the cache needs."""

    def __init__(self, arguments: Mapping[str, Any]):
        layers, parameters = arguments["layers"], arguments["parameters"]
        if arguments["x"].dtype != np.float32:
            raise UnavailableError("it computes states in float32 only")
        if any(layer.mlp for layer in layers):
            raise UnavailableError("its layers have no MLP")
        self.config = _config(layers[0].mixer, len(layers))
        kind = MambaMixer if isinstance(self.config, MambaConfig) else Mamba2Mixer
        self.mixers, self.norms = [], []
        self.eps = layers[0].norm_eps
        for number, own in enumerate(parameters):
            tensors = {name: _tensor(array) for name, array in own.items()}
            self.norms.append(tensors.pop("norm.weight"))
            mixer = kind(self.config, number)
            mixer.load_state_dict(
                {name.removeprefix("mixer."): t for name, t in tensors.items()}
            )
            self.mixers.append(mixer.eval())

    def __call__(self, x: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """Return the outputs (batch, length, width); the cache is brought forward."""
        for mixer, weight in zip(self.mixers, self.norms, strict=True):
            h = rms_norm(x, x.shape[-1:], weight, eps=self.eps)
            x = x + mixer(h, cache_params=cache)
        return x


def _config(mixer: Any, layers: int) -> Any:
    shared = {
        "hidden_size": mixer.d_model,
        "state_size": mixer.d_state,
        "num_hidden_layers": layers,
        "conv_kernel": mixer.d_conv,
        "expand": mixer.expand,
    }
    if not hasattr(mixer, "nheads"):
        return MambaConfig(**shared, time_step_rank=mixer.rank)
    if not mixer.rmsnorm:
        raise UnavailableError("its Mamba-2 has a norm at its end")
    own = {"num_heads": mixer.nheads, "head_dim": mixer.headdim}
    return TheirMamba2Config(**shared, **own, n_groups=mixer.ngroups)


def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return the layers over all tokens, from an empty cache."""
    stack, x = _Stack(arguments), _tensor(arguments["x"])

    @torch.inference_mode()
    def call() -> tuple[torch.Tensor, DynamicCache]:
        cache = DynamicCache(config=stack.config)
        return stack(x, cache), cache

    return call


def prepare_step(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return the layers over one token; the cache moves on with every call."""
    stack, x = _Stack(arguments), _tensor(arguments["x"])[:, None]
    with torch.inference_mode():
        cache = _cache(stack.config, arguments["caches"])

    @torch.inference_mode()
    def call() -> tuple[torch.Tensor, DynamicCache]:
        return stack(x, cache)[:, 0], cache

    return call


def _cache(config: Any, caches: list[Any]) -> DynamicCache:
    """Return a cache that has these contents; its window has a column more, unused."""
    cache = DynamicCache(config=config)
    for number, own in enumerate(caches):
        window = _tensor(own.conv).transpose(1, 2)
        width = window.shape[2] + 1
        cache.update_conv_state(window, number, conv_kernel_size=width)
        cache.update_recurrent_state(_tensor(own.ssm), number)
    return cache


def _outputs(result: tuple[torch.Tensor, DynamicCache]) -> Outputs:
    y, cache = result
    named = {"y": to_numpy(y)}
    for number, layer in enumerate(cache.layers):
        window = layer.conv_states[0][:, :, 1:].transpose(1, 2)
        named[f"{number}.conv"] = to_numpy(window.contiguous())
        # Decoding writes over it.
        named[f"{number}.ssm"] = to_numpy(layer.recurrent_states[0].clone())
    return named


def _scan_workspace(*, batch: int, length: int, width: int, **_: int) -> float:
    """Predict decays, drives and states of all tokens: 16 per channel, as measured."""
    return 130 * batch * length * width


def _chunk_workspace(*, batch: int, length: int, width: int, **_: int) -> float:
    """Predict what products in chunks of 256 write out, as measured."""
    return 90 * batch * length * width


CONTENDERS = (
    Contender(
        *("peer:transformers", "block.mamba1", prepare, _outputs, _scan_workspace),
        note="MambaMixer in PyTorch",
    ),
    Contender(
        *("peer:transformers", "block.mamba2", prepare, _outputs, _chunk_workspace),
        note="Mamba2Mixer in PyTorch, chunks of 256",
    ),
    Contender(
        *("peer:transformers", "block.mamba1_step", prepare_step, _outputs),
        note="MambaMixer in PyTorch; the state is updated in place",
    ),
    Contender(
        *("peer:transformers", "block.mamba2_step", prepare_step, _outputs),
        note="Mamba2Mixer in PyTorch; the state is updated in place",
    ),
)
