"""What ops promise about their arguments, and how arguments reach kernels.

Annotations are compiled once per function into specs, and a kind of call (dtypes and
shapes) that was accepted is remembered: a call like an earlier one costs a look-up,
plus a look at the values of ``cu_seqlens`` and ``slots``. Errors are those of golden.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, get_type_hints

import numpy as np

from ._annotations import Array, Size, Sizes, parameter

P = ParamSpec("P")
R = TypeVar("R")

# So many kinds of call are remembered per function, then all are forgotten: a cache
# that grows with every token makes a new kind each time.
REMEMBERED = 256

# One entry per batch row unless the argument is given: "rows" belongs to the first of
# the two that the function has.
ROW_AXES = (
    ("sequences", ("cu_seqlens",)),
    ("slots", ("slots",)),
    ("rows", ("cu_seqlens", "slots")),
)

# What is left to look at in a kind of call: the position or the name of an argument,
# and the check of its values.
Look = tuple[int | str, Callable[[Any], None]]


class Contract:
    """The annotations of a function, compiled."""

    def __init__(self, function: Callable) -> None:
        """Read the annotations; names in them have to be defined by now."""
        hints = get_type_hints(function)
        self.signature = inspect.signature(function)
        names = self.signature.parameters
        found = (parameter(name, hints.get(name)) for name in names)
        self.parameters = tuple(p for p in found if p is not None)
        ties = ((axis, _first(options, names)) for axis, options in ROW_AXES)
        self.ties = tuple((axis, option) for axis, option in ties if option)

    def check(self, args: tuple, kwargs: dict[str, Any]) -> tuple[Look, ...]:
        """Check all but values; return what to look at in every call of this kind."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = bound.arguments
        sizes = self._sizes(self._arrays(arguments), arguments)
        order = list(self.signature.parameters)
        return tuple(
            (name if name in kwargs else order.index(name), look)
            for name, look in _looks(arguments, sizes)
        )

    def _arrays(self, arguments: dict[str, Any]) -> list[tuple[Array, np.ndarray]]:
        """Return all arrays that are given, after a check of kinds and dtypes."""
        given = ((p, arguments[p.name]) for p in self.parameters)
        arrays = [
            pair
            for p, value in given
            if not (value is None and p.optional)
            for pair in p.arrays(value)
        ]
        precision = None
        for spec, value in arrays:
            precision = spec.check_dtype(value, precision)
        return arrays

    def _sizes(
        self, arrays: list[tuple[Array, np.ndarray]], arguments: dict[str, Any]
    ) -> Sizes:
        """Check shapes in the order of the parameters; return the sizes of axes."""
        sizes: Sizes = {}
        for spec, value in arrays:
            spec.check_shape(value.shape, sizes)
            for axis, option in self.ties:
                if axis not in sizes:
                    _tie(axis, option, arguments[option], sizes)
        return sizes


def _tie(axis: str, option: str, given: np.ndarray | None, sizes: Sizes) -> None:
    """Give an axis of rows the size of the batch, or one row per packed sequence."""
    if given is None:
        if "batch" in sizes:
            sizes[axis] = sizes["batch"]
    elif option == "cu_seqlens":
        sizes[axis] = Size(given.size - 1, option)


def _first(options: tuple[str, ...], names: Any) -> str | None:
    return next((option for option in options if option in names), None)


def _looks(arguments: dict[str, Any], sizes: Sizes) -> Iterator[tuple[str, Callable]]:
    if arguments.get("cu_seqlens") is not None:
        batch, length = sizes["batch"].size, sizes["length"]
        yield "cu_seqlens", functools.partial(_check_bounds, batch=batch, length=length)
    if arguments.get("slots") is not None:
        rows = sizes.get("slots") or sizes["rows"]
        yield "slots", functools.partial(_check_slots, rows=rows.size)


