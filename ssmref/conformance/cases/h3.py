"""Cases of H3 and its step."""

from typing import Any

import numpy as np

from ...golden.h3 import H3State
from ..random import Draw
from .case import Case, complex_normal, cycle, family, scan_of, step_of
from .s4 import SPECTRUM, STEPS, STIFF, of_one_token


def _arguments(
    draw: Draw,
    *,
    batch: int = 1,
    length: int | None = None,
    heads: int = 3,
    headdim: int = 1,
    state: int = 4,
    taps: int = 4,
    rates: tuple[float, ...] = (-0.5,),
    turn: float = 1.0,
    steps: tuple[float, ...] = STEPS,
    scale: float = 1.0,
    method: str = "",
    options: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Draw the inputs that scan and step share; a step has no length."""
    channels = heads * headdim
    lead = (batch,) if length is None else (batch, length)
    turns = np.pi * turn * np.resize(np.arange(state), (heads, state))
    arguments: dict[str, Any] = {
        "q": draw.normal("q", *lead, channels),
        "k": draw.normal("k", *lead, channels),
        "v": scale * draw.normal("v", *lead, channels),
        "dt": cycle(steps, heads) * draw.uniform("dt", 0.9, 1.1, heads),
        "A": cycle(rates, heads * state).reshape(heads, state) + 1j * turns,
        "B": complex_normal(draw, "B", heads, state),
        "C": complex_normal(draw, "C", heads, state),
        "shift_C": draw.normal("shift_C", channels, taps),
    }
    if headdim > 1:
        arguments["head_dim"] = headdim
    if method:
        arguments["method"] = method
    if "shift_D" in options:
        arguments["shift_D"] = 1 + draw.normal("shift_D", channels) / 4
    if "D" in options:
        arguments["D"] = 1 + draw.normal("D", heads) / 4
    return arguments


def _state(draw: Draw, arguments: dict[str, Any], rows: int) -> H3State:
    heads, state = arguments["A"].shape
    headdim = arguments.get("head_dim", 1)
    return H3State(
        shift=draw.normal("state.shift", rows, *arguments["shift_C"].shape),
        ssm=complex_normal(draw, "state.ssm", rows, heads, headdim, headdim, state),
    )


scan, step = scan_of(_arguments, _state), step_of(_arguments, _state)


ALL = ("D", "shift_D")

# What a scan and a step have in common.
SHARED: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything",
        {"length": 1, "heads": 1, "state": 1, "taps": 1},
    ),
    "plain": (
        "sizes that differ on every axis; tap 0 meets the current key",
        {"batch": 2, "length": 37, "heads": 5, "state": 3, "taps": 4},
    ),
    "head_dim": (
        "several features per head: all pairs of keys and values, head index slow",
        {"batch": 2, "length": 19, "heads": 2, "headdim": 3},
    ),
    "two_taps": ("a short shift", {"length": 12, "taps": 2}),
    "many_taps": ("more taps than modes", {"length": 21, "taps": 9}),
    "zoh": (
        "the rule that is not the default",
        {"method": "zoh", "batch": 2, "length": 23},
    ),
    "spectrum": (
        "slow, fast and vanishing modes side by side",
        {"length": 40, "rates": SPECTRUM, "steps": (0.05,)},
    ),
    "stiff": (
        "large steps make A_bar negative: signs alternate",
        {"length": 30, "rates": STIFF, "steps": (0.3, 1.0)},
    ),
    "shift_skip": (
        "the skip of the keys, before they meet the values",
        {"length": 9, "options": ("shift_D",)},
    ),
    "skip": (
        "the skip of the products, before they meet the queries",
        {"batch": 2, "length": 9, "options": ("D",)},
    ),
    "large_values": ("magnitudes of 1e10", {"length": 15, "scale": 1e10}),
}
CASES: tuple[Case, ...] = (
    *family(
        "h3.h3",
        scan,
        **SHARED,
        empty=("no token: both states pass through", {"length": 0, "initial": True}),
        one_token=(
            "the keys of the state are shifted, the newest first",
            {"batch": 3, "length": 1, "initial": True},
        ),
        fewer_than_taps=(
            "the shift state is part old, part new",
            {"batch": 2, "length": 2, "initial": True},
        ),
        initial_state=(
            "states that must reach the last token",
            {"batch": 2, "length": 50, "initial": True, "steps": (0.01, 0.02)},
        ),
        power_of_two=("a full tree, or a kernel of even length", {"length": 64}),
        above_power_of_two=("a ragged tree, or an odd kernel", {"length": 65}),
        long_memory=(
            "little decay over 200 tokens: a truncated kernel is seen",
            {"length": 200, "heads": 2, "steps": (0.002,), "turn": 3.0},
        ),
        packed=(
            "no key of one sequence in the next; one-token and empty sequences",
            {"length": 60, "lengths": (13, 0, 1, 30, 16), "initial": True},
        ),
        packed_zero=(
            "each sequence starts from zeros",
            {"length": 40, "lengths": (7, 33), "steps": (0.01,)},
        ),
        small_values=("magnitudes of 1e-10", {"length": 15, "scale": 1e-10}),
        everything=(
            "all options at once",
            {
                "batch": 2,
                "length": 45,
                "heads": 2,
                "headdim": 3,
                "state": 5,
                "initial": True,
                "method": "zoh",
                "options": ALL,
            },
        ),
    ),
    *family(
        "h3.h3_step",
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
                "heads": 2,
                "headdim": 3,
                "state": 5,
                "slots": (1, -1, 3),
                "pool": 4,
                "method": "zoh",
                "options": ALL,
            },
        ),
    ),
)
