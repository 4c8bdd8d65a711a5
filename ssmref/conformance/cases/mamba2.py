"""Cases of the state space dual (SSD) and its step."""

from typing import Any

import numpy as np

from ..random import Draw
from .case import RATES, Case, cycle, family, scan_of, sprinkle, step_of
from .mamba1 import TAILS


def _arguments(
    draw: Draw,
    *,
    batch: int = 1,
    length: int | None = None,
    heads: int = 3,
    headdim: int = 2,
    groups: int = 1,
    state: int = 4,
    rates: tuple[float, ...] = RATES,
    softplus: bool = False,
    raw: tuple[float, ...] = (),
    step_sizes: tuple[float, float] = (0.01, 0.1),
    dt_limit: tuple[float, float] | None = None,
    resets: int = 0,
    leap: float = 0.0,
    pauses: int = 0,
    scale: float = 1.0,
    options: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Draw the inputs that SSD and its step share; a step has no length."""
    lead = (batch,) if length is None else (batch, length)
    dt = draw.uniform("dt", *step_sizes, *lead, heads)
    if softplus:
        dt = draw.normal("dt", *lead, heads) - 3
        sprinkle(dt, raw)
    if resets:
        steps = dt[:, resets - 1 :: resets]
        steps[:] = leap * steps if leap else 40.0
    if pauses:
        dt[:, pauses - 1 :: pauses] = 0.0
    arguments: dict[str, Any] = {
        "x": scale * draw.normal("x", *lead, heads, headdim),
        "dt": dt,
        "A": cycle(rates, heads),
        "B": draw.normal("B", *lead, groups, state),
        "C": draw.normal("C", *lead, groups, state),
    }
    if softplus:
        arguments["dt_softplus"] = True
    if dt_limit is not None:
        arguments["dt_limit"] = dt_limit
    drawn = {
        "D": lambda: 1 + draw.normal("D", heads) / 4,
        "D_headdim": lambda: 1 + draw.normal("D", heads, headdim) / 4,
        "z": lambda: 2 * draw.normal("z", *lead, heads, headdim),
        "dt_bias": lambda: draw.uniform("dt_bias", -1, 1, heads),
    }
    for option in options:
        arguments[option.removesuffix("_headdim")] = drawn[option]()
    return arguments


def _state(draw: Draw, arguments: dict[str, Any], rows: int) -> np.ndarray:
    heads, headdim = arguments["x"].shape[-2:]
    return draw.normal("state", rows, heads, headdim, arguments["B"].shape[-1])


scan, step = scan_of(_arguments, _state), step_of(_arguments, _state)


ALL = ("D", "z", "dt_bias")
SLOW = (-0.002, -0.02)

CASES: tuple[Case, ...] = (
    *family(
        "mamba2.ssd",
        scan,
        smallest=(
            "one of everything",
            {"length": 1, "heads": 1, "headdim": 1, "state": 1},
        ),
        plain=(
            "sizes that differ on every axis: a swapped axis cannot fit",
            {"batch": 2, "length": 37, "heads": 3, "headdim": 5, "state": 4},
        ),
        empty=("no token: the state passes through", {"length": 0, "initial": True}),
        one_token=(
            "the first token sees the initial state, once decayed",
            {"batch": 3, "length": 1, "initial": True},
        ),
        below_chunk=("one short of a chunk of 64", {"length": 63, "rates": SLOW}),
        chunk=("exactly one chunk of 64", {"length": 64, "rates": SLOW}),
        above_chunk=(
            "one more than a chunk of 64: the state is passed on",
            {"length": 65, "rates": SLOW},
        ),
        chunks=(
            "four chunks of 64, two of 128: states pass through chunks",
            {"length": 256, "heads": 2, "rates": SLOW},
        ),
        ragged=(
            "a prime length: padding must neither decay nor add",
            {"batch": 2, "length": 331, "heads": 4},
        ),
        initial_state=(
            "a state that must reach every chunk",
            {"batch": 2, "length": 150, "initial": True, "rates": SLOW},
        ),
        groups_inner=(
            "1 < groups < heads: tiling is not repeating",
            {"batch": 2, "length": 37, "heads": 6, "groups": 2},
        ),
        groups_three=("three groups of two", {"length": 70, "heads": 6, "groups": 3}),
        group_per_head=(
            "as many groups as heads",
            {"length": 21, "heads": 5, "groups": 5},
        ),
        skip=("D per head", {"length": 9, "options": ("D",)}),
        skip_headdim=(
            "D per head and dimension",
            {"length": 9, "options": ("D_headdim",)},
        ),
        gate=(
            "SiLU on the sum with D x",
            {"batch": 2, "length": 11, "options": ("D", "z")},
        ),
        softplus=(
            "bias, then softplus",
            {"batch": 2, "length": 29, "softplus": True, "options": ("dt_bias",)},
        ),
        softplus_tails=(
            "raw dt beyond the threshold and where log(1 + e^x) is 0",
            {"length": 45, "softplus": True, "raw": TAILS},
        ),
        dt_limit=(
            "dt is clamped after softplus, from both sides",
            {
                "batch": 2,
                "length": 31,
                "softplus": True,
                "dt_limit": (0.03, 0.08),
                "options": ("dt_bias",),
            },
        ),
        dt_limit_plain=(
            "dt is clamped without softplus too",
            {"length": 31, "dt_limit": (0.03, 0.08)},
        ),
        resets=(
            "rare large steps wipe the state: no exp of a positive difference",
            {"length": 140, "resets": 37, "rates": (-2.0, -24.0, -0.2)},
        ),
        huge_steps=(
            "sums of dt A so large that differences of them round above 0: exp is inf",
            # Slow: what remembers a huge step is known to its exponents' rounding.
            {"length": 140, "rates": (-0.2, -0.1, -0.05), "resets": 5, "leap": 1e11},
        ),
        pauses=(
            "dt = 0: a token that neither decays nor adds",
            {"length": 80, "pauses": 3, "rates": SLOW},
        ),
        no_decay=("A = 0: linear attention", {"length": 130, "rates": (0.0,)}),
        packed=(
            "boundaries inside chunks, one-token and empty sequences, own states",
            {"length": 140, "lengths": (13, 0, 1, 70, 56), "initial": True},
        ),
        packed_zero=(
            "no state leaks from one sequence to the next",
            {"length": 70, "lengths": (64, 6), "rates": SLOW},
        ),
        wide_state=(
            "a state as large as a chunk",
            {"length": 70, "heads": 2, "headdim": 1, "state": 64},
        ),
        large_values=("magnitudes of 1e10", {"length": 15, "scale": 1e10}),
        small_values=("magnitudes of 1e-10", {"length": 15, "scale": 1e-10}),
        everything=(
            "all options at once",
            {
                "batch": 2,
                "length": 99,
                "heads": 6,
                "headdim": 3,
                "groups": 3,
                "state": 5,
                "softplus": True,
                "initial": True,
                "dt_limit": (0.01, 0.2),
                "options": ALL,
            },
        ),
    ),
    *family(
        "mamba2.ssd_step",
        step,
        smallest=("one of everything", {"heads": 1, "headdim": 1, "state": 1}),
        plain=("sizes that differ on every axis", {"batch": 2, "headdim": 5}),
        fast_decay=("a state that all but vanishes", {"batch": 3, "rates": (-24.0,)}),
        no_decay=("A = 0: the state must stay", {"batch": 2, "rates": (0.0,)}),
        groups_inner=("tiling is not repeating", {"batch": 2, "heads": 6, "groups": 2}),
        group_per_head=("as many groups as heads", {"heads": 5, "groups": 5}),
        skip=("D per head", {"batch": 2, "options": ("D",)}),
        skip_headdim=(
            "D per head and dimension",
            {"batch": 2, "options": ("D_headdim",)},
        ),
        gate=("SiLU on the sum with D x", {"batch": 3, "options": ("D", "z")}),
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
        dt_limit=(
            "the step clamps dt as the scan does",
            {"batch": 6, "softplus": True, "dt_limit": (0.03, 0.08)},
        ),
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
                "heads": 6,
                "groups": 3,
                "state": 5,
                "softplus": True,
                "options": ALL,
                "slots": (1, -1, 3),
                "pool": 4,
                "dt_limit": (0.01, 0.2),
            },
        ),
    ),
)
