"""Mistakes that anything can make: the floor that every op's cases must stand on.

They are no part of diagnosis; what they look like is read from the error itself.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ops import OPS
from .bug import Arguments, Bug, Wrap, after, on_state
from .tokens import map_state
from .when import always

EVERY = tuple(OPS)
STATES = tuple(
    op.name
    for op in OPS.values()
    if any(o.startswith("final_state") for o in op.outputs)
)
Change = Callable[[np.ndarray], np.ndarray]


def every_output(change: Change) -> Wrap:
    """Return the wrap that changes all outputs."""
    return after(lambda result, _: _mapped(change, result))


def _mapped(change: Change, result: Any) -> Any:
    if isinstance(result, tuple) and not hasattr(result, "_fields"):
        return tuple(_mapped(change, part) for part in result)
    return map_state(change, result)


def _input_copied(result: Any, arguments: Arguments) -> Any:
    source = next(v for v in arguments.values() if isinstance(v, np.ndarray))

    def copy(array: np.ndarray) -> np.ndarray:
        return np.resize(source.real, array.shape).astype(array.dtype)

    return _mapped(copy, result)


def _one_element(array: np.ndarray) -> np.ndarray:
    """Change the largest element by one percent of the largest, plus one."""
    array = array.copy()
    if array.size:
        worst = np.unravel_index(np.argmax(np.abs(array)), array.shape)
        array[worst] = array[worst] * 1.01 + (array[worst] == 0)
    return array


def _one_row(array: np.ndarray) -> np.ndarray:
    """Lose the middle of the second axis: a token, a channel or a head."""
    array = array.copy()
    if array.ndim > 1:
        array[:, array.shape[1] // 2 : array.shape[1] // 2 + 1] = 0
    return array


def _shifted(array: np.ndarray) -> np.ndarray:
    """Move everything by one place along the second axis: tokens come late."""
    axis = min(1, array.ndim - 1)
    moved = np.roll(array, 1, axis)
    if array.shape[axis]:
        moved[(slice(None),) * axis + (0,)] = 0
    return moved


def _transposed(array: np.ndarray) -> np.ndarray:
    return np.swapaxes(array, -1, -2).reshape(array.shape) if array.ndim > 1 else array


def _half(array: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(array):
        return (_half(np.real(array)) + 1j * _half(np.imag(array))).astype(array.dtype)
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(array.dtype)


def _generic(name: str, wrong: str, wrap: Wrap, ops: tuple[str, ...] = EVERY) -> Bug:
    fix = "Compare with golden."
    return Bug(f"generic-{name}", ops, wrong, fix, "anything", always, wrap)


GENERIC: tuple[Bug, ...] = (
    _generic("zeros", "Everything is 0.", every_output(np.zeros_like)),
    _generic("nan", "Everything is NaN.", every_output(lambda v: v * np.nan)),
    _generic("copy", "The input comes back.", after(_input_copied)),
    _generic("element", "One element is off by 1 %.", every_output(_one_element)),
    _generic("token", "One token, channel or head is 0.", every_output(_one_row)),
    _generic("shift", "Everything is late by one.", every_output(_shifted)),
    _generic("scale", "Everything is 1 % too large.", every_output(lambda v: 1.01 * v)),
    _generic("axes", "The last two axes are swapped.", every_output(_transposed)),
    _generic(
        "state-half",
        "The final state is rounded to float16.",
        on_state(lambda s, _: map_state(_half, s)),
        STATES,
    ),
)
