"""Bugs of Mamba-3 around the recurrence: biases, ranks, norm."""

from typing import Any

import numpy as np

from ...golden.layers import silu
from .bug import Arguments, Bug, Function, Wrap, around, without
from .drive import MAMBA3
from .gates import by_rank, is_mimo, projection
from .tokens import is_step
from .when import any_token, both, given

MIMO = ("mamba3.mimo", "mamba3.mimo_step")


def finished(finish) -> Wrap:
    """Return the wrap that ends by ``finish(y, arguments, z)``, with ranks first."""

    def run(function: Function, arguments: Arguments) -> Any:
        rest = {n: v for n, v in arguments.items() if n not in ("z", "norm_weight")}
        if arguments.get("norm_weight") is None:
            return function(**arguments)
        z = arguments.get("z")
        if not is_mimo(arguments):
            y, state = function(**rest)
            return finish(y, arguments, z).astype(y.dtype), state
        y, state = by_rank(function, rest)
        z_weight = projection(arguments.get("mimo_z"), y)
        out = projection(arguments.get("mimo_o"), y)
        y = out * finish(y, arguments, None if z is None else z_weight * z)
        return y.sum(axis=0).astype(arguments["x"].dtype), state

    return around(run)


def _norm(y: np.ndarray, arguments: Arguments, axis: Any = -1) -> np.ndarray:
    eps = y.dtype.type(arguments.get("norm_eps", 1e-5))
    mean = np.mean(y * y, axis=axis, keepdims=True)
    return y / np.sqrt(mean + eps) * arguments["norm_weight"]


def _gate_first(y: np.ndarray, arguments: Arguments, z: Any) -> np.ndarray:
    return _norm(y if z is None else y * silu(z), arguments)


def _all_heads(y: np.ndarray, arguments: Arguments, z: Any) -> np.ndarray:
    y = _norm(y, arguments, axis=(-2, -1))
    return y if z is None else y * silu(z)


def _separate_ranks(function: Function, arguments: Arguments) -> Any:
    """Give each rank a state of its own: no products of different ranks."""
    ranks, axis = arguments["B"].shape[-3], arguments["B"].ndim - 3
    start = "state" if is_step(arguments) else "initial_state"
    total, states = 0, []
    for rank in range(ranks):
        only = slice(rank, rank + 1)
        one = {n: np.take(arguments[n], [rank], axis) for n in "BC"}
        for name in ("B_bias", "C_bias", "mimo_x", "mimo_z", "mimo_o"):
            if arguments.get(name) is not None:
                one[name] = arguments[name][:, only]
        if (state := arguments.get(start)) is not None:
            ssm = state.ssm if rank == 0 else np.zeros_like(state.ssm)
            one[start] = state._replace(ssm=ssm, k=state.k[:, only])
        y, state = function(**(arguments | one))
        total = total + y
        states.append(state)
    k = np.concatenate([s.k for s in states], axis=1)
    return total, states[0]._replace(ssm=sum(s.ssm for s in states), k=k)


OUTPUT = (
    Bug(
        "m3-b-bias-dropped",
        MAMBA3,
        "The bias of B is not added.",
        "Add B_bias to the keys before the rotation.",
        "a bias of B",
        given("B_bias"),
        without("B_bias"),
    ),
    Bug(
        "m3-c-bias-dropped",
        MAMBA3,
        "The bias of C is not added.",
        "Add C_bias to the queries before the rotation.",
        "a bias of C",
        given("C_bias"),
        without("C_bias"),
    ),
    Bug(
        "m3-norm-dropped",
        MAMBA3,
        "The norm before the gate is left out.",
        "Normalise over headdim where norm_weight is given.",
        "a norm weight",
        given("norm_weight"),
        without("norm_weight"),
    ),
    Bug(
        "m3-norm-after-gate",
        MAMBA3,
        "The norm is taken of the gated output.",
        "Normalise first, then gate.",
        "a norm weight together with z",
        both(given("norm_weight"), given("z")),
        finished(_gate_first),
    ),
    Bug(
        "m3-norm-over-heads",
        MAMBA3,
        "The norm is taken over all heads together.",
        "Each head has its own norm, over headdim.",
        "a norm weight and several heads",
        lambda a: given("norm_weight")(a) and a["x"].shape[-2] > 1,
        finished(_all_heads),
    ),
    *(
        Bug(
            f"m3-{name.replace('_', '-')}-dropped",
            MIMO,
            f"{name} is ignored: all ranks have weights of one.",
            f"Multiply {what} by {name}, per head and rank.",
            name,
            condition,
            without(name),
        )
        for name, what, condition in (
            ("mimo_x", "the input", given("mimo_x")),
            ("mimo_z", "z", both(given("mimo_z"), given("z"))),
            ("mimo_o", "the output", given("mimo_o")),
        )
    ),
    Bug(
        "m3-ranks-separate",
        MIMO,
        "Every rank has a state of its own: queries miss the other ranks' keys.",
        "All ranks share one state: sum over ranks before reading it.",
        "more than one rank",
        lambda a: any_token(a) and a["B"].shape[-3] > 1,
        around(_separate_ranks),
    ),
)
