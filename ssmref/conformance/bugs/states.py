"""Bugs of the states that come in and go out, of packs and of slots."""

from typing import Any

import numpy as np

from .bug import Arguments, Bug, Function, Wrap, around, before, on_state, on_y
from .drive import MAMBA3, SCANS, SELECTIVE
from .tokens import cut, first, is_step, joined, map_state, sequences, stacked, tokens
from .when import any_token, both, either, has_start, longer_than, packed, several_rows

TILEOPS = "https://github.com/tile-ai/TileOPs"
CONV = ("layers.causal_conv1d", "layers.causal_conv1d_step")
DIAGONAL = ("s4.s4", "s4.s4_step", "s4d.s4d", "s4d.s4d_step", "s5.s5", "s5.s5_step")
H3 = ("h3.h3", "h3.h3_step")
STATEFUL = (*SELECTIVE, *CONV, *DIAGONAL, *H3)
SEQUENCES = tuple(op for op in STATEFUL if not op.endswith("_step"))
STEPS = tuple(op for op in STATEFUL if op.endswith("_step"))


def zeros(state: Any) -> Any:
    """Return a state of zeros."""
    return map_state(np.zeros_like, state)


def no_start(arguments: Arguments) -> Arguments:
    """Return the arguments with a state of zeros, or without one."""
    if is_step(arguments):
        return arguments | {"state": zeros(arguments["state"])}
    return {n: v for n, v in arguments.items() if n != "initial_state"}


