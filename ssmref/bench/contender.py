"""Who is timed: a way to compute an op, ready to be called without arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Outputs = dict[str, np.ndarray]


class UnavailableError(Exception):
    """Raised where a contender cannot run, here or at all; the message says why."""


def _no_workspace(**_: int) -> float:
    return 0.0


@dataclass(frozen=True)
class Contender:
    """A way to compute one op.

    `prepare` takes the arguments of the op and returns what is timed, which takes none:
    conversions and compilation that can be done before are done before. `outputs` makes
    NumPy arrays, by the names of the op's outputs, of what the call returns; outputs
    that it does not have are absent. `workspace` predicts how many numbers are held
    besides inputs and outputs. `whole_signal`: the method's errors are relative to the
    largest number of a signal, as those of Fourier transforms are. `function` is the
    op under golden's signature, where it is one: the core cases are for it.
    """

    name: str
    op: str
    prepare: Callable[[Mapping[str, Any]], Callable[[], Any]]
    outputs: Callable[[Any], Outputs]
    workspace: Callable[..., float] = _no_workspace
    note: str = ""
    whole_signal: bool = False
    function: Callable | None = None
