"""Points that differ in one size only, put in a row: what curves are drawn from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .fits import Curve, Spread
from .points import LENGTHS, Memory, Subject, Timing
from .words import unique

Found = TypeVar("Found", Timing, Memory)


@dataclass(frozen=True)
class Series(Generic[Found]):
    """Points of one subject along an axis, in its order."""

    axis: str
    points: tuple[Found, ...]

    @property
    def subject(self) -> Subject:
        """What all points have in common, and the sizes of the first."""
        return self.points[0].subject

    @property
    def places(self) -> list[int]:
        """Where on the axis the points are."""
        return [place(p.subject, self.axis) for p in self.points]

    def curve(self, value: Callable[[Found], Spread | None]) -> Curve:
        """Return the points that have this value, by their place."""
        pairs = ((place(p.subject, self.axis), value(p)) for p in self.points)
        return {n: v for n, v in pairs if v is not None}

    def other_sizes(self) -> dict[str, int]:
        """Return the sizes that are the same at all points."""
        return _others(self.subject, self.axis)


def place(subject: Subject, axis: str) -> int:
    """Return where on an axis a subject is."""
    length = subject.length
    if axis == "length":
        return length if length is not None else 0
    return subject.sizes[axis]


def has_axis(subject: Subject, axis: str) -> bool:
    """Return whether a subject has a place on this axis."""
    return subject.length is not None if axis == "length" else axis in subject.sizes


def _others(subject: Subject, axis: str) -> dict[str, int]:
    dropped = LENGTHS if axis == "length" else (axis,)
    return {n: s for n, s in subject.sizes.items() if n not in dropped}


def along(axis: str, found: Iterable[Found]) -> list[Series[Found]]:
    """Group points that differ in nothing but the axis; others are left out.

    Of two suites that measured the same, the later counts.
    """
    groups: dict[Any, dict[int, Found]] = {}
    for point in found:
        own = point.subject
        if has_axis(own, axis):
            group = groups.setdefault(_key(own, axis), {})
            group[place(own, axis)] = point
    return [
        Series(axis, tuple(group[n] for n in sorted(group)))
        for group in groups.values()
    ]


def _key(s: Subject, axis: str) -> Any:
    sizes = tuple(sorted(_others(s, axis).items()))
    own = (s.kind, s.op, s.form, s.model, s.implementation)
    return (*own, s.dtype, s.threads, sizes)


def labels(subjects: Sequence[Subject], axis: str = "length") -> list[str]:
    """Return a name for each, of as few words as tell them apart.

    What differs in its place on the axis only has the same name.
    """
    rows = [_words(s, axis) for s in subjects]
    needed = len({_key(s, axis) for s in subjects})
    names = [f"{s.name}, {s.implementation}" for s in subjects]
    for part in rows[0] if rows else ():
        values = [row.get(part, "") for row in rows]
        told = len(set(names)) >= needed
        # Part by part until the names differ; a part that says nothing is left out.
        if not told and _helps(names, values):
            names = [
                f"{name}, {value}" if value else name
                for name, value in zip(names, values, strict=True)
            ]
    return names


def _helps(names: Sequence[str], values: Sequence[str]) -> bool:
    pairs = set(zip(names, values, strict=True))
    return len(pairs) > len(set(names))


def _words(subject: Subject, axis: str) -> dict[str, str]:
    threads = subject.threads
    sizes = _others(subject, axis)
    batch = sizes.pop("batch", None)
    return {
        "model": subject.model,
        "dtype": subject.dtype,
        "threads": "1 thread" if threads == 1 else f"{threads} threads",
        "batch": "" if batch is None else f"batch {batch}",
        "sizes": ", ".join(f"{name} {size}" for name, size in sizes.items()),
    }


def width(subject: Subject) -> int | None:
    """Return how many channels an op or a block works on, where its sizes say so."""
    sizes = subject.sizes
    if subject.op.startswith("block."):
        return sizes.get("width")
    if "channels" in sizes:
        return sizes["channels"]
    if "heads" in sizes and "headdim" in sizes:
        return sizes["heads"] * sizes["headdim"]
    return None


def is_attention(subject: Subject) -> bool:
    """Return whether the cost of a subject grows with the square of the length."""
    return any(word in subject.op for word in ("attention", "transformer"))


def is_naive(subject: Subject) -> bool:
    """Return whether it is the attention that nobody should use."""
    return "naive" in subject.name


def is_layer(subject: Subject) -> bool:
    """Return whether it is a part of a model that is no alternative to attention."""
    return subject.op.startswith("layers.")


def comparable(first: Subject, second: Subject) -> bool:
    """Return whether one can stand for the other: same place, work and settings."""
    same = (
        first.kind == second.kind
        and first.dtype == second.dtype
        and first.threads == second.threads
        and first.batch == second.batch
        and first.model == second.model
    )
    widths = {width(first), width(second)} - {None}
    return same and len(widths) < 2


def implementations(subjects: Iterable[Subject]) -> list[str]:
    """Return the names of who took part, ours first."""
    names = unique(s.implementation for s in subjects)
    return sorted(names, key=lambda n: (rank(n), names.index(n)))


def rank(name: str) -> int:
    """Return where a name stands: our fast paths, golden, peers, yardsticks."""
    order = ("ssmref.cpu", "ssmref.gpu", "ssmref.golden", "peer:", "yardstick:")
    return next((i for i, start in enumerate(order) if name.startswith(start)), 3)
