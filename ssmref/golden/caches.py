"""What serving does with states: pools of them, padding, rollback, snapshots."""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ._contract import at_least, checked, map_state
from ._types import Integer, Real
from .layers import causal_conv1d, causal_conv1d_step
from .mamba2 import ssd, ssd_chunked, ssd_step

Tokens = Real[np.ndarray, "batch length channels"]
StepSizes = Real[np.ndarray, "batch length heads"]
PerHead = Real[np.ndarray, " heads"]
PerRow = Integer[np.ndarray, " batch"]
Outputs = Real[np.ndarray, "batch length heads headdim"]
SSD_OPTIONS = ("D", "dt_bias", "dt_softplus", "dt_limit")


class ServeState(NamedTuple):
    """A pool of states: a slot holds what the next token of one sequence needs.

    `conv` is the last width-1 raw inputs of the convolution, oldest first.
    """

    conv: Real[np.ndarray, "slots width-1 channels"]
    ssm: Real[np.ndarray, "slots heads headdim state"]


@checked
def serve(
    xBC: Tokens,
    dt: StepSizes,
    A: PerHead,
    weight: Real[np.ndarray, "channels width"],
    read: PerRow,
    write: PerRow,
    state: ServeState,
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    D: PerHead | None = None,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    mask: Integer[np.ndarray, "batch length"] | None = None,
    accepted: PerRow | None = None,
) -> tuple[Outputs, ServeState]:
    """Run one scheduler step of a Mamba-2 layer on a pool of states.

    For each row, with its real tokens only::

        h = state[read]                           zeros where read is negative
        x, B, C = split(silu(conv1d(xBC)))        from h.conv
        y = ssd(x, dt, A, B, C, D)                from h.ssm
        final_state[write] = h after the first `accepted` tokens

    The Mamba-2 layer (arXiv 2405.21060, section 7) from the input projection to the
    norm; official ``Mamba2.forward`` and ``step``. Channels are x, B and C in this
    order; the groups of B and C follow from their number.

    `mask` is 1 where a token is real and 0 where it is padding: on the left, on the
    right or between, it is as if it were not there, and y is 0. `accepted` (all if
    None) counts the real tokens that a state keeps: those after them are rejected
    drafts, whose y is still returned. All slots are read before any is written: `read`
    may repeat (beams), and differ from `write` (a shared prefix). A negative `write`
    stores nothing; other slots stay as they are. A row without real tokens copies.

    Raises ValueError for a slot that the pool lacks, a slot written twice, a mask of
    anything but 0 and 1, more tokens accepted than are real, or channels that do not
    split.
    """
    arguments = locals()
    real, kept = _tokens(xBC, mask, accepted)
    _check_slots(read, write, len(state.ssm))
    y = np.zeros((*dt.shape, state.ssm.shape[2]), dt.dtype)
    final = map_state(np.copy, state)
    for row in range(len(xBC)):
        tokens = np.flatnonzero(real[row])
        y[row, tokens], _ = _run(arguments, row, tokens)
        _, end = _run(arguments, row, tokens[: kept[row]])
        if write[row] >= 0:
            final.conv[write[row]], final.ssm[write[row]] = end
    return y, final


@checked
def serve_stepwise(
    xBC: Tokens,
    dt: StepSizes,
    A: PerHead,
    weight: Real[np.ndarray, "channels width"],
    read: PerRow,
    write: PerRow,
    state: ServeState,
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    D: PerHead | None = None,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    mask: Integer[np.ndarray, "batch length"] | None = None,
    accepted: PerRow | None = None,
) -> tuple[Outputs, ServeState]:
    """`serve` as a loop of decoding steps over all rows at once.

    Padding is a row that takes no part in a step; a state is stored in passing.
    """
    arguments = locals()
    real, kept = _tokens(xBC, mask, accepted)
    _check_slots(read, write, len(state.ssm))
    y = np.zeros((*dt.shape, state.ssm.shape[2]), dt.dtype)
    final, now = map_state(np.copy, state), _start(state, read)
    _store(final, write, now, kept == 0)
    for t in range(xBC.shape[1]):
        slots = np.where(real[:, t], np.arange(len(xBC)), -1)
        y[:, t], now = _step(arguments, t, now, slots)
        seen = np.sum(real[:, : t + 1], axis=1)
        _store(final, write, now, real[:, t] & (seen == kept))
    return y, final


