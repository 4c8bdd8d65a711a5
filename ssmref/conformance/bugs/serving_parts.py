"""How serving goes wrong: the wraps and conditions of `serving`."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...golden.layers import causal_conv1d
from .bug import Arguments, Function, around
from .recurrence import step_sizes
from .when import Condition

# Suffixes shorter than this are not tracked by a snapshot.
TRACKED = 64


def real(a: Arguments) -> np.ndarray:
    """Return which tokens are no padding."""
    mask = a.get("mask")
    return np.ones(a["xBC"].shape[:2], bool) if mask is None else mask == 1


def kept(a: Arguments) -> np.ndarray:
    """Return how many real tokens the state of each row keeps."""
    return real(a).sum(axis=1) if a.get("accepted") is None else a["accepted"]


def reach(a: Arguments) -> int:
    """Return how many inputs the state of the convolution holds."""
    return a["weight"].shape[1] - 1


def left(a: Arguments) -> np.ndarray:
    """Return which tokens are padding before the first real one of their row."""
    return ~np.logical_or.accumulate(real(a), axis=1)


def right(a: Arguments) -> np.ndarray:
    """Return which tokens are padding after the last real one of their row."""
    return ~np.logical_or.accumulate(real(a)[:, ::-1], axis=1)[:, ::-1]


def writing(a: Arguments) -> np.ndarray:
    """Return the rows that store a state."""
    return np.flatnonzero(a["write"] >= 0)


def windows(a: Arguments, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows with the window of the convolution that they start from."""
    for row in rows.tolist():
        slot = a["read"][row]
        conv = a["state"].conv
        yield row, (conv[slot] if slot >= 0 else np.zeros_like(conv[0]))


def rows_of(a: Arguments, row: int) -> Arguments:
    """Return the arguments of one row."""
    per_row = ("xBC", "dt", "read", "write", "mask", "accepted")
    given = [name for name in per_row if a.get(name) is not None]
    return a | {name: a[name][row : row + 1] for name in given}


def outputs_stored(function: Function, a: Arguments) -> Any:
    """Store outputs of the convolution instead of its inputs."""
    y, final = function(**a)
    for row, start in windows(a, writing(a)):
        chosen = np.flatnonzero(real(a)[row])[: kept(a)[row]]
        outputs, _ = causal_conv1d(
            a["xBC"][row : row + 1, chosen],
            a["weight"],
            bias=a.get("bias"),
            activation="silu",
            initial_state=start[None],
        )
        held = np.concatenate([start, outputs[0]])
        final.conv[a["write"][row]] = held[len(held) - reach(a) :]
    return y, final


def short_to_read_slot(function: Function, a: Arguments) -> Any:
    """Write the window of short rows to the slot that they read."""
    y, final = function(**a)
    new = final.conv.copy()
    for row in writing(a).tolist():
        source, target = a["read"][row], a["write"][row]
        if source >= 0 and source != target and kept(a)[row] < reach(a):
            final.conv[target] = a["state"].conv[target]
            final.conv[source] = new[target]
    return y, final


def short_elsewhere(a: Arguments) -> bool:
    """Return whether a row with few tokens writes another slot than it reads."""
    apart = (a["read"] >= 0) & (a["write"] >= 0) & (a["read"] != a["write"])
    return bool(np.any(apart & (kept(a) < reach(a))))


def not_rolled_back(*parts: str):
    """Return the run in which these parts of a state keep rejected tokens."""

    def run(function: Function, a: Arguments) -> Any:
        y, final = function(**a)
        advanced = function(**{n: v for n, v in a.items() if n != "accepted"})[1]
        return y, final._replace(**{p: getattr(advanced, p) for p in parts})

    return around(run)


def rejects(a: Arguments) -> bool:
    """Return whether some row that stores a state has rejected tokens."""
    rejected = kept(a) < real(a).sum(axis=1)
    return bool(np.any(rejected & (a["write"] >= 0)))