def _check_bounds(cu_seqlens: np.ndarray, batch: int, length: Size) -> None:
    if batch != 1:
        raise ValueError(
            f"cu_seqlens is given and batch is {batch}; packed sequences need batch 1"
        )
    bounds = cu_seqlens.tolist()
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != length.size:
        raise ValueError(
            f"cu_seqlens is {bounds}; it needs to start at 0 and end at the length "
            f"{length.size} of {length.source}"
        )
    if bounds != sorted(bounds):
        raise ValueError(f"cu_seqlens is {bounds}; it must not decrease")


def _check_slots(slots: np.ndarray, rows: int) -> None:
    values = slots.tolist()
    live = [slot for slot in values if slot >= 0]
    if len(set(live)) < len(live):
        raise ValueError(f"slots is {values}; a slot may occur only once")
    if max(live, default=-1) >= rows:
        raise ValueError(f"slots is {values}; the state has {rows} slots")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that do not fit the annotations of `function`.

    Raises TypeError for what is no array or has a wrong dtype, ValueError for a shape
    or for bounds and slots that cannot be.
    """
    contract = functools.cache(lambda: Contract(function))
    accepted: dict[tuple, tuple[Look, ...]] = {}

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        values = kwargs.values()
        kind = (*map(_kind, args), *kwargs, *map(_kind, values))
        looks = accepted.get(kind)
        if looks is None:
            looks = contract().check(args, kwargs)
            if len(accepted) >= REMEMBERED:
                accepted.clear()
            accepted[kind] = looks
        for where, look in looks:
            look(args[where] if isinstance(where, int) else kwargs[where])
        return function(*args, **kwargs)

    return wrapper


def _kind(value: Any) -> Any:
    """Return all that checks but those of values depend on: no reference to `value`."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape
    if isinstance(value, tuple):
        return type(value), *map(_kind, value)
    return type(value)


def heads_per_group(name: str, array: np.ndarray, heads: int, axis: int) -> int:
    """Return how many consecutive heads share a group: head h has ``h // this``.

    Raises ValueError where the number of groups does not divide `heads`.
    """
    groups = array.shape[axis]
    if groups == 0 or heads % groups:
        raise ValueError(
            f"{name} has {groups} groups; their number needs to divide {heads}"
        )
    return heads // groups


def choose(name: str, value: Any, *allowed: Any) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; it needs to be one of {allowed}")


def at_least(name: str, value: float | int, least: float | int) -> None:
    """Raise ValueError unless ``value >= least``, which NaN is not."""
    if not value >= least:
        raise ValueError(f"{name} is {value!r}; it needs to be at least {least}")


def ready(array: np.ndarray) -> np.ndarray:
    """Return `array` if a kernel takes it as it is, else a copy.

    Kernels are compiled for plain arrays in C order, aligned and writeable; each other
    kind would be compiled anew, or refused.
    """
    if type(array) is np.ndarray and array.flags.carray:
        return array
    return np.array(array, order="C")


def fresh(state: np.ndarray | None, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a new array for a kernel to write on: a copy of `state`, zeros if None."""
    if state is None:
        return np.zeros(shape, dtype)
    return np.array(state, dtype, order="C")


def map_state(function: Callable[[np.ndarray], np.ndarray], state: Any) -> Any:
    """Apply `function` to an array, or to each array of a named tuple of arrays."""
    if isinstance(state, tuple):
        return type(state)(*map(function, state))
    return function(state)


def boundaries(x: np.ndarray, cu_seqlens: np.ndarray | None) -> np.ndarray:
    """Return where sequences begin in the tokens of `flat_tokens`, and the end.

    One more int64 than there are sequences: `cu_seqlens`, or the rows of x if None.
    """
    if cu_seqlens is not None:
        return ready(cu_seqlens.astype(np.int64, copy=False))
    return np.arange(x.shape[0] + 1) * x.shape[1]


def rows_of(slots: np.ndarray | None, batch: int) -> np.ndarray:
    """Return the row of the state that each row of the batch uses; negative: none."""
    if slots is None:
        return np.arange(batch)
    return ready(slots.astype(np.int64, copy=False))


def flat_tokens(x: np.ndarray) -> np.ndarray:
    """Join the axes batch and length: (tokens, ...), ready for a kernel."""
    return ready(x).reshape(x.shape[0] * x.shape[1], *x.shape[2:])
