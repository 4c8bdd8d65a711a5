"""What every sequence op obeys, whatever it computes: asserted for any op and call.

A call is a dict of arguments; `inputs` names those that have a time axis (axis 1).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .compare import assert_close
from .exact import cast

Call = dict[str, Any]


def each(function: Callable, state: Any, *others: Any) -> Any:
    """Apply `function` to an array, or to each array of a named tuple."""
    if isinstance(state, tuple):
        return type(state)(*map(function, state, *others))
    return function(state, *others)


def part(call: Call, inputs: Sequence[str], start: int, stop: int | None) -> Call:
    """Return the call on the tokens from `start` to `stop`."""
    return {**call, **{name: call[name][:, start:stop] for name in inputs}}


def assert_split(op: Callable, call: Call, inputs: Sequence[str], at: int) -> None:
    """Two parts with the state carried over are the whole."""
    __tracebackhide__ = True
    y_first, state = op(**part(call, inputs, 0, at))
    second = {**part(call, inputs, at, None), "initial_state": state}
    y_second, state = op(**second)
    assert_close((np.concatenate([y_first, y_second], axis=1), state), op(**call))


def assert_steps(
    op: Callable, step: Callable, call: Call, inputs: Sequence[str]
) -> None:
    """A loop of steps from the initial state is the sequence op."""
    __tracebackhide__ = True
    fixed = {n: x for n, x in call.items() if n not in (*inputs, "initial_state")}
    state, outputs = call["initial_state"], []
    for t in range(call[inputs[0]].shape[1]):
        token = {name: call[name][:, t] for name in inputs}
        y, state = step(**token, **fixed, state=state)
        outputs.append(y)
    assert_close((np.stack(outputs, axis=1), state), op(**call))


def assert_packed(
    op: Callable, call: Call, inputs: Sequence[str], bounds: list[int]
) -> None:
    """A pack is its sequences, each from its own row of the initial state."""
    __tracebackhide__ = True
    state, packed = call["initial_state"], np.array(bounds)
    outputs, states = [], []
    for row, (start, stop) in enumerate(pairwise(bounds)):
        own = each(lambda s, r=row: s[r : r + 1], state)
        alone = {**part(call, inputs, start, stop), "initial_state": own}
        y, final = op(**alone)
        outputs.append(y)
        states.append(final)
    joined = each(lambda *rows: np.concatenate(rows), *states)
    expected = (np.concatenate(outputs, axis=1), joined)
    assert_close(op(**call, cu_seqlens=packed), expected, limit=0)


def assert_causal(op: Callable, call: Call, inputs: Sequence[str], at: int) -> None:
    """Changing a token leaves earlier outputs bit by bit, and changes its own."""
    __tracebackhide__ = True
    y, _ = op(**call)
    for name in inputs:
        changed = call[name].copy()
        changed[:, at] += 1
        other, _ = op(**{**call, name: changed})
        assert np.array_equal(y[:, :at], other[:, :at])
        assert not np.any(y[:, at] == other[:, at])


def assert_linear(op: Callable, call: Call, other: Call, names: Sequence[str]) -> None:
    """The op is linear in the arguments `names` together."""
    __tracebackhide__ = True
    both = {n: call[n] - 2 * other[n] for n in names}
    found = op(**{**call, **both})
    one, two = op(**call), op(**{**call, **{n: other[n] for n in names}})
    assert_close(found, tuple(a - 2 * b for a, b in zip(one, two, strict=True)))


def assert_shiftable(op: Callable, call: Call, inputs: Sequence[str]) -> None:
    """From rest, padding with zeros on the left only delays; on the right, nothing."""
    __tracebackhide__ = True
    call = {**call, "initial_state": None}
    y, state = op(**call)
    zeros = {n: np.zeros_like(call[n][:, :3]) for n in inputs}
    left = {n: np.concatenate([zeros[n], call[n]], axis=1) for n in inputs}
    right = {n: np.concatenate([call[n], zeros[n]], axis=1) for n in inputs}
    y_left, state_left = op(**{**call, **left})
    assert_close((y_left[:, 3:], state_left), (y, state))
    assert not np.any(np.abs(y_left[:, :3]) > 1e-14)
    assert_close(op(**{**call, **right})[0][:, : y.shape[1]], y)


def assert_pure(op: Callable, call: Call) -> None:
    """Frozen arguments are enough: none is written to."""
    __tracebackhide__ = True
    arrays = [x for x in call.values() if isinstance(x, np.ndarray)]
    states = [x for x in call.values() if isinstance(x, tuple)]
    arrays += [x for state in states for x in state]
    copies = [x.copy() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    result = op(**call)
    for x, copy in zip(arrays, copies, strict=True):
        assert np.array_equal(x, copy)
        for out in (result[0], *_parts(result[1])):
            assert not np.shares_memory(out, x)


def assert_precisions(op: Callable, call: Call, limit: float = 1e-5) -> None:
    """float32 stays near float64; each precision comes back as it went in."""
    __tracebackhide__ = True
    exact = op(**call)
    single = op(**cast(call, np.float32))
    assert_close(cast(single, np.float64), exact, limit)
    long = op(**cast(call, np.longdouble))
    assert_close(cast(long, np.float64), exact)
    for dtype, (y, state) in ((np.float32, single), (np.longdouble, long)):
        for array in (y, *_parts(state)):
            assert array.dtype in (dtype, np.result_type(dtype, 1j))


def _parts(state: Any) -> tuple:
    return state if isinstance(state, tuple) else (state,)
