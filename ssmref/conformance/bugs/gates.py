"""Bugs of the skip connection and the gate."""

import numpy as np

from ...golden.layers import sigmoid, silu
from .bug import Arguments, Bug, Function, Wrap, around, changed, without
from .drive import SELECTIVE
from .recurrence import skip
from .time_step import STEPPED
from .when import both, given

# Their y is what comes before norm and gate, so that a gate can be put on it.
WITH_D = (
    *SELECTIVE,
    "s4.s4",
    "s4.s4_step",
    "s4d.s4d",
    "s4d.s4d_step",
    "s5.s5",
    "s5.s5_step",
)


def is_mimo(arguments: Arguments) -> bool:
    """Return whether there are several inputs per head."""
    return "trap" in arguments and arguments["B"].ndim > arguments["x"].ndim


def by_rank(function: Function, arguments: Arguments) -> tuple[np.ndarray, object]:
    """Return the outputs of MIMO before the gate, ranks first, and the state."""
    rest = {n: v for n, v in arguments.items() if n not in ("z", "mimo_z")}
    ranks, x = arguments["B"].shape[-3], arguments["x"]
    outputs, state = [], None
    for rank in range(ranks):
        only = np.zeros((x.shape[-2], ranks, x.shape[-1]), x.dtype)
        only[:, rank] = 1
        y, state = function(**(rest | {"mimo_o": only}))
        outputs.append(y)
    return np.stack(outputs), state


def projection(weight: np.ndarray | None, y: np.ndarray) -> np.ndarray:
    """Return a projection of MIMO to be multiplied with outputs, ranks first."""
    if weight is None:
        return np.ones((), y.dtype)
    return np.swapaxes(weight, 0, 1).reshape(
        len(y), *(1,) * (y.ndim - 3), *y.shape[-2:]
    )


def gated_by(gate) -> Wrap:
    """Return the wrap that computes without z, then multiplies by ``gate(z)``."""

    def run(function: Function, arguments: Arguments):
        z = arguments.get("z")
        if z is None:
            return function(**arguments)
        if is_mimo(arguments):
            y, state = by_rank(function, arguments)
            y = y * gate(projection(arguments.get("mimo_z"), y) * z)
            y = y * projection(arguments.get("mimo_o"), y)
            return y.sum(axis=0).astype(z.dtype), state
        y, state = function(**{n: v for n, v in arguments.items() if n != "z"})
        return (y * gate(z)).astype(y.dtype), state

    return around(run)


def _skip_after_gate(function: Function, arguments: Arguments):
    inner = {n: v for n, v in arguments.items() if n != "D"}
    y, state = function(**inner)
    return y + skip(arguments), state


GATES = (
    Bug(
        "skip-dropped",
        WITH_D,
        "D x is not added.",
        "Add D x to the output, before norm and gate.",
        "D",
        given("D"),
        without("D"),
    ),
    Bug(
        "skip-twice",
        WITH_D,
        "D x is added twice, by the kernel and by its caller.",
        "Add D x once.",
        "D",
        given("D"),
        changed(D=lambda D: 2 * D),
    ),
    Bug(
        "skip-after-gate",
        STEPPED,
        "D x is added after the gate.",
        "Gate the sum: (C h + D x) silu(z).",
        "D together with z",
        both(given("D"), given("z")),
        around(_skip_after_gate),
    ),
    Bug(
        "gate-dropped",
        SELECTIVE,
        "z is ignored.",
        "Multiply the output by silu(z).",
        "z",
        given("z"),
        without("z"),
    ),
    Bug(
        "gate-sigmoid",
        SELECTIVE,
        "The gate is sigmoid(z).",
        "The gate is silu(z) = z sigmoid(z).",
        "z",
        given("z"),
        gated_by(sigmoid),
    ),
    Bug(
        "gate-linear",
        SELECTIVE,
        "The gate is z itself, without activation.",
        "The gate is silu(z) = z sigmoid(z).",
        "z",
        given("z"),
        gated_by(lambda z: z),
    ),
    Bug(
        "gate-twice",
        SELECTIVE,
        "The gate is applied twice, in the kernel and by its caller.",
        "Pass z to the kernel or gate outside, not both.",
        "z",
        given("z"),
        gated_by(lambda z: silu(z) ** 2),
    ),
)
