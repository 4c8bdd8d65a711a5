"""The arguments of a case by the names of their files and of their options."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args, get_type_hints

import numpy as np

from ...ops import Op, implementation
from ..outputs import axes
from ..precision import wide


def arrays(arguments: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays; a part of a state is ``initial_state.ssm``."""
    return dict(_arrays(arguments))


def _arrays(arguments: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):
            yield name, value
        elif fields := getattr(value, "_fields", ()):
            for field, part in zip(fields, value, strict=True):
                yield f"{name}.{field}", part


def options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scalar options that are given."""
    flat = {name.partition(".")[0] for name in arrays(arguments)}
    return {n: v for n, v in arguments.items() if n not in flat and v is not None}


@cache
def annotations(op: Op) -> dict[str, tuple[Any, ...]]:
    """Return what each argument may be, from the annotation of the golden op.

    Parts of states are named as their files are.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for name, hint in get_type_hints(implementation(op, "ssmref.golden")).items():
        kinds = get_args(hint) if not hasattr(hint, "dim_str") else (hint,)
        kinds = kinds or (hint,)
        state = next((k for k in kinds if hasattr(k, "_fields")), None)
        if name != "return" and state is None:
            found[name] = kinds
        elif name != "return":
            parts = get_type_hints(state)
            found |= {f"{name}.{field}": (hint,) for field, hint in parts.items()}
    return found


@cache
def states(op: Op) -> dict[str, type]:
    """Return the named tuples that arguments of this op are."""
    hints = get_type_hints(implementation(op, "ssmref.golden"))
    del hints["return"]
    kinds = {name: get_args(hint) or (hint,) for name, hint in hints.items()}
    return {
        name: kind
        for name, several in kinds.items()
        for kind in several
        if hasattr(kind, "_fields")
    }


def input_axes(op: Op, name: str, rank: int) -> list[str]:
    """Return one word per axis of an input."""
    for kind in annotations(op)[name]:
        words = getattr(kind, "dim_str", "-").split()
        if len(words) == rank or any(w.startswith("*") for w in words):
            return _spelled(words, rank)
    raise ValueError(f"{op.name} has no {name} of {rank} axes")


def output_axes(op: Op, name: str, rank: int) -> list[str]:
    """Return one word per axis of an output."""
    return _spelled(list(axes(op)[name]), rank)


def _spelled(words: list[str], rank: int) -> list[str]:
    """Replace an axis that stands for several: ``*batch`` is batch, batch_2, ..."""
    more = rank - len(words) + 1
    spelled = []
    for word in words:
        name = word.removeprefix("*")
        extra = [name, *(f"{name}_{i}" for i in range(2, more + 1))]
        spelled += extra[:more] if word.startswith("*") else [name]
    return spelled


def returned_dtype(name: str, golden: np.ndarray, dtype: np.dtype) -> np.dtype:
    """Return the dtype that a candidate has to return for an output."""
    needed = dtype if name == "y" else wide(dtype)
    complex_ = golden.dtype.kind == "c"
    return np.result_type(needed, np.complex64) if complex_ else needed
