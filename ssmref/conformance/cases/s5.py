"""Cases of S5 and its step."""

from typing import Any

import numpy as np

from ..random import Draw
from .case import Case, complex_normal, cycle, family, scan_of, step_of
from .s4 import SPECTRUM, STEPS, STIFF, of_one_token


def _arguments(
    draw: Draw,
    *,
    batch: int = 1,
    length: int | None = None,
    inputs: int = 2,
    outputs: int = 3,
    state: int = 4,
    rates: tuple[float, ...] = (-0.5,),
    turn: float = 1.0,
    steps: tuple[float, ...] = STEPS,
    scale: float = 1.0,
    method: str = "",
    conj_sym: bool = True,
    options: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Draw the inputs that scan and step share; a step has no length."""
    lead = (batch,) if length is None else (batch, length)
    arguments: dict[str, Any] = {
        "u": scale * draw.normal("u", *lead, inputs),
        "dt": cycle(steps, state) * draw.uniform("dt", 0.9, 1.1, state),
        "A": cycle(rates, state) + 1j * np.pi * turn * np.arange(state),
        "B": complex_normal(draw, "B", state, inputs),
        "C": complex_normal(draw, "C", outputs, state),
    }
    if not conj_sym:
        arguments["conj_sym"] = False
    if method:
        arguments["method"] = method
    if "D" in options:
        arguments["D"] = 1 + draw.normal("D", outputs) / 4
    return arguments


def _state(draw: Draw, arguments: dict[str, Any], rows: int) -> np.ndarray:
    return complex_normal(draw, "state", rows, len(arguments["A"]))


step = step_of(_arguments, _state)
_one_way = scan_of(_arguments, _state)


def scan(draw: Draw, *, backward: bool = False, **sizes: Any) -> dict[str, Any]:
    """Draw a sequence or a pack, for one or both directions."""
    arguments = _one_way(draw, **sizes)
    if backward:
        shape = arguments["C"].shape
        arguments["C_backward"] = complex_normal(draw, "C_backward", *shape)
    return arguments


SQUARE = {"inputs": 3, "options": ("D",)}

# What a scan and a step have in common.
SHARED: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything",
        {"length": 1, "inputs": 1, "outputs": 1, "state": 1},
    ),
    "plain": (
        "more outputs than inputs; B and C are no vectors",
        {"batch": 2, "length": 37, "inputs": 4, "outputs": 7, "state": 5},
    ),
    "fewer_outputs": (
        "fewer outputs than inputs",
        {"batch": 2, "length": 11, "inputs": 6, "outputs": 2},
    ),
    "bilinear": (
        "the rule that is not the default",
        {"method": "bilinear", "batch": 2, "length": 23},
    ),
    "conj_sym_off": (
        "all eigenvalues are given: no factor 2",
        {"batch": 2, "length": 17, "conj_sym": False},
    ),
    "spectrum": (
        "slow, fast and vanishing modes side by side",
        {"length": 40, "rates": SPECTRUM, "steps": (0.05,)},
    ),
    "stiff": (
        "large steps: modes that vanish at once",
        {"length": 30, "rates": STIFF, "steps": (0.3, 1.0)},
    ),
    "stiff_bilinear": (
        "large steps make A_bar negative: signs alternate",
        {"method": "bilinear", "length": 30, "rates": STIFF, "steps": (0.3, 1.0)},
    ),
    "near_zero": (
        "dt A of about 1e-5: e^x - 1 over x loses every digit",
        {"length": 30, "rates": (-1e-3, -1e-2), "turn": 0.0},
    ),
    "no_decay": (
        "A = 0: a plain sum, without a division by A",
        {"length": 30, "rates": (0.0, -0.5), "turn": 0.0},
    ),
    "skip": ("D u is added once", {"batch": 2, "length": 9, **SQUARE}),
    "large_values": ("magnitudes of 1e10", {"length": 15, "scale": 1e10}),
}
CASES: tuple[Case, ...] = (
    *family(
        "s5.s5",
        scan,
        **SHARED,
        empty=("no token: the state passes through", {"length": 0, "initial": True}),
        one_token=(
            "the first token sees the initial state, once decayed",
            {"batch": 3, "length": 1, "initial": True},
        ),
        initial_state=(
            "a state that must reach the last token",
            {"batch": 2, "length": 50, "initial": True, "steps": (0.01, 0.02)},
        ),
        power_of_two=("a full tree of a parallel scan", {"length": 64}),
        above_power_of_two=("a ragged tree", {"length": 65}),
        long_memory=(
            "little decay over 200 tokens: a truncated kernel is seen",
            {"length": 200, "state": 2, "steps": (0.002,), "turn": 3.0},
        ),
        bidirectional=(
            "a second state from the last token to the first; both include the present",
            {"batch": 2, "length": 27, "backward": True},
        ),
        bidirectional_state=(
            "an initial state is one of the forward direction",
            {"length": 12, "backward": True, "initial": True, **SQUARE},
        ),
        bidirectional_packed=(
            "the backward direction starts anew in each sequence",
            {"length": 40, "lengths": (9, 0, 1, 30), "backward": True},
        ),
        packed=(
            "boundaries anywhere, one-token and empty sequences, own states",
            {"length": 60, "lengths": (13, 0, 1, 30, 16), "initial": True},
        ),
        small_values=("magnitudes of 1e-10", {"length": 15, "scale": 1e-10}),
        everything=(
            "all options at once",
            {
                "batch": 2,
                "length": 75,
                "state": 5,
                "initial": True,
                "backward": True,
                "method": "bilinear",
                "conj_sym": False,
                **SQUARE,
            },
        ),
    ),
    *family(
        "s5.s5_step",
        step,
        **of_one_token(SHARED),
        slots=(
            "rows use the slots that they name",
            {"batch": 3, "slots": (4, 0, 2), "pool": 6},
        ),
        padding_slots=(
            "a negative slot is padding: output 0, no state changes",
            {"batch": 4, "slots": (3, -1, 0, -1), "pool": 5},
        ),
        everything=(
            "all options at once",
            {
                "batch": 3,
                "state": 5,
                "slots": (1, -1, 3),
                "pool": 4,
                "method": "bilinear",
                "conj_sym": False,
                **SQUARE,
            },
        ),
    ),
)
