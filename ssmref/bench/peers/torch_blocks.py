# Where PyTorch is not installed, its name means torch.py of this folder to a checker.
# pyright: reportAttributeAccessIssue=false
"""PyTorch: the Transformer block of `ssmref.models`, by the library's fused attention.

Caches of keys and values have room for the next token, so that decoding copies none of
them: that is how it is done, and faster than what `ssmref.cpu` has to return.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

from ...conformance.arrays import converter, to_numpy
from ..contender import Contender, Outputs

_tensor = converter("torch")


class _Layer:
    """One layer: its parameters as tensors, and the sizes that it needs."""

    def __init__(self, layer: Any, parameters: Mapping[str, np.ndarray]):
        self.p = {name: _tensor(array) for name, array in parameters.items()}
        self.mixer, self.eps = layer.mixer, layer.norm_eps
        self.mlp = layer.mlp

    def __call__(
        self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor], cache: Any
    ) -> tuple[torch.Tensor, Any]:
        """Add attention and, if there is one, the MLP to x (batch, length, width)."""
        p, h = self.p, self._norm(x, "norm")
        mixed, cache = self._attend(h, turn, cache)
        x = x + mixed
        if self.mlp is None:
            return x, cache
        both = linear(self._norm(x, "norm2"), p["mlp.fc1.weight"])
        value, gate = both.split(self.mlp.hidden, dim=-1)
        return x + linear(value * silu(gate), p["mlp.fc2.weight"]), cache

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return rms_norm(x, x.shape[-1:], self.p[f"{name}.weight"], eps=self.eps)

    def _attend(self, h: torch.Tensor, turn: Any, cache: Any) -> tuple[Any, Any]:
        c, p = self.mixer, self.p
        heads = (c.num_heads, c.kv_heads, c.kv_heads)
        parts = linear(h, p["mixer.in_proj.weight"]).split(c.widths, dim=-1)
        q, k, v = (
            part.unflatten(-1, (n, c.headdim)).transpose(1, 2)
            for part, n in zip(parts, heads, strict=True)
        )
        q, k = rotated(q, *turn), rotated(k, *turn)
        if cache is not None:
            for kept, new in zip(cache, (k, v), strict=True):
                kept[:, :, -1:] = new
            k, v = cache
        shared = c.num_heads != c.kv_heads
        y = scaled_dot_product_attention(
            q, k, v, is_causal=cache is None, enable_gqa=shared
        )
        y = y.transpose(1, 2).flatten(2)
        return linear(y, p["mixer.out_proj.weight"]), (k, v)


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the two halves of the first coordinates, (batch, heads, length, dim)."""
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)


def turns(mixer: Any, positions: torch.Tensor, like: torch.Tensor) -> Any:
    """Return cosines and sines, (positions, rotary / 2), angles in float64."""
    dim = mixer.rotary_emb_dim
    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / max(dim, 1)
    theta = positions[:, None] * mixer.rotary_emb_base**-exponents
    return theta.cos().to(like.dtype), theta.sin().to(like.dtype)


def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return the layers over all tokens."""
    x = _tensor(arguments["x"])
    own = _layers(arguments)
    turn = turns(own[0].mixer, torch.arange(x.shape[1]), x)

    @torch.inference_mode()
    def call() -> tuple[torch.Tensor, list[Any]]:
        y, caches = x, []
        for layer in own:
            y, cache = layer(y, turn, None)
            caches.append(cache)
        return y, caches

    return call


def prepare_step(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return the layers over one token behind the caches."""
    x = _tensor(arguments["x"])[:, None]
    own, caches = _layers(arguments), arguments["caches"]
    rooms = [tuple(_room(part) for part in cache.kv) for cache in caches]
    context = rooms[0][0].shape[2] - 1
    turn = turns(own[0].mixer, torch.tensor([context]), x)

    @torch.inference_mode()
    def call() -> tuple[torch.Tensor, list[Any]]:
        y = x
        for layer, room in zip(own, rooms, strict=True):
            y, _ = layer(y, turn, room)
        return y[:, 0], rooms

    return call


def _layers(arguments: Mapping[str, Any]) -> list[_Layer]:
    pairs = zip(arguments["layers"], arguments["parameters"], strict=True)
    return [_Layer(layer, own) for layer, own in pairs]


def _room(cache: np.ndarray) -> torch.Tensor:
    """Return a cache with its heads first and room for one token more."""
    batch, context, heads, headdim = cache.shape
    kept = _tensor(cache).transpose(1, 2)
    room = kept.new_zeros(batch, heads, context + 1, headdim)
    room[:, :, :-1] = kept
    return room


def _outputs(result: tuple[torch.Tensor, list[Any]]) -> Outputs:
    y, caches = result
    named = {"y": to_numpy(y)}
    for number, pair in enumerate(caches):
        for name, part in zip("kv", pair, strict=True):
            own = part.transpose(1, 2).contiguous()
            named[f"{number}.kv.{name}"] = to_numpy(own)
    return named


def _workspace(*, batch: int, length: int, width: int, **_: int) -> float:
    """Predict the numbers that the MLP holds, which is the most."""
    return 20 * batch * length * width


def _room_workspace(*, batch: int, context: int, width: int, **_: int) -> float:
    return 2 * batch * context * width


CONTENDERS = (
    Contender(
        *("peer:torch:sdpa", "block.transformer", prepare, _outputs, _workspace),
        note="keys and values stay where the projection wrote them",
    ),
    Contender(
        "peer:torch:sdpa",
        "block.transformer_step",
        *(prepare_step, _outputs, _room_workspace),
        note="caches have room for the next token",
    ),
)
