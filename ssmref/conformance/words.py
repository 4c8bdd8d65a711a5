"""Where an element is, in words: batch, token, sequence, head, group."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..ops import Op
from .outputs import axes

_SINGULAR = {
    "batch": "batch",
    "length": "token",
    "heads": "head",
    "headdim": "dimension",
    "channels": "channel",
    "state": "state",
    "sequences": "sequence",
    "slots": "slot",
    "rows": "row",
    "ranks": "rank",
    "angles": "angle",
    "window": "buffer entry",
    "width-1": "buffer entry",
    "groups": "group",
    "chunks": "chunk",
    "chunk": "token of the chunk",
    "snapshots": "snapshot",
    "outputs": "output",
    "taps": "tap",
    "cached": "cached token",
    "kv_heads": "key head",
    "valuedim": "dimension",
}
# Axes that stand for any number of axes: what these are, where there are few.
_SEVERAL = {"*batch": ("batch", "length", "heads"), "*rest": ("length", "channels")}


def where(
    op: Op, output: str, index: tuple[int, ...], arguments: Mapping[str, Any]
) -> str:
    """Return the place of an element of an output, for a person."""
    return ", ".join(_places(op, output, index, arguments))


def _places(
    op: Op, output: str, index: tuple[int, ...], arguments: Mapping[str, Any]
) -> Iterator[str]:
    names = _names(axes(op)[output], len(index))
    groups = _groups(op, arguments)
    for i, name, number in zip(range(len(index)), names, index, strict=True):
        yield f"{_SINGULAR.get(name, name)} {number}"
        if name == "length" and arguments.get("cu_seqlens") is not None:
            yield _in_pack(arguments["cu_seqlens"], number)
        features = _features(op, arguments) if groups else 0
        if features and name in ("heads", "channels") and i:
            yield f"group {number * groups // features}"


def _names(words: tuple[str, ...], rank: int) -> list[str]:
    """Spell out an axis that stands for any number of axes (a step's y)."""
    names = []
    for word in words:
        count = rank - len(words) + 1 if word.startswith("*") else 1
        names += _spelled(word, count)
    return names


def _spelled(word: str, count: int) -> tuple[str, ...]:
    if word == "*rest":  # without time where there is one axis
        return _SEVERAL[word][2 - count :]
    return _SEVERAL.get(word, (word.lstrip("*"),) * count)[:count]


def _in_pack(cu_seqlens: np.ndarray, token: int) -> str:
    sequence = int(np.searchsorted(cu_seqlens, token, side="right")) - 1
    return f"token {token - int(cu_seqlens[sequence])} of sequence {sequence}"


def _groups(op: Op, arguments: Mapping[str, Any]) -> int:
    """Return the number of groups of B, 0 where the op or the case has none."""
    if op.module not in ("mamba1", "mamba2", "mamba3"):
        return 0
    first = next(iter(arguments.values()))
    grouped = first.ndim + (1 if op.module == "mamba1" else 0)
    B = arguments["B"]
    return B.shape[-2] if B.ndim >= grouped and B.shape[-2] > 1 else 0


def _features(op: Op, arguments: Mapping[str, Any]) -> int:
    first = next(iter(arguments.values()))
    return first.shape[-1] if op.module == "mamba1" else first.shape[-2]
