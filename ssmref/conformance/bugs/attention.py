"""Bugs of attention."""

import math
from typing import Any

import numpy as np

from ...golden.layers import rotary_attention
from .bug import Arguments, Bug, Function, around, before, changed, without
from .when import any_token, given

ATTENTION = "attention.attention"
BOTH = (ATTENTION, "attention.attention_step")


def _scale(arguments: Arguments) -> float:
    scale = arguments.get("scale")
    return 1 / math.sqrt(arguments["q"].shape[-1]) if scale is None else scale


def _tiled(arguments: Arguments) -> Arguments:
    heads, groups = arguments["q"].shape[-2], arguments["k"].shape[-2]
    order = np.argsort(np.arange(heads) % groups, kind="stable")
    return arguments | {"q": arguments["q"][..., order, :]}


def _taken_cyclically(function: Function, arguments: Arguments) -> Any:
    """Order heads so that blocks of them are those that share keys cyclically."""
    heads, groups = arguments["q"].shape[-2], arguments["k"].shape[-2]
    order = np.argsort(np.arange(heads) % groups, kind="stable")
    y, state = function(**_tiled(arguments))
    back = np.empty_like(y)
    back[..., order, :] = y
    return back, state


def _inner(arguments: Arguments) -> bool:
    heads, groups = arguments["q"].shape[-2], arguments["k"].shape[-2]
    return any_token(arguments) and 1 < groups < heads


def rotating(arguments: Arguments) -> bool:
    """Return whether queries and keys are rotated by positions."""
    return any_token(arguments) and arguments.get("rotary_dim", 0) > 0


def _sees_future(function: Function, arguments: Arguments) -> Any:
    """Let every token of a plain sequence look at all."""
    y, state = function(**arguments)
    if not _plain(arguments):
        return y, state
    q, cached = arguments["q"], state.k.shape[1] - y.shape[1]
    q = rotary_attention(
        q,
        np.arange(cached, cached + y.shape[1]),
        dim=arguments.get("rotary_dim", 0),
        base=arguments.get("rotary_base", 10000.0),
        interleaved=arguments.get("interleaved", False),
    )
    shared = q.shape[2] // state.k.shape[2]
    keys, values = (np.repeat(part, shared, axis=2) for part in state)
    scores = np.einsum("bthp,bshp->bhts", q * q.dtype.type(_scale(arguments)), keys)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return np.einsum("bhts,bshp->bthp", weights, values), state


def _plain(arguments: Arguments) -> bool:
    bounds, q = arguments.get("cu_seqlens"), arguments["q"]
    return bounds is None and q.size > 0 and q.shape[1] > 1


ATTENTION_BUGS = (
    Bug(
        "attention-scale-missing",
        BOTH,
        "Scores are not scaled.",
        "Divide scores by the root of headdim.",
        "a scale other than 1 and more than one token to see",
        lambda a: any_token(a) and _scale(a) != 1,
        before(lambda a: a | {"scale": 1.0}),
    ),
    Bug(
        "attention-scale-twice",
        BOTH,
        "Scores are scaled twice, in the query and in the kernel.",
        "Scale once.",
        "a scale other than 1 and more than one token to see",
        lambda a: any_token(a) and _scale(a) != 1,
        before(lambda a: a | {"scale": _scale(a) ** 2}),
    ),
    Bug(
        "attention-kv-tiled",
        BOTH,
        "Query heads take key heads cyclically instead of in blocks.",
        "Query head h uses key head h // (heads / kv_heads).",
        "more than one key head and fewer than query heads",
        _inner,
        around(_taken_cyclically),
    ),
    Bug(
        "attention-not-causal",
        (ATTENTION,),
        "Tokens see later ones.",
        "Mask the future; modules may not be causal by default.",
        "more than one token",
        _plain,
        around(_sees_future),
    ),
    Bug(
        "attention-rotary-missing",
        BOTH,
        "Queries and keys are not rotated.",
        "Rotate the first rotary_dim coordinates by position.",
        "rotary_dim",
        rotating,
        without("rotary_dim"),
    ),
    Bug(
        "attention-rotary-pairing",
        BOTH,
        "The other coordinates are paired.",
        "Pair i with i + dim/2, or neighbours if interleaved.",
        "rotary_dim above 2",
        lambda a: rotating(a) and a["rotary_dim"] > 2,
        before(lambda a: a | {"interleaved": not a.get("interleaved", False)}),
    ),
    Bug(
        "attention-rotary-base",
        BOTH,
        "The rotary base is 10000 whatever was asked for.",
        "Use the base of the configuration.",
        "another base",
        lambda a: rotating(a) and given("rotary_base")(a),
        without("rotary_base"),
    ),
    Bug(
        "attention-values-first-head",
        BOTH,
        "All heads use the values of the first.",
        "Values have heads as keys have.",
        "more than one key head",
        lambda a: any_token(a) and a["k"].shape[-2] > 1,
        changed(v=lambda v: np.broadcast_to(v[..., :1, :], v.shape).copy()),
    ),
)
