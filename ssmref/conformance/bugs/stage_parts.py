"""The stages of chunked algorithms, laid open for bugs that sit in one of them.

What follows a wrong stage is computed from it, as in a kernel.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...golden._mamba3_parts import Mamba3State, outer, plus, rotate, start_siso
from ...golden.layers import pi, sigmoid
from ...golden.mamba2 import _in_chunks as in_chunks
from ...golden.scan import linear_scan
from ...golden.stages import ScanStages, SisoStages, SSDStages
from .bug import Arguments, Wrap, instead
from .recurrence import per_head, step_sizes
from .tokens import tokens
from .trapezoid import last, rates

Change = Callable[[np.ndarray], np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]


def longer_than_a_chunk(arguments: Arguments) -> bool:
    """Return whether a state passes from one chunk to the next."""
    return tokens(arguments) > arguments["chunk_size"]


def several_in_a_chunk(arguments: Arguments) -> bool:
    """Return whether some chunk has more than one token."""
    return min(tokens(arguments), arguments["chunk_size"]) > 1


# SSD. Step sizes and their sums are (batch, heads, chunks, chunk).


def heads_first(dt: np.ndarray, size: int) -> np.ndarray:
    """Return what is per token and head in chunks, heads before them."""
    return np.moveaxis(in_chunks(dt, size), 3, 1)


def steps(a: Arguments) -> np.ndarray:
    """Return the step sizes in chunks, 0 beyond the end."""
    return heads_first(step_sizes(a), a["chunk_size"])


def filled_steps(a: Arguments) -> np.ndarray:
    """Return the step sizes of raw zeros beyond the end, too."""
    raw = in_chunks(a["dt"], a["chunk_size"])
    flat = raw.reshape(len(raw), -1, raw.shape[3])
    return heads_first(step_sizes(a | {"dt": flat}), a["chunk_size"])


def inclusive(exponents: np.ndarray) -> np.ndarray:
    """Return the sums of exponents within chunks, each with its own token."""
    return np.cumsum(exponents, axis=-1)


def exclusive(exponents: np.ndarray) -> np.ndarray:
    """Return the sums without their own tokens."""
    return np.cumsum(exponents, axis=-1) - exponents


def running_on(exponents: np.ndarray) -> np.ndarray:
    """Return the sums from the first token of all, not of the chunk."""
    flat = exponents.reshape(*exponents.shape[:2], -1)
    return np.cumsum(flat, axis=-1).reshape(exponents.shape)


def to_the_end(dt: np.ndarray, log_decay: np.ndarray) -> np.ndarray:
    """Return what is left of each token at the end of its chunk."""
    return np.exp(log_decay[..., -1:] - log_decay) * dt


def carried(kept: np.ndarray, own: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the states at all boundaries of chunks, the initial one first."""
    kept = np.broadcast_to(kept, own.shape)
    after = linear_scan(kept, own, initial_state=start)
    return np.concatenate([start[:, None], after], axis=1)