def several_from_state(a: Arguments) -> np.ndarray:
    """Return which rows have several tokens after a state."""
    return (a["read"] >= 0) & (real(a).sum(axis=1) > 1)


def first_token_only(function: Function, a: Arguments) -> Any:
    """Take in the first token of rows with a state; repeat its output."""
    mask, several = real(a), several_from_state(a)
    single = mask & (np.cumsum(mask, axis=1) == 1)
    one = a | {"mask": np.where(several[:, None], single, mask).astype(int)}
    if a.get("accepted") is not None:
        one["accepted"] = np.where(several, np.minimum(kept(a), 1), kept(a))
    y, final = function(**one)
    for row in np.flatnonzero(several).tolist():
        y[row, mask[row]] = y[row, single[row]]
    return y, final


def padded_end(function: Function, a: Arguments) -> Any:
    """Let padding on the right decay the state and enter the window."""
    y, final = function(**a)
    if a.get("accepted") is not None:
        return y, final
    after = right(a)
    steps = np.where(after[..., None], step_sizes(a), 0).sum(axis=1)
    for row, start in windows(a, writing(a)):
        slot = a["write"][row]
        if after[row].any():
            xBC = np.where(real(a)[row, :, None], a["xBC"][row], 0)
            held = np.concatenate([start, xBC])
            final.conv[slot] = held[len(held) - reach(a) :]
            final.ssm[slot] *= np.exp(steps[row] * a["A"])[:, None, None]
    return y, final


def right_padded(a: Arguments) -> bool:
    """Return whether a row that stores a state ends in padding."""
    stored = right(a)[writing(a)]
    return a.get("accepted") is None and bool(stored.any())


def masked_before_only(function: Function, a: Arguments) -> Any:
    """Zero padding on the left, then treat it as tokens."""
    padding = left(a) & ~right(a)
    xBC = np.where(padding[..., None], 0, a["xBC"])
    one = a | {"xBC": xBC, "mask": (real(a) | padding).astype(int)}
    if a.get("accepted") is not None:
        one["accepted"] = a["accepted"] + padding.sum(axis=1)
    y, final = function(**one)
    return np.where(real(a)[..., None, None], y, 0), final


def left_padding_counts(a: Arguments) -> bool:
    """Return whether zeroed padding on the left changes anything."""
    padded = (left(a) & ~right(a)).any(axis=1)
    return bool(np.any(padded & ((a["read"] >= 0) | (a.get("bias") is not None))))


def own_parent(a: Arguments) -> Arguments:
    """Read the slot that is written."""
    stays = (a["read"] >= 0) & (a["write"] >= 0)
    return a | {"read": np.where(stays, a["write"], a["read"])}


def elsewhere(a: Arguments) -> bool:
    """Return whether some row reads another slot than it writes."""
    pairs = (a["read"] >= 0) & (a["write"] >= 0)
    return bool(np.any(pairs & (a["read"] != a["write"])))


def untracked(a: Arguments) -> np.ndarray:
    """Return which rows have a state and too few tokens for a snapshot."""
    short = (a["read"] >= 0) & (real(a).sum(axis=1) < TRACKED)
    return short & (a["xBC"].shape[1] > 1)


def gated_start(a: Arguments) -> Arguments:
    """Start rows from zeros where no snapshot is taken."""
    return a | {"read": np.where(untracked(a), -1, a["read"])}


