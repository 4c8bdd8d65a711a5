"""What a bug is, and the ways to write one: each transforms an implementation.

Here an implementation takes all arguments by name and returns what golden returns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arguments = dict[str, Any]
Function = Callable[..., Any]
Wrap = Callable[[Function], Function]


@dataclass(frozen=True)
class Bug:
    """A mistake that somebody made, as a transformer of implementations.

    `wrong` is the wrong mathematics, `fix` what to do, `exposed_by` the condition under
    which it shows, each in one sentence; `exposes` is that condition on the arguments
    of a case: where it is false, the bug is invisible. `wrap` returns the wrong
    implementation; what changes the inside ignores the wrapped one. `documented` are
    the ids under which the sources of `links` are known in this field, if any.
    """

    id: str
    ops: tuple[str, ...]
    wrong: str
    fix: str
    exposed_by: str
    exposes: Callable[[Arguments], bool]
    wrap: Wrap
    links: tuple[str, ...] = ()
    documented: tuple[str, ...] = ()
    modifies: bool = False


def before(change: Callable[[Arguments], Arguments]) -> Wrap:
    """Return the wrap that changes the arguments."""

    def wrap(function: Function) -> Function:
        def wrong(**arguments: Any) -> Any:
            return function(**change(arguments))

        return wrong

    return wrap


def after(change: Callable[[Any, Arguments], Any]) -> Wrap:
    """Return the wrap that changes the result, which it sees with the arguments."""

    def wrap(function: Function) -> Function:
        def wrong(**arguments: Any) -> Any:
            return change(function(**arguments), arguments)

        return wrong

    return wrap


def around(run: Callable[[Function, Arguments], Any]) -> Wrap:
    """Return the wrap that calls the implementation as `run` sees fit."""

    def wrap(function: Function) -> Function:
        def wrong(**arguments: Any) -> Any:
            return run(function, arguments)

        return wrong

    return wrap


def instead(function: Function) -> Wrap:
    """Return the wrap that forgets the implementation for an own formula."""

    def wrap(_: Function) -> Function:
        return function

    return wrap


def changed(**changes: Callable[[Any], Any]) -> Wrap:
    """Return the wrap that changes these arguments where they are given."""

    def change(arguments: Arguments) -> Arguments:
        given = {n: f for n, f in changes.items() if arguments.get(n) is not None}
        return arguments | {n: f(arguments[n]) for n, f in given.items()}

    return before(change)


def without(*names: str) -> Wrap:
    """Return the wrap that ignores these options."""
    return before(lambda a: {n: v for n, v in a.items() if n not in names})


def on_y(change: Callable[[np.ndarray, Arguments], np.ndarray]) -> Wrap:
    """Return the wrap that changes y and leaves the state."""

    def both(result: Any, arguments: Arguments) -> Any:
        if not isinstance(result, tuple):
            return change(result, arguments)
        return change(result[0], arguments), *result[1:]

    return after(both)


def on_state(change: Callable[[Any, Arguments], Any]) -> Wrap:
    """Return the wrap that changes the final state and leaves y."""
    return after(lambda result, a: (result[0], change(result[1], a)))
