"""Whether the last tokens and the final state of a long sequence are right.

Golden goes through many tokens before the last ones in its chunked form, in float64,
for a few channels or heads, and from there through the last ones as the recurrence; the
contender's results for these have to agree. What a state lost or gained on its way, at
a chunk or a stretch, shows as far as it is remembered.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..conformance.cases.case import Case
from ..conformance.precision import rounded
from ..conformance.truth import truth
from ..conformance.vectors.parts import input_axes, states
from ..ops import OPS, Op, implementation
from .verification import Sample, cut_input
from .workloads import Workload

# Tokens at the end that golden goes through one by one; attention looks back from each.
TAIL, _TAIL_ATTENTION = 64, 8
# Steps are 0.02 on average and rates at least 1: of what was before so many tokens
# exp(-80) is left, which no float64 sees.
HORIZON = 4096
_STATE, _ATTENTION, _CHUNKED = "initial_state", "attention.attention", "chunked"


def ending(
    workload: Workload, arguments: Mapping[str, Any], dtype: np.dtype
) -> Sample | None:
    """Return what the last tokens have to be; None where the sample has them all."""
    op, cut = OPS[workload.op], dict(workload.sample)
    length = workload.sizes.get("length", 0)
    if length <= cut.pop("length", length):
        return None
    attends = op.name == _ATTENTION
    if not attends and _CHUNKED not in op.forms:
        return None
    last = min(_TAIL_ATTENTION if attends else TAIL, length - 1)
    own = {name: cut_input(op.name, name, a, cut) for name, a in arguments.items()}
    before = tokens_of(op, own, 0, length - last)
    state = _cache(op, before) if attends else _after(op, before)
    tail = {**tokens_of(op, own, length - last, None), _STATE: state}
    case = Case(op.name, "bench", "ending", "", lambda _: tail, "bench")
    return Sample(workload, case, truth.__wrapped__(case, dtype), last)


def _cache(op: Op, before: dict[str, Any]) -> Any:
    return states(op)[_STATE](before["k"], before["v"])


def _after(op: Op, arguments: dict[str, Any]) -> Any:
    """Return the state behind these tokens, in float64."""
    run = implementation(
        replace(op, function=f"{op.function}_{_CHUNKED}"), "ssmref.golden"
    )
    wide = rounded(arguments, np.dtype(np.float64))
    length = wide["dt"].shape[1]
    start = max(length - HORIZON, 0)
    state = (
        _turned(op, tokens_of(op, wide, 0, start)) if op.module == "mamba3" else None
    )
    return run(**tokens_of(op, wide, start, None), initial_state=state)[1]


def _turned(op: Op, a: dict[str, Any]) -> Any:
    """Return a state that remembers nothing but its angle, which is never forgotten."""
    batch, _, heads, headdim = a["x"].shape
    ranks = a["B"].shape[2] if a["B"].ndim == 5 else 1
    size = a["B"].shape[-1]
    turns = np.pi * np.tanh(a["angles"]) * a["dt"][..., None]
    return states(op)[_STATE](
        angle=np.sum(turns, axis=1) % (2 * np.pi),
        ssm=np.zeros((batch, heads, headdim, size)),
        k=np.zeros((batch, ranks, heads, size)),
        v=np.zeros((batch, heads, headdim)),
    )


def tokens_of(
    op: Op, arguments: Mapping[str, Any], start: int, stop: int | None
) -> dict[str, Any]:
    """Return the arguments with these tokens only."""
    now = slice(start, stop)
    return {name: _tokens(op, name, a, now) for name, a in arguments.items()}


def _tokens(op: Op, name: str, value: Any, now: slice) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    words = input_axes(op, name, value.ndim)
    axis = words.index("length") if "length" in words else None
    return value if axis is None else value[(slice(None),) * axis + (now,)]