def half_slot(a: Arguments) -> Arguments:
    """Count slots in blocks of twice the size."""
    return a | {"read": np.where(a["read"] > 0, a["read"] // 2, a["read"])}


def single_then_padding(a: Arguments) -> np.ndarray:
    """Return which rows store a state after one token and padding."""
    one = real(a).sum(axis=1) == 1
    return one & right(a).any(axis=1) & (a["write"] >= 0)


def placeholders_stored(function: Function, a: Arguments) -> Any:
    """Store the state after the padding behind a single token."""
    y, final = function(**a)
    tail = single_then_padding(a)[:, None] & right(a)
    mask = (real(a) | tail).astype(int)
    if a.get("accepted") is not None:
        return y, final
    return y, function(**(a | {"mask": mask}))[1]


def slice_misplaced(function: Function, a: Arguments) -> Any:
    """Write the upper half of heads half a state further on in the pool."""
    y, final = function(**a)
    heads = final.ssm.shape[1]
    if heads == 1:
        return y, final
    old, flat = a["state"].ssm, final.ssm.copy().reshape(-1, *final.ssm.shape[2:])
    upper = np.arange(heads // 2, heads)
    for slot in a["write"][writing(a)].tolist():
        flat[slot * heads + upper] = old[slot, upper]
    for slot in a["write"][writing(a)].tolist():
        target = slot * heads + upper + (heads - heads // 2)
        inside = target < len(flat)
        flat[target[inside]] = final.ssm[slot, upper[inside]]
    return y, final._replace(ssm=flat.reshape(final.ssm.shape))


def shifted_rows(a: Arguments) -> Arguments:
    """Read row b of single tokens b elements too far."""
    xBC = a["xBC"]
    if xBC.shape[1] != 1:
        return a
    flat, (batch, _, channels) = xBC.reshape(-1), xBC.shape
    rows = [
        np.take(flat, b * (channels + 1) + np.arange(channels), mode="clip")
        for b in range(batch)
    ]
    return a | {"xBC": np.stack(rows)[:, None]}


def shared_slot(function: Function, a: Arguments) -> Any:
    """Let all rows write the slot of the first."""
    y, final = function(**a)
    slots = a["write"][writing(a)]
    if len(slots) < 2:
        return y, final
    result = tuple(part.copy() for part in final)
    for part, new, old in zip(result, final, a["state"], strict=True):
        part[slots[0]] = new[slots[-1]]
        part[slots[1:]] = old[slots[1:]]
    return y, type(final)(*result)


def row_by_row(function: Function, a: Arguments) -> Any:
    """Let each row see what earlier rows have written."""
    outputs, state = [], a["state"]
    for row in range(len(a["xBC"])):
        y, state = function(**(rows_of(a, row) | {"state": state}))
        outputs.append(y)
    return np.concatenate(outputs), state


def reads_written(a: Arguments) -> bool:
    """Return whether a row reads a slot that an earlier row writes."""
    write, read = a["write"].tolist(), a["read"].tolist()
    return any(s >= 0 and s in write[:row] for row, s in enumerate(read))


def in_place(function: Function, a: Arguments) -> Any:
    """Write each row's state to the slot that it read."""
    outputs, state = [], a["state"]
    y, _ = function(**a)
    for row in range(len(a["xBC"])):
        one = rows_of(a, row)
        if one["read"][0] >= 0 and one["write"][0] >= 0:
            one["write"] = one["read"]
        _, new = function(**(one | {"state": a["state"]}))
        outputs.append((one["write"][0], new))
    final = type(state)(*(part.copy() for part in state))
    for slot, new in outputs:
        for part, value in zip(final, new, strict=True):
            if slot >= 0:
                part[slot] = value[slot]
    return y, final


def wrapping_read(a: Arguments) -> Arguments:
    """Take negative slots for indices from the end."""
    return a | {"read": a["read"] % len(a["state"].ssm)}


def other_order(a: Arguments) -> Arguments:
    """Take the channels in the order B, C, x."""
    heads, headdim = a["state"].ssm.shape[1:3]
    inner = heads * headdim
    order = np.roll(np.arange(a["xBC"].shape[-1]), inner)
    bias = {} if a.get("bias") is None else {"bias": a["bias"][order]}
    return a | {"xBC": a["xBC"][..., order], "weight": a["weight"][order]} | bias


def has_tokens(a: Arguments) -> bool:
    """Return whether some token is real."""
    return bool(real(a).any())


def any_row(test) -> Condition:
    """Return the condition that a test of rows holds for one."""
    return lambda a: bool(np.any(test(a)))
