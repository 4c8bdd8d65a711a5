"""Time in arguments and results: pieces of sequences, packs, steps, slots."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from ...golden._contract import _put as put
from ...golden._contract import map_state
from .bug import Arguments, Function, Wrap, around

# What has tokens along its second axis, where it has more than two axes.
PER_TOKEN = ("x", "u", "dt", "A", "B", "C", "z", "trap", "angles", "q", "k", "v", "xBC")


def has_tokens(name: str, value: Any) -> bool:
    """Return whether an argument of a sequence op has an axis of tokens."""
    return name in PER_TOKEN and isinstance(value, np.ndarray) and value.ndim > 2


def first(arguments: Arguments) -> np.ndarray:
    """Return the first argument of an op: its input."""
    return next(iter(arguments.values()))


def is_step(arguments: Arguments) -> bool:
    """Return whether the arguments are those of one step of decoding."""
    return "state" in arguments and "write" not in arguments


def tokens(arguments: Arguments) -> int:
    """Return how many tokens come in, 1 for a step with any row that is no padding."""
    if is_step(arguments):
        return int(len(live(arguments)) > 0)
    x = first(arguments)
    return x.shape[1] if x.ndim > 2 else int(x.size > 0)


def live(arguments: Arguments) -> np.ndarray:
    """Return the rows of a step that are no padding."""
    slots = arguments.get("slots")
    rows = np.arange(len(first(arguments)))
    return rows if slots is None else rows[slots >= 0]


def cut(arguments: Arguments, start: int, stop: int) -> Arguments:
    """Return the arguments of some tokens, without the boundaries of a pack."""
    piece = {n: v for n, v in arguments.items() if n != "cu_seqlens"}
    return piece | {n: v[:, start:stop] for n, v in piece.items() if has_tokens(n, v)}


def lengths(arguments: Arguments) -> list[int]:
    """Return the lengths of the sequences: of a pack, or of the rows."""
    bounds = arguments.get("cu_seqlens")
    return [tokens(arguments)] if bounds is None else np.diff(bounds).tolist()


def sequences(arguments: Arguments) -> Iterator[Arguments]:
    """Yield the arguments of each sequence of a pack; all, where it is none."""
    bounds = arguments.get("cu_seqlens")
    if bounds is None:
        yield {n: v for n, v in arguments.items() if n != "cu_seqlens"}
        return
    for row, (start, stop) in enumerate(pairwise(bounds.tolist())):
        one = cut(arguments, start, stop)
        if arguments.get("initial_state") is not None:
            state = arguments["initial_state"]
            one["initial_state"] = map_state(lambda s, i=row: s[i : i + 1], state)
        yield one


def each_sequence(function: Function, arguments: Arguments) -> Any:
    """Return the result of a function that knows no packs on a pack."""
    results = [function(**one) for one in sequences(arguments)]
    if len(results) == 1:
        return results[0]
    outputs, states = zip(*results, strict=True)
    return np.concatenate(outputs, axis=1), stacked(states)


def per_sequence(run: Callable[[Function, Arguments], Any]) -> Wrap:
    """Return the wrap of a run that knows no packs."""

    def whole(function: Function, arguments: Arguments) -> Any:
        return each_sequence(lambda **one: run(function, one), arguments)

    return around(whole)


def stacked(states: Any) -> Any:
    """Return states of one row each as one."""
    return map_state(lambda *s: np.concatenate(s), *states)


def pieces(arguments: Arguments, size: int) -> Iterator[Arguments]:
    """Yield the arguments of each chunk of `size` tokens of one sequence."""
    for start in range(0, tokens(arguments), size):
        yield cut(arguments, start, start + size)


def joined(outputs: list[np.ndarray], like: np.ndarray) -> np.ndarray:
    """Return the outputs of pieces along time; none at all are as `like`."""
    return np.concatenate(outputs, axis=1) if outputs else like


def as_sequence(arguments: Arguments) -> Arguments:
    """Return the arguments of a step without slots as those of one token."""
    state = arguments["state"]
    rest = {n: v for n, v in arguments.items() if n not in ("state", "slots")}
    rank = first(arguments).ndim
    timed = {
        n: v[:, None]
        for n, v in rest.items()
        if n in PER_TOKEN and v.ndim >= 2 and not _is_constant(n, rest, rank)
    }
    return rest | timed | {"initial_state": state}


def _is_constant(name: str, arguments: Arguments, rank: int) -> bool:
    """A of Mamba-1 has two axes, as has a token of Mamba-3, whose x has three."""
    return name == "A" and (rank == 2 or "trap" not in arguments)


def serving(scan: Function) -> Function:
    """Make a function of plain sequences serve packs, steps and slots too."""

    def function(**arguments: Any) -> Any:
        if not is_step(arguments):
            return each_sequence(scan, arguments)
        if arguments.get("slots") is not None:
            return in_slots(function, arguments)
        y, state = scan(**as_sequence(arguments))
        return y[:, 0], state

    return function


def in_slots(step: Function, arguments: Arguments) -> Any:
    """Run a step on the rows of the state that slots names.

    Golden's own reads the axes of arguments from annotations, which a bug has not.
    """
    rows, state = live(arguments), arguments["state"]
    slots = arguments["slots"][rows]
    batch = len(first(arguments))
    one = {n: v for n, v in arguments.items() if n != "slots"}
    per_row = {
        n: v[rows]
        for n, v in one.items()
        if n in PER_TOKEN
        and len(v) == batch
        and not _is_constant(n, one, first(one).ndim)
    }
    one |= per_row | {"state": map_state(lambda s: s[slots], state)}
    y, new = step(**one)
    full = np.zeros((batch, *y.shape[1:]), y.dtype)
    full[rows] = y
    return full, map_state(lambda s, n: put(s, slots, n), state, new)
