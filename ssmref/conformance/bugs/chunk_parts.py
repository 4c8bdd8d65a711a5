"""How scans in chunks go wrong: the wraps and conditions of `chunks`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .bug import Arguments, Function, Wrap, around
from .recurrence import Recurrence, states, step_sizes
from .states import no_start, zeros
from .time_step import through
from .tokens import (
    cut,
    first,
    has_tokens,
    is_step,
    joined,
    map_state,
    per_sequence,
    pieces,
    sequences,
    stacked,
    tokens,
)
from .when import has_start


def passing(between: Callable[[Any], Any], size: int) -> Wrap:
    """Return the wrap that runs chunk by chunk and changes the state in between."""

    def scan(function: Function, arguments: Arguments) -> Any:
        state, outputs = arguments.get("initial_state"), []
        if tokens(arguments) == 0:
            return function(**arguments)
        for n, piece in enumerate(pieces(arguments, size)):
            state = between(state) if n else state
            given = {} if state is None else {"initial_state": state}
            y, state = function(**(no_start(piece) | given))
            outputs.append(y)
        return joined(outputs, first(arguments)), state

    return per_sequence(scan)


def wrong_axis(size: int) -> Callable[[Recurrence], np.ndarray]:
    """Return how states are computed where the sum is over targets, not sources."""

    def run(r: Recurrence) -> np.ndarray:
        length = r.drive.shape[1]
        local = [_local(r, a, a + size) for a in range(0, length, size)]
        sums = [r.exponent[:, a : a + size].sum(axis=1) for a in range(0, length, size)]
        ends = [r.start, *(h[:, -1] for h in local)]
        reached = []
        for source, end in enumerate(ends):
            decays = np.cumsum(
                np.stack([np.zeros_like(r.exponent[:, 0]), *sums[source:]]), 0
            )
            reached.append(end * np.exp(decays).sum(axis=0))
        kept = np.exp(r.exponent)
        parts = [
            h
            + np.cumprod(kept[:, c * size : (c + 1) * size], axis=1)
            * reached[c][:, None]
            for c, h in enumerate(local)
        ]
        h = np.concatenate(parts, axis=1)
        return np.concatenate([h[:, :-1], reached[-1][:, None]], axis=1)

    return lambda r: run(r) if r.drive.shape[1] else r.drive


def _local(r: Recurrence, start: int, stop: int) -> np.ndarray:
    """Return the states of a chunk that starts from zeros."""
    one = replace(
        r,
        exponent=r.exponent[:, start:stop],
        drive=r.drive[:, start:stop],
        start=np.zeros_like(r.start),
    )
    return states(one)


def only_first(size: int) -> Wrap:
    """Return the wrap in which the initial state reaches the first chunk only."""

    def scan(function: Function, arguments: Arguments) -> Any:
        if arguments.get("initial_state") is None or tokens(arguments) <= size:
            return function(**arguments)
        near = function(**cut(arguments, 0, size))[0]
        far, state = function(**no_start(arguments))
        return np.concatenate([near, far[:, size:]], axis=1), state

    return per_sequence(scan)


def tail_dropped(size: int) -> Wrap:
    """Return the wrap that skips a partial last chunk."""

    def scan(function: Function, arguments: Arguments) -> Any:
        whole = tokens(arguments) // size * size
        y, state = function(**cut(arguments, 0, whole))
        padding = np.zeros_like(first(arguments))[:, whole:]
        return np.concatenate([y, padding], axis=1), state

    return per_sequence(scan)


def late_state(size: int) -> Wrap:
    """Return the wrap whose final state is the one that entered the last chunk."""

    def scan(function: Function, arguments: Arguments) -> Any:
        y, state = function(**arguments)
        kept = max(tokens(arguments) - 1, 0) // size * size
        if kept:
            return y, function(**cut(arguments, 0, kept))[1]
        start = arguments.get("initial_state")
        return y, zeros(state) if start is None else start

    return per_sequence(scan)


def _padded(size: int) -> Callable[[Arguments], Arguments]:
    """Return the change that fills up the last chunk with zeros in raw inputs."""

    def change(arguments: Arguments) -> Arguments:
        extra = -tokens(arguments) % size
        longer = {
            n: _extend(v, extra) for n, v in arguments.items() if has_tokens(n, v)
        }
        if (bounds := arguments.get("cu_seqlens")) is not None:
            longer["cu_seqlens"] = np.append(bounds[:-1], bounds[-1] + extra)
        return arguments | longer

    return change


def _extend(v: np.ndarray, extra: int) -> np.ndarray:
    return np.concatenate([v, np.zeros_like(v, shape=(len(v), extra, *v.shape[2:]))], 1)


def with_padding(size: int) -> Wrap:
    """Return the wrap that computes the zeros that fill up the last chunk, too."""

    def run(function: Function, arguments: Arguments) -> Any:
        y, state = function(**_padded(size)(arguments))
        return y[:, : tokens(arguments)], state

    return around(run)


def padding_counts(size: int):
    """Return the condition that zeros after the end change the state."""

    def condition(arguments: Arguments) -> bool:
        extra = -tokens(arguments) % size
        if is_step(arguments) or extra == 0:
            return False
        ones = cut(
            _padded(size)(arguments), tokens(arguments), tokens(arguments) + extra
        )
        return bool(np.any(step_sizes(ones) != 0))

    return condition


def from_chunk_start(size: int) -> Wrap:
    """Return the wrap that decays an initial state by the sequence before, too."""

    def run(function: Function, arguments: Arguments) -> Any:
        if (
            arguments.get("cu_seqlens") is None
            or arguments.get("initial_state") is None
        ):
            return function(**arguments)
        outputs, ends = [], []
        rates = step_sizes(arguments) * arguments["A"]
        for start, one in zip(
            arguments["cu_seqlens"][:-1], sequences(arguments), strict=True
        ):
            early = np.exp(rates[:, start // size * size : start].sum(axis=1))
            inside = size - int(start) % size
            y, state = function(**cut(one, 0, inside))
            if tokens(one):
                less = one["initial_state"] * early[..., None, None]
                state = function(**(cut(one, 0, inside) | {"initial_state": less}))[1]
            rest = cut(one, inside, tokens(one)) | {"initial_state": state}
            outputs += [y, function(**rest)[0]]
            ends.append(function(**rest)[1])
        return joined(outputs, first(arguments)), stacked(ends)

    return around(run)


def off_grid(size: int):
    """Return the condition that a sequence with a state begins inside a chunk."""

    def condition(arguments: Arguments) -> bool:
        bounds = arguments.get("cu_seqlens")
        if bounds is None or not has_start(arguments):
            return False
        return bool(np.any((bounds[:-1] % size != 0) & (np.diff(bounds) > 0)))

    return condition


def boundary_offset(size: int, tile: int) -> Wrap:
    """Return the wrap in which later tiles decay an initial state too little."""

    def run(function: Function, arguments: Arguments) -> Any:
        if (
            arguments.get("cu_seqlens") is None
            or arguments.get("initial_state") is None
        ):
            return function(**arguments)
        outputs, ends = [], []
        for start, one in zip(
            arguments["cu_seqlens"][:-1], sequences(arguments), strict=True
        ):
            y, state = function(**one)
            inside = min(size - int(start) % size, tokens(one))
            last = inside if start % size else 0
            for a in range(tile, last, tile):
                y[:, a : min(a + tile, last)] += _missing_decay(
                    function, one, a, min(a + tile, last)
                )
            outputs.append(y)
            ends.append(state)
        return joined(outputs, first(arguments)), stacked(ends)

    return around(run)


def _missing_decay(function: Function, one: Arguments, a: int, b: int) -> np.ndarray:
    """Return what the initial state adds to tokens a to b if it decays from a only."""

    def response(start: int) -> np.ndarray:
        piece = cut(one, start, b)
        silent = {n: v for n, v in piece.items() if n != "D"} | {"x": 0 * piece["x"]}
        return function(**silent)[0][:, a - start :]

    return response(a) - response(0)


def long_off_grid(size: int, tile: int):
    """Return the condition of `off_grid` with more tokens in the chunk than a tile."""

    def condition(arguments: Arguments) -> bool:
        bounds = arguments.get("cu_seqlens")
        if bounds is None or not has_start(arguments):
            return False
        inside = np.minimum(size - bounds[:-1] % size, np.diff(bounds))
        return bool(np.any((bounds[:-1] % size != 0) & (inside > tile)))

    return condition


def by_differences(size: int) -> Callable[[Recurrence], np.ndarray]:
    """Return how states are computed by differences of sums that a tree adds up."""

    def run(r: Recurrence) -> np.ndarray:
        h, start = np.empty_like(r.drive), r.start
        for a in range(0, h.shape[1], size):
            sums = _tree_sums(r.exponent[:, a : a + size])
            later = np.tri(sums.shape[1], dtype=bool)
            with np.errstate(over="ignore", invalid="ignore"):
                spans = np.exp(sums[:, :, None] - sums[:, None])
            spans = np.where(later[..., None, None, None], spans, 0)
            with np.errstate(invalid="ignore"):
                own = np.einsum(
                    "btshpn,bshpn->bthpn", _wide(spans, r), r.drive[:, a : a + size]
                )
                h[:, a : a + size] = own + np.exp(sums) * start[:, None]
            start = h[:, min(a + size, h.shape[1]) - 1]
        return h

    return run


def _wide(spans: np.ndarray, r: Recurrence) -> np.ndarray:
    return np.broadcast_to(spans, (*spans.shape[:3], *r.drive.shape[2:]))


def _tree_sums(a: np.ndarray) -> np.ndarray:
    """Return sums along time by doubling, as parallel hardware adds."""
    distance, a = 1, a.copy()
    while distance < a.shape[1]:
        a[:, distance:] = a[:, distance:] + a[:, :-distance]
        distance *= 2
    return a


def rounding(dtype: type) -> Callable[[Any], Any]:
    """Return a change of states: rounded to a lower dtype."""
    return lambda state: map_state(lambda s: through(dtype, s), state)


def state_for_chunk(arguments: Arguments, size: int = 64) -> Arguments:
    """Load only as many tokens of each chunk as the state is wide."""
    B = arguments["B"].copy()
    B[:, np.arange(B.shape[1]) % size >= B.shape[-1]] = 0
    return arguments | {"B": B}


def wrapped(arguments: Arguments, modulus: int = 1024) -> Arguments:
    """Read x at offsets that wrap around."""
    x = arguments["x"]
    offsets = np.arange(x.size) % modulus
    return arguments | {"x": x.reshape(-1)[offsets].reshape(x.shape)}


def first_mask(arguments: Arguments, size: int = 64) -> Arguments:
    """Use which tokens of the first segment are padding (dt = 0) in all segments."""
    dt = arguments["dt"].copy()
    padding = np.all(dt[:, :size] == 0, axis=-1)
    for a in range(size, dt.shape[1], size):
        dt[:, a : a + size][padding[:, : dt.shape[1] - a]] = 0
    return arguments | {"dt": dt}


def has_pauses(arguments: Arguments) -> bool:
    """Return whether a token of the first segment is masked: dt = 0 in all heads."""
    return bool(np.any(np.all(arguments["dt"][:, :64] == 0, axis=-1)))


def steep(arguments: Arguments) -> bool:
    """Return whether exponents are so large that differences may lose all digits."""
    dt, A = step_sizes(arguments), arguments["A"]
    return bool(dt.size) and float(np.max(dt) * np.max(np.abs(A))) > 1.0
