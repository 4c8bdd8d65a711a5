"""Whether the last tokens and the final state of a long sequence are right.

Golden goes through all tokens in its chunked form, in float64, for a few channels or
heads, and from there through the last ones as the recurrence; the contender's results
for these have to agree. What the state lost or gained at any token of the sequence,
at a chunk or a stretch, shows as far as it is remembered.
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

# Tokens at the end that golden goes through one by one; those of a stretch before them,
# after which golden lets go of what it has written out.
TAIL, _STRETCH = 64, 4096
_STATE = "initial_state"


def ending(
    workload: Workload, arguments: Mapping[str, Any], dtype: np.dtype
) -> Sample | None:
    """Return the last tokens and what they have to be, None where all are judged.

    Costs as much as a chunked form in NumPy on one head. Attention has its keys and
    values as the state: nothing has to be computed for its last tokens.
    """
    op, cut = OPS[workload.op], dict(workload.sample)
    if "length" not in cut or workload.sizes["length"] <= cut.pop("length") + TAIL:
        return None
    if op.name != _ATTENTION and _CHUNKED not in op.forms:
        return None
    own = {name: cut_input(op.name, name, a, cut) for name, a in arguments.items()}
    start = workload.sizes["length"] - TAIL
    tail = part(op, own, start, None)
    before = part(op, own, 0, start)
    tail[_STATE] = _cache(op, before) if op.name == _ATTENTION else _after(op, before)
    case = Case(op.name, "bench", "ending", "", lambda _: tail, "bench")
    return Sample(workload, case, truth.__wrapped__(case, dtype), TAIL)


_ATTENTION, _CHUNKED = "attention.attention", "chunked"


def _cache(op: Op, before: dict[str, Any]) -> Any:
    return states(op)[_STATE](before["k"], before["v"])


def _after(op: Op, arguments: dict[str, Any]) -> Any:
    """Return the state behind these tokens, in float64."""
    run = implementation(replace(op, function=f"{op.function}_{_CHUNKED}"), "ssmref.golden")
    wide, state = rounded(arguments, np.dtype(np.float64)), None
    length = wide[_first(op)].shape[1]
    for start in range(0, length, _STRETCH):
        stretch = part(op, wide, start, start + _STRETCH)
        state = run(**stretch, initial_state=state)[1]
    return state


def _first(op: Op) -> str:
    return "u" if op.name == "mamba1.selective_scan" else "x"


def part(
    op: Op, arguments: Mapping[str, Any], start: int, stop: int | None
) -> dict[str, Any]:
    """Return the arguments with these tokens only."""
    return {name: _part(op, name, value, start, stop) for name, value in arguments.items()}


def _part(op: Op, name: str, value: Any, start: int, stop: int | None) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    words = input_axes(op, name, value.ndim)
    if "length" not in words:
        return value
    return value[(slice(None),) * words.index("length") + (slice(start, stop),)]