def _run(a: Mapping[str, Any], row: int, tokens: np.ndarray) -> tuple:
    """Run some tokens of a row from the slot that it reads: y and its state."""
    conv, ssm = _start(a["state"], a["read"][row : row + 1])
    xBC, conv = causal_conv1d(
        a["xBC"][row : row + 1, tokens],
        a["weight"],
        bias=a["bias"],
        activation="silu",
        initial_state=conv,
    )
    x, B, C = split(xBC, a["state"].ssm)
    options = {name: a[name] for name in SSD_OPTIONS}
    dt = a["dt"][row : row + 1, tokens]
    y, ssm = ssd(x, dt, a["A"], B, C, **options, initial_state=ssm)
    return y[0], ServeState(conv[0], ssm[0])


def _step(a: Mapping[str, Any], t: int, now: ServeState, slots: np.ndarray) -> tuple:
    """Advance the rows that have a slot by token t."""
    xBC, conv = causal_conv1d_step(
        a["xBC"][:, t],
        a["weight"],
        now.conv,
        bias=a["bias"],
        activation="silu",
        slots=slots,
    )
    x, B, C = split(xBC, now.ssm)
    options = {name: a[name] for name in SSD_OPTIONS}
    y, ssm = ssd_step(x, a["dt"][:, t], a["A"], B, C, now.ssm, **options, slots=slots)
    return y, ServeState(conv, ssm)


