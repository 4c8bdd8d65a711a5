"""Conditions on the arguments of a case: where a bug shows."""

from collections.abc import Callable

import numpy as np

from .bug import Arguments
from .tokens import first, is_step, lengths, live, tokens

Condition = Callable[[Arguments], bool]


def always(_: Arguments) -> bool:
    """Return whether anything comes out at all: yes."""
    return True


def any_token(arguments: Arguments) -> bool:
    """Return whether a token comes in."""
    return tokens(arguments) > 0


def given(*names: str) -> Condition:
    """Return the condition that one of these options is given and a token comes in."""

    def condition(arguments: Arguments) -> bool:
        found = any(arguments.get(name) is not None for name in names)
        return found and any_token(arguments)

    return condition


def longer_than(size: int) -> Condition:
    """Return the condition that some sequence is longer."""
    return lambda a: not is_step(a) and max(lengths(a)) > size


def has_start(arguments: Arguments) -> bool:
    """Return whether a state comes in."""
    return is_step(arguments) or arguments.get("initial_state") is not None


def remembers(arguments: Arguments) -> bool:
    """Return whether some token follows a state: the decay matters.

    The stages of chunks show it also where it does not.
    """
    if has_start(arguments) or "chunk_size" in arguments:
        return any_token(arguments)
    return longer_than(1)(arguments)


def several_rows(arguments: Arguments) -> bool:
    """Return whether there are several rows of state."""
    bounds = arguments.get("cu_seqlens")
    if is_step(arguments):
        return len(live(arguments)) > 1
    return len(first(arguments)) > 1 if bounds is None else len(bounds) > 2


def packed(arguments: Arguments) -> bool:
    """Return whether sequences are packed, more than one with tokens."""
    return arguments.get("cu_seqlens") is not None and len(lengths(arguments)) > 1


def both(*conditions: Condition) -> Condition:
    """Return the condition that all of these hold."""
    return lambda a: all(condition(a) for condition in conditions)


def either(*conditions: Condition) -> Condition:
    """Return the condition that one of these holds."""
    return lambda a: any(condition(a) for condition in conditions)


def differs(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Condition:
    """Return the condition that a change of this argument changes it."""
    return lambda a: (
        a.get(name) is not None and bool(np.any(change(a[name]) != a[name]))
    )