def carried_late(kept: np.ndarray, own: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the state after each chunk where that before it is meant."""
    states = carried(kept, own, start)
    return np.concatenate([states[:, 1:], states[:, -1:]], axis=1)


def carried_rounded(change: Change) -> Callable[..., np.ndarray]:
    """Return how states are passed on if each is rounded in between."""

    def passed(kept: np.ndarray, own: np.ndarray, start: np.ndarray) -> np.ndarray:
        states = [start]
        for c in range(own.shape[1]):
            states.append(change(kept[:, c] * states[-1] + own[:, c]))
        return np.stack(states, axis=1)

    return passed


def summed_over_targets(kept, own: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return states that are rescaled by the sum of decays to all later chunks."""
    states = np.concatenate([start[:, None], own], axis=1)
    share = np.ones_like(start)
    for c in reversed(range(own.shape[1])):
        states[:, c + 1] *= share
        share = 1 + kept[:, c] * share
    states[:, 0] *= share
    return states


def chunked(
    steps: Callable[[Arguments], np.ndarray] = steps,
    sums: Change = inclusive,
    weights: Callable[..., np.ndarray] = to_the_end,
    passed: Callable[..., np.ndarray] = carried,
) -> Wrap:
    """Return the wrap that computes the stages of SSD with one of them replaced."""

    def stages(**a: Any) -> SSDStages:
        dt = steps(a)
        log_decay = sums(dt * a["A"][:, None, None])
        x, B, C = (
            in_chunks(v, a["chunk_size"])
            for v in (a["x"], per_head(a, "B"), per_head(a, "C"))
        )
        own = np.einsum("bhcs,bcshp,bcshn->bchpn", weights(dt, log_decay), x, B)
        kept = np.swapaxes(np.exp(log_decay[..., -1]), 1, 2)[..., None, None]
        start = a.get("initial_state")
        if start is None:
            start = np.zeros((len(x), *own.shape[2:]), own.dtype)
        states = passed(kept, own, start)
        y = _within(dt, log_decay, x, B, C)
        y += np.einsum("bhcl,bclhn,bchpn->bclhp", np.exp(log_decay), C, states[:, :-1])
        y = y.reshape(len(y), -1, *y.shape[3:])[:, : a["x"].shape[1]]
        return SSDStages(dt, log_decay, own, states[:, :-1], y, states[:, -1])

    return instead(stages)


def _within(dt, log_decay, x, B, C) -> np.ndarray:
    """Return what the tokens of a chunk add to its outputs."""
    spans = log_decay[..., :, None] - log_decay[..., None, :]
    later = np.tri(spans.shape[-1], dtype=bool)
    masked = np.exp(np.where(later, spans, -np.inf)) * dt[..., None, :]
    return np.einsum("bclhn,bcshn,bhcls,bcshp->bclhp", C, B, masked, x, optimize=True)


# The selective scan.


def discretised(a: Arguments, dt: np.ndarray) -> Pair:
    """Return decay and drive of every token, channel and state."""
    drive = (dt * a["u"])[..., None] * per_head(a, "B")
    return np.exp(dt[..., None] * a["A"]), drive


def after_each(decay: np.ndarray, drive: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the state after each token."""
    return linear_scan(decay, drive, initial_state=start)


def scanned(
    change: Callable[..., Pair] = lambda decay, drive, *_: (decay, drive),
    run: Callable[..., np.ndarray] = after_each,
    seen: Callable[..., np.ndarray] = lambda states, _: states,
) -> Wrap:
    """Return the wrap that computes the stages of the scan with one replaced."""

    def stages(**a: Any) -> ScanStages:
        dt, start = step_sizes(a), a.get("initial_state")
        decay, drive = change(*discretised(a, dt), dt, a)
        decay, drive = (v.astype(dt.dtype) for v in (decay, drive))
        if start is None:
            start = np.zeros((len(dt), *decay.shape[2:]), dt.dtype)
        states = run(decay, drive, start)
        shown = seen(states, start)
        y = np.einsum("btdn,btdn->btd", per_head(a, "C"), shown)
        return ScanStages(dt, decay, drive, shown, y, last(start, states))

    return instead(stages)


def before_each(states: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the state before each token."""
    return np.concatenate([start[:, None], states], axis=1)[:, :-1]


# Mamba-3. What is per token and head is (batch, length, heads) here.


def sigmoids(a: Arguments) -> Pair:
    """Return the weight of a token for itself and that of the token before."""
    weight = sigmoid(a["trap"])
    return weight * a["dt"], (1 - weight) * a["dt"]


def following(early: np.ndarray, size: int) -> np.ndarray:
    """Return what the token after each gives it; 0 after the last."""
    del size
    return np.pad(early, ((0, 0), (0, 1), (0, 0)))[:, 1:]


def following_in_chunk(early: np.ndarray, size: int) -> np.ndarray:
    """Return what the token after each gives it if both are in one chunk."""
    gives = following(early, size)
    gives[:, size - 1 :: size] = 0
    return gives


def sums_in_chunks(sums: Change, exponents: np.ndarray, size: int) -> np.ndarray:
    """Return sums of exponents, heads before tokens."""
    found = sums(heads_first(exponents, size))
    return found.reshape(*found.shape[:2], -1)[..., : exponents.shape[1]]


def decays(log_decay: np.ndarray, size: int) -> np.ndarray:
    """Return the decay of each token from the sums within chunks."""
    first = np.arange(log_decay.shape[2]) % size == 0
    before = np.where(first, 0, np.roll(log_decay, 1, axis=2))
    return np.swapaxes(np.exp(log_decay - before), 1, 2)


def trapezoidal(
    turns: Callable[[Arguments], np.ndarray] = rates,
    gives: Callable[..., np.ndarray] = following,
    rotate: Callable[..., np.ndarray] = lambda X, b, *how: rotate(plus(X, b), *how),
    sums: Change = inclusive,
    scaled: Callable[..., np.ndarray] = lambda k, scale: scale[..., None] * k,
) -> Wrap:
    """Return the wrap that computes the stages of SISO with one of them replaced."""

    def stages(**a: Any) -> SisoStages:
        size, x, dt = a["chunk_size"], a["x"], a["dt"]
        pairing, state = a.get("pairing", "pairwise"), a.get("initial_state")
        angle, h, k0, v0 = start_siso(state, x, a["angles"], a["B"].shape[-1])
        turn, (gamma, early) = turns(a), sigmoids(a)
        theta = angle[:, None] + np.cumsum(turn, axis=1)
        q, k = (
            rotate(per_head(a, n), a.get(f"{n}_bias"), theta, pairing) for n in "CB"
        )
        scale = gamma + gives(early, size)
        keys = scaled(k, scale)
        log_decay = sums_in_chunks(sums, a["A"] * dt, size)
        kept = decays(log_decay, size)[..., None, None]
        h = h + np.einsum("bth,bhp,bhn->bhpn", early[:, :1], v0, k0)
        drive = outer(x, keys)
        after = linear_scan(np.broadcast_to(kept, drive.shape), drive, initial_state=h)
        before = before_each(after, h)
        y = np.einsum("bthpn,bthn->bthp", kept * before, q)
        y += (gamma * np.einsum("bthn,bthn->bth", q, k))[..., None] * x
        final = Mamba3State(
            last(angle, theta) % (2 * pi(x.dtype)),
            last(h, after),
            last(k0, k)[:, None],
            last(v0, x),
        )
        gamma, scale = (np.swapaxes(v, 1, 2) for v in (gamma, scale))
        entering = before[:, ::size]
        return SisoStages(turn, gamma, scale, q, keys, log_decay, entering, y, final)

    return instead(stages)
