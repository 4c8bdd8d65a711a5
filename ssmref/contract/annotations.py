"""Annotations compiled into specs: what each argument has to be.

A shape is a string of words, one per axis; a word is a name, a number, a name plus or
minus a number (``width-1``), or a name of any number of axes (``*batch``). An axis that
occurs twice has one size.

The kind of an annotation (``Real``) has a tuple of dtypes. Where it leaves the
precision open, all arrays that do so need the same one: nothing is rounded or promoted
unseen. So parameters that are always in float32 may stand beside tokens in bfloat16,
and so may complex tokens where no other complex dtype is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

# The precision of each floating dtype; integers have none.
PRECISION = {
    "bfloat16": "bfloat16",
    "float16": "float16",
    "float32": "float32",
    "complex64": "float32",
    "float64": "float64",
    "complex128": "float64",
}


class Size(NamedTuple):
    """How long an axis is, and the argument that said so first."""

    size: Any
    source: str


Sizes = dict[str, Size]


class Axis(NamedTuple):
    """A word of an annotation: a name, or a name (none: zero) plus an offset."""

    word: str
    base: str | None
    offset: int

    @classmethod
    def parse(cls, word: str) -> Axis:
        """Read ``length``, ``*batch``, ``width-1`` or ``3``."""
        found = re.fullmatch(r"([A-Za-z_]\w*(?=[-+]))?([-+]?\d+)", word)
        return cls(word, found[1] or "", int(found[2])) if found else cls(word, None, 0)

    def needed(self, sizes: Sizes) -> Any:
        """Return how long this axis has to be, None where anything will do."""
        if self.word in sizes:
            return sizes[self.word].size
        if self.base:
            return sizes[self.base].size + self.offset if self.base in sizes else None
        return None if self.base is None else self.offset


class Layout(NamedTuple):
    """One shape that an array may have."""

    axes: tuple[Axis, ...]
    several: int | None  # the position of an axis that stands for any number of them

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read ``batch length heads``."""
        words = text.split()
        starred = (i for i, word in enumerate(words) if word.startswith("*"))
        return cls(tuple(map(Axis.parse, words)), next(starred, None))

    def takes(self, rank: int) -> bool:
        """Return whether an array of this rank can have the layout."""
        if self.several is None:
            return rank == len(self.axes)
        return rank >= len(self.axes) - 1

    def bind(self, shape: tuple[int, ...], source: str, sizes: Sizes) -> bool:
        """Add the sizes of new axes to `sizes`; return False at a contradiction."""
        for axis, size in zip(self.axes, self._per_axis(shape), strict=True):
            needed = axis.needed(sizes)
            if needed is None:
                sizes[axis.word] = Size(size, source)
            elif needed != size:
                return False
        return True

    def _per_axis(self, shape: tuple[int, ...]) -> tuple:
        if self.several is None:
            return shape
        first = self.several
        last = first + 1 + len(shape) - len(self.axes)
        return *shape[:first], shape[first:last], *shape[last:]


@dataclass(frozen=True)
class Array:
    """What one array, an argument or a part of a state, has to be."""

    name: str
    layouts: tuple[Layout, ...]
    dtypes: frozenset[str]

    @cached_property
    def floating(self) -> frozenset[str]:
        """The dtypes that have a precision; none for integers."""
        return self.dtypes & PRECISION.keys()

    @cached_property
    def tied(self) -> frozenset[str]:
        """The dtypes that were a choice, among the real or among the complex ones."""
        pairs = frozenset(d for d in self.floating if d.startswith("complex"))
        kinds = (pairs, self.floating - pairs)
        return frozenset(d for kind in kinds if len(kind) > 1 for d in kind)

    def check_kind(self, value: Any, array: type, library: str) -> None:
        """Raise TypeError for what is not an `array` of the `library`."""
        if not isinstance(value, array):
            raise TypeError(
                f"{self.name} is {_what(value)}; it needs to be a {library} array"
            )

    def check_dtype(self, value: Any) -> Size | None:
        """Return the precision of an array that may have several, and whose it is."""
        name = value.dtype.name
        if name not in self.dtypes or not value.dtype.isnative:
            known = ", ".join(sorted(self.dtypes))
            raise TypeError(
                f"{self.name} has dtype {value.dtype}; it needs one of: {known}"
            )
        return Size(PRECISION[name], self.name) if name in self.tied else None

    def check_shape(self, shape: tuple[int, ...], sizes: Sizes) -> None:
        """Add the axes of this array to `sizes`, or raise ValueError."""
        layout = next((own for own in self.layouts if own.takes(len(shape))), None)
        if layout is None or not layout.bind(shape, self.name, sizes):
            raise ValueError(
                f"{self.name} has shape {shape}; it needs {self._shapes(sizes)}"
            )

    def _shapes(self, sizes: Sizes) -> str:
        words = [[axis.word for axis in layout.axes] for layout in self.layouts]
        needed = " or ".join(f"({', '.join(own)})" for own in words)
        used = {part for own in words for w in own for part in re.split(r"[-+]", w)}
        known = [
            f"{w} = {s.size} from {s.source}" for w, s in sizes.items() if w in used
        ]
        return f"{needed} with {', '.join(known)}" if known else needed


@dataclass(frozen=True)
class StateSpec:
    """What a state of several arrays has to be: any named tuple of these fields."""

    name: str
    kind: str
    fields: tuple[str, ...]
    parts: tuple[Array, ...]

    def check_kind(self, value: Any) -> None:
        """Raise TypeError for what does not have the parts."""
        if not isinstance(value, tuple) or getattr(value, "_fields", ()) != self.fields:
            needed = f"{self.kind}({', '.join(self.fields)})"
            raise TypeError(f"{self.name} is {_what(value)}; it needs to be {needed}")


@dataclass(frozen=True)
class Parameter:
    """A parameter that takes an array or a state; it may be optional."""

    name: str
    optional: bool
    spec: Array | StateSpec

    @property
    def specs(self) -> tuple[Array, ...]:
        """What its arrays have to be."""
        return self.spec.parts if isinstance(self.spec, StateSpec) else (self.spec,)

    def arrays(self, value: Any) -> Iterable[tuple[Array, Any]]:
        """Return each array of an argument and what it has to be."""
        if not isinstance(self.spec, StateSpec):
            return ((self.spec, value),)
        self.spec.check_kind(value)
        return zip(self.specs, value, strict=True)


def parameter(name: str, hint: Any) -> Parameter | None:
    """Compile the annotation of a parameter, or return None where it has no arrays."""
    options = get_args(hint) or (hint,)
    optional = NoneType in options
    for kind in options:
        if hasattr(kind, "_fields"):
            hints = get_type_hints(kind)
            parts = tuple(_array(f"{name}.{f}", hints[f]) for f in kind._fields)
            spec = StateSpec(name, kind.__name__, kind._fields, parts)
            return Parameter(name, optional, spec)
    if any(hasattr(kind, "dim_str") for kind in options):
        return Parameter(name, optional, _array(name, hint))
    return None


def _array(name: str, hint: Any) -> Array:
    kinds = [k for k in get_args(hint) or (hint,) if hasattr(k, "dim_str")]
    layouts = tuple(dict.fromkeys(Layout.parse(kind.dim_str) for kind in kinds))
    return Array(name, layouts, frozenset(d for kind in kinds for d in kind.dtypes))


def _what(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