def split(xBC: np.ndarray, ssm: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cut channels into x, B and C, with their own axes, to fit the states `ssm`.

    Raises ValueError where the channels leave no whole number of groups.
    """
    heads, headdim, state = ssm.shape[1:]
    inner, channels = heads * headdim, xBC.shape[-1]
    groups = (channels - inner) // (2 * state)
    if groups < 1 or channels != inner + 2 * groups * state:
        raise ValueError(
            f"xBC has {channels} channels; it needs {inner} + 2 groups {state} for "
            f"{heads} heads of {headdim} and a state of {state}"
        )
    lead, end = xBC.shape[:-1], inner + groups * state
    x = xBC[..., :inner].reshape(*lead, heads, headdim)
    B = xBC[..., inner:end].reshape(*lead, groups, state)
    return x, B, xBC[..., end:].reshape(*lead, groups, state)


def _tokens(xBC, mask, accepted) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens are real and how many of them each state keeps."""
    mask = np.ones(xBC.shape[:2], int) if mask is None else mask
    if np.any((mask != 0) & (mask != 1)):
        raise ValueError(f"mask has values {np.unique(mask).tolist()}; it needs 0 or 1")
    count = np.sum(mask, axis=1)
    kept = count if accepted is None else accepted
    if np.any((kept < 0) | (kept > count)):
        raise ValueError(
            f"accepted is {kept.tolist()}; it needs to be within 0 and the numbers of "
            f"real tokens {count.tolist()}"
        )
    return mask == 1, kept


def _check_slots(read: np.ndarray, write: np.ndarray, slots: int) -> None:
    for name, rows in (("read", read), ("write", write)):
        if np.any(rows >= slots):
            raise ValueError(f"{name} is {rows.tolist()}; the state has {slots} slots")
    live = write[write >= 0]
    if len(np.unique(live)) != len(live):
        raise ValueError(f"write is {write.tolist()}; a slot may occur only once")


def _start(state: ServeState, read: np.ndarray) -> ServeState:
    """Return a copy of the slots that rows read: zeros where negative."""

    def rows(part: np.ndarray) -> np.ndarray:
        start = np.zeros((len(read), *part.shape[1:]), part.dtype)
        start[read >= 0] = part[read[read >= 0]]
        return start

    return map_state(rows, state)


def _store(
    final: ServeState, write: np.ndarray, now: ServeState, done: np.ndarray
) -> None:
    live = np.flatnonzero(done & (write >= 0))
    for part, new in zip(final, now, strict=True):
        part[write[live]] = new[live]


@checked
def snapshots(
    x: Real[np.ndarray, "batch length heads headdim"],
    dt: StepSizes,
    A: PerHead,
    B: Real[np.ndarray, "batch length groups state"],
    cu_seqlens: Integer[np.ndarray, " bounds"],
    position: Integer[np.ndarray, " sequences"],
    *,
    block: int,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: Real[np.ndarray, "sequences heads headdim state"] | None = None,
) -> Real[np.ndarray, "snapshots heads headdim state"]:
    """Return the states of packed sequences at every block boundary that they pass.

    ::

        h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t]^T       within each sequence
        a snapshot wherever (position + number of tokens so far) mod block = 0

    What prefix caching stores: `position` counts the tokens that a sequence has seen
    before these, so that boundaries are absolute, whatever the chunks of a kernel or
    the steps of a scheduler. A sequence that starts at a boundary does not repeat it.
    Snapshots come sequence by sequence, early ones first; there may be none.

    The recurrence of `ssd` (arXiv 2405.21060, definition 3.1). Official
    ``chunk_state_varlen`` returns last states only.

    Raises ValueError for a block below 1 or a negative position.
    """
    arguments, found = locals(), []
    start = _initial(arguments)
    for row, first, stops in _boundaries(cu_seqlens, position, block):
        h = start[row : row + 1]
        found += [_advance(ssd, arguments, h, first, stop) for stop in stops]
    return np.concatenate([start[:0], *found])


@checked
def snapshots_blockwise(
    x: Real[np.ndarray, "batch length heads headdim"],
    dt: StepSizes,
    A: PerHead,
    B: Real[np.ndarray, "batch length groups state"],
    cu_seqlens: Integer[np.ndarray, " bounds"],
    position: Integer[np.ndarray, " sequences"],
    *,
    block: int,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: Real[np.ndarray, "sequences heads headdim state"] | None = None,
) -> Real[np.ndarray, "snapshots heads headdim state"]:
    """`snapshots` by runs from boundary to boundary, in the chunked form of SSD."""
    arguments, found = locals(), []
    start = _initial(arguments)
    for row, first, stops in _boundaries(cu_seqlens, position, block):
        h = start[row : row + 1]
        for stop in stops:
            h = _advance(ssd_chunked, arguments, h, first, stop)
            found.append(h)
            first = stop
    return np.concatenate([start[:0], *found])


def _boundaries(
    cu_seqlens: np.ndarray, position: np.ndarray, block: int
) -> Iterator[tuple[int, int, list[int]]]:
    """Yield each sequence, where it begins and the ends of blocks that it passes."""
    at_least("block", block, 1)
    at_least("position", min(position.tolist(), default=0), 0)
    for row, (first, last) in enumerate(pairwise(cu_seqlens.tolist())):
        seen = int(position[row]) - first
        stops = range(first + 1, last + 1)
        yield row, first, [stop for stop in stops if (seen + stop) % block == 0]


def _initial(a: Mapping[str, Any]) -> np.ndarray:
    if a["initial_state"] is not None:
        return a["initial_state"]
    shape = (len(a["position"]), *a["x"].shape[2:], a["B"].shape[-1])
    return np.zeros(shape, a["x"].dtype)


def _advance(
    form: Callable, a: Mapping[str, Any], h: np.ndarray, first: int, stop: int
) -> np.ndarray:
    """Return the state after the tokens from `first` to `stop`, from h before them."""
    x, dt, B = (a[name][:, first:stop] for name in ("x", "dt", "B"))
    options = {name: a[name] for name in SSD_OPTIONS if name != "D"}
    # Outputs are not asked for: any C will do.
    _, h = form(x, dt, a["A"], B, B, initial_state=h, **options)
    return h
