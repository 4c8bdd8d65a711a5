"""The checks that annotations cannot express: those of values, and of groups."""

from typing import Any


def heads_per_group(name: str, array: Any, heads: int, axis: int) -> int:
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