def _unused_slots_kept(function: Function, arguments: Arguments) -> Any:
    y, state = function(**no_start(arguments))
    slots = arguments.get("slots")
    if slots is None:
        return y, state
    used = slots[slots >= 0]

    def restore(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        kept = old.astype(new.dtype)
        kept[used] = new[used]
        return kept

    return y, map_state(restore, arguments["state"], state)


def _first_row(state: Any) -> Any:
    return map_state(lambda s: np.broadcast_to(s[:1], s.shape).copy(), state)


def start_of(arguments: Arguments, like: Any) -> Any:
    """Return the state that comes in; zeros `like` it where there is none."""
    start = arguments.get("state" if is_step(arguments) else "initial_state")
    return zeros(like) if start is None else start


def _stale(state: Any, arguments: Arguments) -> Any:
    start = start_of(arguments, state)
    return map_state(lambda new, old: old.astype(new.dtype), state, start)


def _one_token_early(function: Function, arguments: Arguments) -> Any:
    y, state = function(**arguments)
    states = []
    for i, one in enumerate(sequences(arguments)):
        last = tokens(one) - 1
        whole = arguments.get("cu_seqlens") is None
        own = state if whole else map_state(lambda s, i=i: s[i : i + 1], state)
        states.append(
            function(**cut(one, 0, last))[1] if last > 0 else _stale(own, one)
        )
    return y, stacked(states)


def _running_on(function: Function, arguments: Arguments) -> Any:
    """Run a pack as one sequence; its states are those at the boundaries."""
    if arguments.get("cu_seqlens") is None:
        return function(**arguments)
    outputs, states, now = [], [], None
    for one in sequences(arguments):
        y, now = function(**(one if now is None else one | {"initial_state": now}))
        outputs.append(y)
        states.append(now)
    return joined(outputs, first(arguments)), stacked(states)


def _same_start(arguments: Arguments) -> Arguments:
    if arguments.get("initial_state") is None:
        return arguments
    return arguments | {"initial_state": _first_row(arguments["initial_state"])}


def _own_slots(arguments: Arguments) -> Arguments:
    slots = arguments.get("slots")
    if slots is None:
        return arguments
    rows = np.arange(len(slots))
    return arguments | {"slots": np.where(slots < 0, slots, rows)}


def _wrapping(arguments: Arguments) -> Arguments:
    """Index the pool by a negative slot as Python does: from its end."""
    slots, state = arguments.get("slots"), arguments["state"]
    if slots is None:
        return arguments
    pool = len(state[0] if isinstance(state, tuple) else state)
    free = [i for i in reversed(range(pool)) if i not in slots]
    padding = np.flatnonzero(slots < 0)[: len(free)]
    wrapped = slots.copy()
    wrapped[padding] = free[: len(padding)]
    return arguments | {"slots": wrapped}


def _garbage(y: np.ndarray, arguments: Arguments) -> np.ndarray:
    if arguments.get("slots") is None:
        return y
    y = y.copy()
    y[arguments["slots"] < 0] = np.nan
    return y


def has_padding(arguments: Arguments) -> bool:
    """Return whether some row of a step is padding."""
    return arguments.get("slots") is not None and bool(np.any(arguments["slots"] < 0))


def _moved(arguments: Arguments) -> bool:
    slots = arguments.get("slots")
    return slots is not None and bool(
        np.any(slots[slots >= 0] != np.flatnonzero(slots >= 0))
    )


def transposed(state: np.ndarray) -> np.ndarray:
    """Return the last two axes in the other order of memory, in the same shape."""
    return np.swapaxes(state, -1, -2).reshape(state.shape)


def _transposed_ssm(state: Any, _: Arguments) -> Any:
    if hasattr(state, "ssm"):
        return state._replace(ssm=transposed(state.ssm))
    return transposed(state)


def part_dropped(*parts: str) -> Wrap:
    """Return the wrap that zeroes parts of a state that comes in."""

    def change(arguments: Arguments) -> Arguments:
        name = "state" if is_step(arguments) else "initial_state"
        state = arguments.get(name)
        if state is None:
            return arguments
        dropped = {part: np.zeros_like(getattr(state, part)) for part in parts}
        return arguments | {name: state._replace(**dropped)}

    return before(change)


def _truncated(function: Function, arguments: Arguments, window: int = 64) -> Any:
    """Run each block of `window` tokens from zero, one block earlier."""
    outputs, states = [], []
    for one in sequences(arguments):
        length, y, state = tokens(one), [], None
        for start in range(0, length, window):
            begin = max(start - window, 0)
            piece = cut(one, begin, start + window)
            piece = piece if begin == 0 else no_start(piece)
            part, state = function(**piece)
            y.append(part[:, start - begin :])
        if state is None:
            part, state = function(**one)
            y = [part]
        outputs += y
        states.append(state)
    return joined(outputs, first(arguments)), stacked(states)


STATES = (
    Bug(
        "initial-state-ignored",
        STATEFUL,
        "The state that comes in is ignored: every sequence starts from zeros.",
        "Start from initial_state (the step: from its cache) where one is given.",
        "a state that comes in",
        has_start,
        around(_unused_slots_kept),
        (f"{TILEOPS}/pull/1557", f"{TILEOPS}/pull/1118"),
        ("ssd-init-flag-drop",),
    ),
    Bug(
        "initial-state-first-row",
        SEQUENCES,
        "All rows start from the first row of the initial state.",
        "Row i of the initial state starts row, or packed sequence, i.",
        "several initial states",
        both(has_start, several_rows),
        before(_same_start),
    ),
    Bug(
        "final-state-stale",
        STATEFUL,
        "The state that is returned is the one that came in.",
        "Return, or store, the state after the last token.",
        "any token",
        any_token,
        on_state(_stale),
    ),
    Bug(
        "final-state-one-token-early",
        SEQUENCES,
        "The final state lacks the last token.",
        "Return the state after the last token of each sequence.",
        "any token",
        any_token,
        around(_one_token_early),
    ),
    Bug(
        "packing-ignored",
        SEQUENCES,
        "A pack is run as one sequence: states pass over its boundaries.",
        "Start anew at every entry of cu_seqlens.",
        "packed sequences",
        packed,
        around(_running_on),
        ("https://github.com/state-spaces/mamba/commit/8ffd905",),
        ("conv-varlen-no-reset",),
    ),
    Bug(
        "slots-ignored",
        STEPS,
        "Row i uses slot i of the cache, whatever slots says.",
        "Read and write row slots[i] of the cache.",
        "slots in another order than rows",
        _moved,
        before(_own_slots),
    ),
    Bug(
        "padding-slot-used",
        STEPS,
        "A negative slot is an index from the end: padding rows compute and write.",
        "Skip rows with a negative slot: output 0, no state changes.",
        "a padding row",
        has_padding,
        before(_wrapping),
    ),
    Bug(
        "conv-pad-rows-uninit",
        STEPS,
        "The outputs of padding rows are not written and keep what memory held.",
        "Write zeros where the slot is negative.",
        "a padding row",
        has_padding,
        on_y(_garbage),
        ("https://github.com/sgl-project/sglang/pull/30974",),
        ("conv-pad-rows-uninit",),
    ),
    Bug(
        "state-transposed",
        SELECTIVE,
        "The state is returned with its last two axes in the other order of memory.",
        "Return headdim before state (channels before state in Mamba-1).",
        "any state with both axes longer than 1",
        either(any_token, has_start),
        on_state(_transposed_ssm),
    ),
    Bug(
        "history-truncated",
        SCANS,
        "Only the latest 64 to 128 tokens are remembered.",
        "Pass the state from each block of tokens to the next.",
        "more than 128 tokens",
        longer_than(128),
        around(_truncated),
    ),
    Bug(
        "state-kv-dropped",
        (*MAMBA3, "stages.siso_stages"),
        "The previous key and value of the state are taken for zeros.",
        "The first token also weighs the k and v of the state, by beta.",
        "a state that comes in",
        has_start,
        part_dropped("k", "v"),
    ),
    Bug(
        "state-angle-dropped",
        (*MAMBA3, "stages.siso_stages"),
        "Angles start from zero whatever the state says.",
        "Start the sum of angles from the angle of the state.",
        "a state that comes in",
        has_start,
        part_dropped("angle"),
    ),
)
