"""What golden functions promise about their arguments, read from their annotations.

A shape is written once, in the annotation; `checked` turns it into errors that name
the argument, what it was and what is needed. The same annotation says which axis is
time (``length``) or a row (``batch``), and that is all that `separately` and
`in_slots` need to run packed sequences and cache slots.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import NoneType
from typing import Any, NamedTuple, ParamSpec, TypeVar, get_args, get_type_hints

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

# An axis that has one entry per batch row unless this argument is given; "rows" is for
# a state that an op and its step share: whichever of the two the function has.
ROW_AXES = {
    "sequences": ("cu_seqlens",),
    "slots": ("slots",),
    "rows": ("cu_seqlens", "slots"),
}


class Binding(NamedTuple):
    """The size of a named axis and the argument that fixed it."""

    size: Any
    source: str


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that do not fit the annotations of `function`.

    Raises TypeError for what is no array or has a wrong dtype, ValueError for a shape.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        check_arguments(function, bound.arguments)
        return function(*args, **kwargs)

    return wrapper


def check_arguments(function: Callable, arguments: Mapping[str, Any]) -> None:
    """Check dtypes, then shapes, of all array arguments of `function`."""
    arrays = list(_arrays(function, arguments))
    _check_dtypes(arrays)
    axes: dict[str, Binding] = {}
    for name, array, types in arrays:
        fitting = [kind for kind in types if _fits_rank(kind, array)]
        if not fitting:
            raise _shape_error(name, array, types, axes)
        _bind(name, array, fitting[0], axes, types)
        _tie_row_axes(axes, arguments)
    if arguments.get("cu_seqlens") is not None:
        _check_cu_seqlens(arguments["cu_seqlens"], axes)
    if arguments.get("slots") is not None:
        rows = axes["slots"] if "slots" in axes else axes["rows"]
        _check_slots(arguments["slots"], rows.size)


@functools.cache
def _hints(function: Callable) -> dict[str, Any]:
    return get_type_hints(inspect.unwrap(function))


def _arrays(
    function: Callable, arguments: Mapping[str, Any]
) -> Iterator[tuple[str, Any, list]]:
    """Yield (name, array, array types) for each array and each array of a state."""
    for name, value in arguments.items():
        options = _options(_hints(function).get(name))
        if value is None and NoneType in options:
            continue
        for kind in (o for o in options if hasattr(o, "_fields")):
            if not isinstance(value, kind):
                needed = f"{kind.__name__}({', '.join(kind._fields)})"
                raise TypeError(f"{name} is {_kind(value)}; it needs to be {needed}")
            fields = _hints(kind)
            for field in kind._fields:
                part = getattr(value, field)
                yield f"{name}.{field}", part, _array_types(fields[field])
        types = _array_types(_hints(function).get(name))
        if types:
            yield name, value, types


def _options(annotation: Any) -> tuple:
    return get_args(annotation) or (annotation,)


@functools.cache
def _array_types(annotation: Any) -> list[Any]:
    return [o for o in _options(annotation) if hasattr(o, "dim_str")]


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _check_dtypes(arrays: list) -> None:
    """One precision for all floating arrays: nothing is rounded or promoted unseen."""
    first = None
    for name, array, types in arrays:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name} is {_kind(array)}; it needs to be a NumPy array")
        allowed = {d for kind in types for d in kind.dtypes}
        if array.dtype.name not in allowed:
            known = ", ".join(sorted(allowed))
            raise TypeError(f"{name} has dtype {array.dtype}; it needs one of: {known}")
        precision = _precision(array.dtype)
        if precision is None:
            continue
        first = first or (name, precision)
        if precision != first[1]:
            raise TypeError(
                f"{name} has dtype {array.dtype}, but {first[0]} has precision "
                f"{first[1]}; all arrays need one precision"
            )


@functools.cache
def _precision(dtype: np.dtype) -> np.dtype | None:
    """Return the dtype of the real part of a number, or None for integers."""
    return np.finfo(dtype).dtype if np.issubdtype(dtype, np.inexact) else None


@functools.cache
def _axis_names(kind: Any) -> list[str]:
    return kind.dim_str.split()


def _variadic(names: list[str]) -> int | None:
    """Return the position of the one axis that stands for any number of axes."""
    return next((i for i, n in enumerate(names) if n.startswith("*")), None)


def _fits_rank(kind: Any, array: np.ndarray) -> bool:
    names = _axis_names(kind)
    if _variadic(names) is not None:
        return array.ndim >= len(names) - 1
    return array.ndim == len(names)


def _sizes(names: list[str], shape: tuple) -> tuple:
    """Return one size per name, a tuple of sizes for the variadic one."""
    start = _variadic(names)
    if start is None:
        return shape
    stop = start + 1 + len(shape) - len(names)
    return (*shape[:start], shape[start:stop], *shape[stop:])


def _bind(name, array, kind, axes, types) -> None:
    """Record the sizes of the axes of `array`, or raise where they contradict."""
    names = _axis_names(kind)
    for axis, size in zip(names, _sizes(names, array.shape), strict=True):
        expected = _size_of(axis, axes)
        if expected is None:
            axes[axis] = Binding(size, name)
        elif expected != size:
            raise _shape_error(name, array, types, axes)


def _size_of(axis: str, axes: dict[str, Binding]):
    """Return the size that `axis` must have, or None while it is free.

    An axis is a name, a number, or a name plus or minus a number (``width-1``).
    """
    if axis in axes:
        return axes[axis].size
    found = re.fullmatch(r"(\w*?)([-+]?\d+)", axis)
    if not found:
        return None
    base, offset = found[1], int(found[2])
    if not base:
        return offset
    return axes[base].size + offset if base in axes else None


def _shape_error(name, array, types, axes) -> ValueError:
    needed = " or ".join(f"({', '.join(_axis_names(kind))})" for kind in types)
    used = {
        n for kind in types for a in _axis_names(kind) for n in re.split(r"[^\w*]", a)
    }
    known = [f"{n} = {b.size} from {b.source}" for n, b in axes.items() if n in used]
    where = f" with {', '.join(known)}" if known else ""
    return ValueError(f"{name} has shape {array.shape}; it needs {needed}{where}")


def _tie_row_axes(axes: dict[str, Binding], arguments: Mapping[str, Any]) -> None:
    for axis, options in ROW_AXES.items():
        argument = next((o for o in options if o in arguments), None)
        if argument is None or axis in axes:
            continue
        given = arguments[argument]
        if given is None and "batch" in axes:
            axes[axis] = axes["batch"]
        elif given is not None and argument == "cu_seqlens":
            axes[axis] = Binding(np.size(given) - 1, argument)


def _check_cu_seqlens(cu_seqlens: np.ndarray, axes: dict[str, Binding]) -> None:
    bounds, length = cu_seqlens.tolist(), axes["length"].size
    if axes["batch"].size != 1:
        raise ValueError(
            f"cu_seqlens is given and batch is {axes['batch'].size}; "
            "packed sequences need batch 1"
        )
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != length:
        raise ValueError(
            f"cu_seqlens is {bounds}; it needs to start at 0 and end at the length "
            f"{length} of {axes['length'].source}"
        )
    if any(stop < start for start, stop in pairwise(bounds)):
        raise ValueError(f"cu_seqlens is {bounds}; it must not decrease")


def _check_slots(slots: np.ndarray, size: int) -> None:
    live = [s for s in slots.tolist() if s >= 0]
    if len(set(live)) != len(live):
        raise ValueError(f"slots is {slots.tolist()}; a slot may occur only once")
    if any(s >= size for s in live):
        raise ValueError(f"slots is {slots.tolist()}; the state has {size} slots")


def separately(function: Callable, arguments: Mapping[str, Any]) -> tuple:
    """Run `function` on each sequence of a pack by itself and join the results.

    `arguments` is ``locals()`` at the top of `function`. This is the definition of
    ``cu_seqlens``: sequences are independent, row i of ``initial_state`` starts
    sequence i, and row i of the final state ends it, also where it is empty.
    """
    bounds = pairwise(arguments["cu_seqlens"].tolist())
    results = []
    for row, (start, stop) in enumerate(bounds):
        one = {**arguments, "cu_seqlens": None}
        for name, array, types in _arrays(function, arguments):
            if (axis := _axis("length", array, types)) is not None:
                one[name] = np.take(array, range(start, stop), axis)
        if (state := arguments.get("initial_state")) is not None:
            one["initial_state"] = map_state(lambda s, i=row: s[i : i + 1], state)
        results.append(function(**one))
    outputs, states = zip(*results, strict=True)
    return np.concatenate(outputs, axis=1), map_state(_stack, *states)


def in_slots(function: Callable, arguments: Mapping[str, Any]) -> tuple:
    """Run one step on the cache rows that ``slots`` names; others stay untouched.

    Row i of the batch uses row ``slots[i]`` of the state; where that is negative the
    row is padding: its output is 0 and no slot changes.
    """
    slots, state = arguments["slots"], arguments["state"]
    live = np.flatnonzero(slots >= 0)
    one = {**arguments, "slots": None}
    for name, array, types in _arrays(function, arguments):
        if name != "slots" and _axis("batch", array, types) == 0:
            one[name] = array[live]
    one["state"] = map_state(lambda s: s[slots[live]], state)
    y_live, state_live = function(**one)
    y = np.zeros((len(slots), *y_live.shape[1:]), y_live.dtype)
    y[live] = y_live
    return y, map_state(lambda s, new: _put(s, slots[live], new), state, state_live)


def map_state(function: Callable, state: Any, *others: Any) -> Any:
    """Apply `function` to an array, or to each array of a named tuple of arrays."""
    if isinstance(state, tuple):
        parts = (map_state(function, *p) for p in zip(state, *others, strict=True))
        return type(state)(*parts)
    return function(state, *others)


def _stack(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=0)


def _put(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    array = array.astype(np.result_type(array, values))
    array[rows] = values
    return array


def _axis(axis: str, array: np.ndarray, types: list) -> int | None:
    for kind in types:
        if _fits_rank(kind, array) and axis in _axis_names(kind):
            return _axis_names(kind).index(axis)
    return None


def expand_groups(name: str, array: np.ndarray, heads: int, axis: int) -> np.ndarray:
    """Give head h the group ``h // (heads / groups)``: consecutive heads share one.

    Raises ValueError where the number of groups does not divide `heads`.
    """
    groups = array.shape[axis]
    if groups == 0 or heads % groups:
        raise ValueError(
            f"{name} has {groups} groups; their number needs to divide {heads}"
        )
    return np.repeat(array, heads // groups, axis)


def choose(name: str, value: Any, *allowed: Any) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it needs to be one of {allowed}")


def at_least(name: str, value: float | int, least: float | int) -> None:
    """Raise ValueError unless ``value >= least`` (NaN fails)."""
    if not value >= least or math.isnan(value):
        raise ValueError(f"{name} is {value!r}; it needs to be at least {least}")
