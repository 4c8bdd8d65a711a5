"""Cases of causal softmax attention and its step."""

from typing import Any

import numpy as np

from ...golden.attention import AttentionState
from ..random import Draw
from .case import Case, bounds, family


def _arguments(
    draw: Draw,
    *,
    batch: int = 1,
    length: int | None = None,
    heads: int = 3,
    kv_heads: int = 1,
    headdim: int = 4,
    valuedim: int = 4,
    cached: int = 0,
    sharpness: float = 1.0,
    values: float = 1.0,
    scale: float | None = None,
    rotary_dim: int = 0,
    rotary_base: float | None = None,
    interleaved: bool = False,
) -> dict[str, Any]:
    """Draw the inputs that attention and its step share; a step has no length."""
    lead = (batch,) if length is None else (batch, length)
    arguments: dict[str, Any] = {
        "q": sharpness * draw.normal("q", *lead, heads, headdim),
        "k": draw.normal("k", *lead, kv_heads, headdim),
        "v": values * draw.normal("v", *lead, kv_heads, valuedim),
    }
    if cached or length is None:
        arguments["initial_state" if length is not None else "state"] = AttentionState(
            k=draw.normal("state.k", batch, cached, kv_heads, headdim),
            v=values * draw.normal("state.v", batch, cached, kv_heads, valuedim),
        )
    if scale is not None:
        arguments["scale"] = scale
    if rotary_dim:
        arguments["rotary_dim"] = rotary_dim
    if rotary_base is not None:
        arguments["rotary_base"] = rotary_base
    if interleaved:
        arguments["interleaved"] = True
    return arguments


def scan(
    draw: Draw, *, lengths: tuple[int, ...] = (), rising: bool = False, **sizes: Any
) -> dict[str, Any]:
    """Draw a sequence or a pack; keys that grow along it where `rising`."""
    arguments = _arguments(draw, **sizes)
    if rising:
        growth = np.linspace(0, 1, arguments["k"].shape[1])[:, None, None]
        arguments["k"] = arguments["k"] * (1 + 20 * growth)
    if lengths:
        arguments["cu_seqlens"] = bounds(*lengths)
    return arguments


step = _arguments

# What attention and its step have in common; a step has more in its cache.
SHARED: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything",
        {"length": 1, "heads": 1, "headdim": 1, "valuedim": 1},
    ),
    "plain": (
        "sizes that differ on every axis",
        {"batch": 2, "length": 17, "heads": 3, "headdim": 5, "valuedim": 7},
    ),
    "groups_inner": (
        "1 < key heads < query heads: tiling is not repeating",
        {"batch": 2, "length": 15, "heads": 6, "kv_heads": 2},
    ),
    "kv_head_per_head": (
        "as many key heads as query heads",
        {"length": 16, "heads": 5, "kv_heads": 5},
    ),
    "narrow_values": (
        "values narrower than keys; the scale is that of the keys",
        {"length": 13, "headdim": 8, "valuedim": 3},
    ),
    "scale": ("a scale that is not 1/sqrt(headdim)", {"length": 12, "scale": 0.11}),
    "uniform_scores": (
        "queries of 0: the plain mean of the values so far",
        {"length": 20, "sharpness": 0.0},
    ),
    "sharp": (
        "scores in the hundreds: exp overflows unless the largest is subtracted",
        {"batch": 2, "length": 24, "sharpness": 200.0},
    ),
    "rotary": (
        "all coordinates rotated, in halves",
        {"batch": 2, "length": 33, "headdim": 6, "rotary_dim": 6},
    ),
    "rotary_partial": (
        "pairs lie inside the rotary part, the rest passes",
        {"length": 33, "headdim": 8, "rotary_dim": 4},
    ),
    "rotary_interleaved": (
        "neighbouring coordinates are paired",
        {"length": 33, "headdim": 6, "rotary_dim": 6, "interleaved": True},
    ),
    "rotary_base": (
        "a base that is not 10000",
        {"length": 21, "headdim": 6, "rotary_dim": 6, "rotary_base": 500.0},
    ),
    "large_values": ("magnitudes of 1e10", {"length": 15, "values": 1e10}),
}


def _of_one_token(rows: dict[str, tuple[str, dict]]) -> dict[str, tuple[str, dict]]:
    """Return the rows for a step: one token behind a cache of their length."""
    return {
        name: (
            reason,
            {"batch": 2}
            | {k: v for k, v in sizes.items() if k != "length"}
            | {"cached": sizes["length"]},
        )
        for name, (reason, sizes) in rows.items()
    }


EVERYTHING = {
    "batch": 2,
    "heads": 6,
    "kv_heads": 3,
    "headdim": 8,
    "valuedim": 5,
    "cached": 11,
    "scale": 0.3,
    "rotary_dim": 6,
    "rotary_base": 300.0,
    "interleaved": True,
}

CASES: tuple[Case, ...] = (
    *family(
        "attention.attention",
        scan,
        **SHARED,
        empty=("no token: the cache passes through", {"length": 0, "cached": 3}),
        cached=(
            "the tokens of the cache are seen by all, the mask starts behind them",
            {"batch": 2, "length": 9, "cached": 14},
        ),
        cached_one=("one token behind a cache", {"batch": 3, "length": 1, "cached": 5}),
        cached_rotary=(
            "positions go on behind the cache, whose keys are rotated already",
            {
                "batch": 2,
                "length": 12,
                "cached": 37,
                "headdim": 6,
                "rotary_dim": 6,
            },
        ),
        block=("exactly four blocks of 16", {"length": 64, "heads": 2}),
        above_block=("one more than four blocks", {"length": 65, "heads": 2}),
        late_maximum=(
            "scores that grow: what has been summed must shrink with each new maximum",
            {"length": 70, "rising": True},
        ),
        packed=(
            "no token looks into another sequence; one-token and empty sequences",
            {"length": 50, "lengths": (9, 0, 1, 40)},
        ),
        packed_rotary=(
            "positions start at 0 in each sequence",
            {"length": 40, "lengths": (23, 17), "headdim": 6, "rotary_dim": 6},
        ),
        small_values=("magnitudes of 1e-10", {"length": 15, "values": 1e-10}),
        everything=("all options at once", {"length": 29, **EVERYTHING}),
    ),
    *family(
        "attention.attention_step",
        step,
        **_of_one_token(SHARED),
        empty_cache=("the first token: its own value", {"batch": 3, "cached": 0}),
        long_cache=("a cache of many blocks", {"batch": 2, "cached": 130}),
        everything=("all options at once", EVERYTHING),
    ),
)
