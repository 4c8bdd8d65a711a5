"""Functions that check their arguments, at the price of a look-up.

Annotations are compiled once per function into specs, and a kind of call (dtypes and
shapes) that was accepted is remembered: a call like an earlier one costs a look-up,
plus a look at the values of ``cu_seqlens`` and ``slots``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, get_type_hints

from .annotations import Array, Size, Sizes, parameter

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


class Library:
    """A library of arrays, and the check of functions that take its arrays.

    Arrays need ``dtype`` and ``shape`` as NumPy's have them, those of integers also
    ``size`` and ``tolist()``, which may copy them from a device.
    """

    def __init__(self, name: str, array: Callable[[], type]) -> None:
        """Take its name, and the way to its type of arrays: called when needed."""
        self.name = name
        self._find = array

    @functools.cached_property
    def array(self) -> type:
        """The type of its arrays."""
        return self._find()

    def checked(self, function: Callable[P, R]) -> Callable[P, R]:
        """Refuse arguments that do not fit the annotations of `function`.

        Raises TypeError for what is no array or has a wrong dtype, ValueError for a
        shape or for bounds and slots that cannot be.
        """
        contract = functools.cache(lambda: Contract(function, self))
        accepted: dict[tuple, tuple[Look, ...]] = {}
        kind_of = self.kind_of

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            # Most are arrays, for which a call of `kind_of` takes longer than a look.
            array = self.array
            values: tuple[Any, ...] = (*args, *kwargs.values())
            kinds = [
                (v.dtype, v.shape) if isinstance(v, array) else kind_of(v)
                for v in values
            ]
            kind = (*kwargs, *kinds)
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

    def kind_of(self, value: Any) -> Any:
        """Return all that checks but those of values depend on, without the value."""
        if isinstance(value, self.array):
            return value.dtype, value.shape
        if isinstance(value, tuple):
            return type(value), *map(self.kind_of, value)
        return type(value)


class Contract:
    """The annotations of a function, compiled."""

    def __init__(self, function: Callable, library: Library) -> None:
        """Read the annotations; names in them have to be defined by now."""
        hints = get_type_hints(function)
        self.library = library
        self.signature = inspect.signature(function)
        names = self.signature.parameters
        found = (parameter(name, hints.get(name)) for name in names)
        self.parameters = tuple(p for p in found if p is not None)
        self.alike = _alike([a for p in self.parameters for a in p.specs])
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

    def _arrays(self, arguments: dict[str, Any]) -> list[tuple[Array, Any]]:
        """Return all arrays that are given, after a check of kinds and dtypes."""
        given = ((p, arguments[p.name]) for p in self.parameters)
        arrays = [
            pair
            for p, value in given
            if not (value is None and p.optional)
            for pair in p.arrays(value)
        ]
        first = None
        for spec, value in arrays:
            spec.check_kind(value, self.library.array, self.library.name)
            precision = spec.check_dtype(value)
            first = first or precision
            if precision and first and precision.size != first.size:
                raise TypeError(
                    f"{spec.name} has dtype {value.dtype}, but {first.source} has "
                    f"precision {first.size}; {self.alike} need one precision"
                )
        return arrays

    def _sizes(
        self, arrays: list[tuple[Array, Any]], arguments: dict[str, Any]
    ) -> Sizes:
        """Check shapes in the order of the parameters; return the sizes of axes."""
        sizes: Sizes = {}
        for spec, value in arrays:
            spec.check_shape(value.shape, sizes)
            for axis, option in self.ties:
                if axis not in sizes:
                    _tie(axis, option, arguments[option], sizes)
        return sizes


def _alike(specs: list[Array]) -> str:
    """Return the words for the arrays that need one precision."""
    floating = [spec for spec in specs if spec.floating]
    several = [spec.name for spec in floating if spec.tied]
    return "all arrays" if len(several) == len(floating) else ", ".join(several)


def _tie(axis: str, option: str, given: Any, sizes: Sizes) -> None:
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


def _check_bounds(cu_seqlens: Any, batch: int, length: Size) -> None:
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


def _check_slots(slots: Any, rows: int) -> None:
    values = slots.tolist()
    live = [slot for slot in values if slot >= 0]
    if len(set(live)) < len(live):
        raise ValueError(f"slots is {values}; a slot may occur only once")
    if max(live, default=-1) >= rows:
        raise ValueError(f"slots is {values}; the state has {rows} slots")
