"""Cases of the selective scan and its step."""

from typing import Any

import numpy as np

from ..random import Draw
from .case import RATES, Case, cycle, family, scan_of, sprinkle, step_of


def _arguments(
    draw: Draw,
    *,
    batch: int = 1,
    length: int | None = None,
    channels: int = 4,
    groups: int | None = None,
    state: int = 3,
    rates: tuple[float, ...] = RATES,
    constant: bool = False,
    complex_A: bool = False,
    softplus: bool = False,
    raw: tuple[float, ...] = (),
    step_sizes: tuple[float, float] = (0.01, 0.1),
    scale: float = 1.0,
    options: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Draw the inputs that the scan and its step share; a step has no length."""
    lead = (batch,) if length is None else (batch, length)
    u = scale * draw.normal("u", *lead, channels)
    dt = draw.uniform("dt", *step_sizes, *lead, channels)
    if softplus:
        dt = draw.normal("dt", *lead, channels) - 3
        sprinkle(dt, raw)
    shape = (channels, state) if constant else (*lead, groups or 1, state)
    if groups is None and not constant:
        shape = (*lead, state)
    A = cycle(rates, channels * state).reshape(channels, state)
    B, C = draw.normal("B", *shape), draw.normal("C", *shape)
    if complex_A:
        A = A + 1j * draw.uniform("A.imag", -40, 40, channels, state)
        B = B + 1j * draw.normal("B.imag", *shape)
        C = C + 1j * draw.normal("C.imag", *shape)
    arguments = {"u": u, "dt": dt, "A": A, "B": B, "C": C}
    if softplus:
        arguments["dt_softplus"] = True
    if "D" in options:
        arguments["D"] = 1 + draw.normal("D", channels) / 4
    if "z" in options:
        arguments["z"] = 2 * draw.normal("z", *lead, channels)
    if "dt_bias" in options:
        arguments["dt_bias"] = draw.uniform("dt_bias", -1, 1, channels)
    return arguments


def _state(draw: Draw, arguments: dict[str, Any], rows: int) -> np.ndarray:
    A = arguments["A"]
    state = draw.normal("state", rows, *A.shape)
    if np.iscomplexobj(A):
        state = state + 1j * draw.normal("state.imag", rows, *A.shape)
    return state


scan, step = scan_of(_arguments, _state), step_of(_arguments, _state)


ALL = ("D", "z", "dt_bias")
# Beyond the softplus threshold, at it, and where log(1 + e^x) is 0 in float32.
TAILS = (-50.0, -17.5, 20.0, 20.5, 90.0)

CASES: tuple[Case, ...] = (
    *family(
        "mamba1.selective_scan",
        scan,
        smallest=("one of everything", {"length": 1, "channels": 1, "state": 1}),
        plain=(
            "sizes that differ on every axis: a swapped axis cannot fit",
            {"batch": 2, "length": 37, "channels": 5, "state": 3},
        ),
        empty=("no token: the state passes through", {"length": 0, "initial": True}),
        one_token=(
            "the first token must see the initial state, once decayed",
            {"batch": 3, "length": 1, "initial": True},
        ),
        long_memory=(
            "decays of 0.99 and more: what is forgotten at a chunk boundary is seen",
            {"length": 300, "channels": 3, "rates": (-0.002, -0.2)},
        ),
        power_of_two=("a full tree of a parallel scan", {"length": 64, "state": 2}),
        above_power_of_two=("a ragged tree or chunk", {"length": 65, "state": 2}),
        initial_state=(
            "a state that must decay with every token, and its use after chunks",
            {"batch": 2, "length": 131, "initial": True, "rates": (-0.002, -0.02)},
        ),
        groups=(
            "more than one group, fewer than channels: tiling is not repeating",
            {"batch": 2, "length": 19, "channels": 6, "groups": 2},
        ),
        group_per_channel=(
            "as many groups as channels",
            {"length": 17, "channels": 5, "groups": 5},
        ),
        constant=(
            "B and C without time: the last state must still contain B",
            {"batch": 2, "length": 23, "constant": True},
        ),
        skip=("D u is added once, before the gate", {"length": 9, "options": ("D",)}),
        gate=(
            "SiLU, not sigmoid, on the sum with D u",
            {"batch": 2, "length": 11, "options": ("D", "z")},
        ),
        softplus=(
            "the bias is added before softplus, once",
            {"batch": 2, "length": 29, "softplus": True, "options": ("dt_bias",)},
        ),
        softplus_tails=(
            "raw dt beyond the threshold 20 and where log(1 + e^x) rounds to 0",
            {"length": 40, "softplus": True, "raw": TAILS},
        ),
        large_steps=(
            "decays that underflow: exp must not be divided by or inverted",
            {"length": 50, "step_sizes": (0.1, 30.0)},
        ),
        no_decay=("A = 0: a plain sum", {"length": 70, "rates": (0.0,)}),
        packed=(
            "boundaries inside chunks, a sequence of one token and an empty one",
            {"length": 90, "lengths": (13, 0, 1, 50, 26), "initial": True},
        ),
        packed_zero=(
            "no state leaks from one sequence to the next",
            {"length": 40, "lengths": (7, 33), "rates": (-0.002,)},
        ),
        complex_A=(
            "complex A, B and C: twice the real part, without conjugation",
            {
                "softplus": True,
                "batch": 2,
                "length": 21,
                "groups": 2,
                "complex_A": True,
                "options": ALL,
                "initial": True,
            },
        ),
        large_values=("magnitudes of 1e10", {"length": 15, "scale": 1e10}),
        small_values=("magnitudes of 1e-10", {"length": 15, "scale": 1e-10}),
        everything=(
            "all options at once",
            {
                "batch": 2,
                "length": 75,
                "channels": 6,
                "groups": 3,
                "state": 5,
                "softplus": True,
                "initial": True,
                "options": ALL,
            },
        ),
    ),
    *family(
        "mamba1.selective_scan_step",
        step,
        smallest=("one of everything", {"channels": 1, "state": 1}),
        plain=(
            "sizes that differ on every axis",
            {"batch": 2, "channels": 5, "state": 3},
        ),
        fast_decay=("a state that all but vanishes", {"batch": 3, "rates": (-24.0,)}),
        no_decay=("A = 0: the state must stay", {"batch": 2, "rates": (0.0,)}),
        groups=("tiling is not repeating", {"batch": 2, "channels": 6, "groups": 2}),
        group_per_channel=(
            "as many groups as channels",
            {"batch": 2, "channels": 5, "groups": 5},
        ),
        skip=("D u is added once", {"batch": 2, "options": ("D",)}),
        gate=("SiLU on the sum with D u", {"batch": 3, "options": ("D", "z")}),
        softplus=(
            "bias, then softplus",
            {"batch": 4, "softplus": True, "options": ("dt_bias",)},
        ),
        softplus_tails=(
            "the step's softplus is the scan's, also in its tails",
            {"batch": 8, "softplus": True, "raw": TAILS},
        ),
        softplus_tails_fresh=(
            "from a state of zeros: a step that rounds to 0 loses all of its output",
            {"batch": 8, "softplus": True, "raw": TAILS, "fresh": True},
        ),
        slots=(
            "rows use the slots that they name; others stay untouched",
            {"batch": 3, "slots": (4, 0, 2), "pool": 6},
        ),
        padding_slots=(
            "a negative slot is padding: output 0, no state changes",
            {"batch": 4, "slots": (3, -1, 0, -1), "pool": 5},
        ),
        complex_A=("complex A, B and C", {"batch": 2, "complex_A": True}),
        large_values=("magnitudes of 1e10", {"batch": 2, "scale": 1e10}),
        everything=(
            "all options at once",
            {
                "batch": 3,
                "channels": 6,
                "groups": 3,
                "state": 5,
                "softplus": True,
                "options": ALL,
                "slots": (1, -1, 3),
                "pool": 4,
            },
        ),
    ),
)
