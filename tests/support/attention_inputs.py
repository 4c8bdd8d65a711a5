"""Random valid calls of the ops of `ssmref.golden.attention`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ssmref.golden.attention import AttentionState


def cache(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    cached: int = 4,
    kv_heads: int = 3,
    headdim: int = 8,
    valuedim: int = 5,
) -> AttentionState:
    """Return the cache of some earlier tokens."""
    k = rng.standard_normal((batch, cached, kv_heads, headdim))
    return AttentionState(k, rng.standard_normal((batch, cached, kv_heads, valuedim)))


def attention_inputs(
    rng: np.random.Generator,
    *,
    batch: int = 2,
    length: int = 7,
    heads: int = 6,
    kv_heads: int = 3,
    headdim: int = 8,
    valuedim: int = 5,
) -> dict[str, Any]:
    """Return q, k, v with scores that are neither flat nor one-hot."""
    return {
        "q": 1.5 * rng.standard_normal((batch, length, heads, headdim)),
        "k": rng.standard_normal((batch, length, kv_heads, headdim)),
        "v": rng.standard_normal((batch, length, kv_heads, valuedim)),
    }


def attention_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return one call with every optional argument."""
    return {
        **attention_inputs(rng),
        "scale": 0.3,
        "rotary_dim": 6,
        "rotary_base": 500.0,
        "interleaved": True,
        "initial_state": cache(rng),
    }


def attention_step_example(rng: np.random.Generator) -> dict[str, Any]:
    """Return one step with every optional argument."""
    whole = attention_example(rng)
    tokens = {name: whole.pop(name)[:, 0] for name in "qkv"}
    return {**tokens, "state": whole.pop("initial_state"), **whole}


EXAMPLES: dict[str, Callable[[np.random.Generator], dict]] = {
    "attention.attention": attention_example,
    "attention.attention_step": attention_step_example,
}
