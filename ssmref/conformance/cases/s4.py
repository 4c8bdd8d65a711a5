"""Cases of S4 and S4D and of their steps."""

from typing import Any

import numpy as np

from ..random import Draw
from .case import Case, bounds, cycle, family

# Steps for eigenvalues of real part -1/2: memories of 200, 40 and 10 tokens.
STEPS = (0.01, 0.05, 0.2)


def _arguments(
    draw: Draw,
    *,
    batch: int = 1,
    length: int | None = None,
    channels: int = 3,
    state: int = 4,
    ranks: int | None = None,
    rates: tuple[float, ...] = (-0.5,),
    turn: float = 1.0,
    steps: tuple[float, ...] = STEPS,
    coupling: float = 0.5,
    scale: float = 1.0,
    method: str = "",
    options: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Draw the inputs that scan and step share; S4D has no ranks, a step no length.

    Eigenvalues turn by multiples of pi per unit of time, as those of a Fourier basis.
    """
    lead = (batch,) if length is None else (batch, length)
    u = scale * draw.normal("u", *lead, channels)
    turns = np.pi * turn * np.resize(np.arange(state), (channels, state))
    arguments: dict[str, Any] = {
        "u": u,
        "dt": cycle(steps, channels) * draw.uniform("dt", 0.9, 1.1, channels),
        "A": cycle(rates, channels * state).reshape(channels, state) + 1j * turns,
        "B": _complex(draw, "B", channels, state),
        "C": _complex(draw, "C", channels, state),
    }
    if ranks is not None:
        arguments["P"] = coupling * _complex(draw, "P", ranks, channels, state)
    if method:
        arguments["method"] = method
    if "D" in options:
        arguments["D"] = 1 + draw.normal("D", channels) / 4
    return arguments


def _complex(draw: Draw, name: str, *shape: int) -> np.ndarray:
    return draw.normal(name, *shape) + 1j * draw.normal(f"{name}.imag", *shape)


def scan(
    draw: Draw, *, lengths: tuple[int, ...] = (), initial: bool = False, **sizes: Any
) -> dict[str, Any]:
    """Draw a sequence or a pack."""
    arguments = _arguments(draw, **sizes)
    rows = len(lengths) or len(arguments["u"])
    if initial:
        shape = arguments["A"].shape
        arguments["initial_state"] = _complex(draw, "state", rows, *shape)
    if lengths:
        arguments["cu_seqlens"] = bounds(*lengths)
    return arguments


def step(
    draw: Draw, *, slots: tuple[int, ...] = (), pool: int = 0, **sizes: Any
) -> dict[str, Any]:
    """Draw one token and the states that it meets."""
    arguments = _arguments(draw, **sizes)
    rows = pool or len(arguments["u"])
    arguments["state"] = _complex(draw, "state", rows, *arguments["A"].shape)
    if slots:
        arguments["slots"] = np.array(slots, np.int64)
    return arguments


# Memories of 5000 to 0.1 tokens for a step of about 0.05.
SPECTRUM = (-0.004, -0.1, -2.0, -200.0)
STIFF = (-200.0, -50.0, -10.0)

SCANS: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything",
        {"length": 1, "channels": 1, "state": 1},
    ),
    "plain": (
        "sizes that differ on every axis; C is not conjugated",
        {"batch": 2, "length": 37, "channels": 5, "state": 3},
    ),
    "empty": ("no token: the state passes through", {"length": 0, "initial": True}),
    "one_token": (
        "the first token sees the initial state, once multiplied by A_bar",
        {"batch": 3, "length": 1, "initial": True},
    ),
    "initial_state": (
        "a state that must reach the last token",
        {"batch": 2, "length": 50, "initial": True, "steps": (0.01, 0.02)},
    ),
    "power_of_two": ("a full tree, or a kernel of even length", {"length": 64}),
    "above_power_of_two": ("a ragged tree, or a kernel of odd length", {"length": 65}),
    "long_memory": (
        "little decay over 200 tokens: a truncated kernel is seen",
        {"length": 200, "channels": 2, "steps": (0.002,), "turn": 3.0},
    ),
    "spectrum": (
        "slow, fast and vanishing modes side by side",
        {"length": 40, "rates": SPECTRUM, "steps": (0.05,)},
    ),
    "stiff": (
        "large steps: modes that vanish at once, or change sign by the bilinear rule",
        {"batch": 2, "length": 30, "rates": STIFF, "steps": (0.3, 1.0)},
    ),
    "near_zero": (
        "dt A of about 1e-5: e^x - 1 over x loses every digit",
        {"length": 30, "rates": (-1e-3, -1e-2), "turn": 0.0},
    ),
    "fast_turns": (
        "modes that turn by more than a radian per token",
        {"length": 60, "turn": 20.0, "steps": (0.02, 0.1)},
    ),
    "skip": ("D u is added once", {"batch": 2, "length": 9, "options": ("D",)}),
    "packed": (
        "boundaries anywhere, one-token and empty sequences, own states",
        {"length": 60, "lengths": (13, 0, 1, 30, 16), "initial": True},
    ),
    "packed_zero": (
        "no state leaks from one sequence to the next",
        {"length": 40, "lengths": (7, 33), "steps": (0.01,)},
    ),
    "large_values": ("magnitudes of 1e10", {"length": 15, "scale": 1e10}),
    "small_values": ("magnitudes of 1e-10", {"length": 15, "scale": 1e-10}),
    "everything": (
        "all options at once",
        {
            "batch": 2,
            "length": 75,
            "channels": 4,
            "state": 5,
            "initial": True,
            "options": ("D",),
        },
    ),
}
STEP_ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": ("one of everything", {"channels": 1, "state": 1}),
    "plain": (
        "sizes that differ on every axis",
        {"batch": 2, "channels": 5, "state": 3},
    ),
    "spectrum": (
        "modes that stay and modes that vanish",
        {"batch": 2, "rates": SPECTRUM, "steps": (0.05,)},
    ),
    "stiff": (
        "large steps: a decay near 0, or near -1 by the bilinear rule",
        {"batch": 2, "rates": STIFF, "steps": (0.3, 1.0)},
    ),
    "near_zero": (
        "dt A of about 1e-5: e^x - 1 over x loses every digit",
        {"batch": 2, "rates": (-1e-3, -1e-2), "turn": 0.0},
    ),
    "fast_turns": (
        "modes that turn by more than a radian",
        {"batch": 2, "turn": 20.0, "steps": (0.02, 0.1)},
    ),
    "skip": ("D u is added once", {"batch": 2, "options": ("D",)}),
    "slots": (
        "rows use the slots that they name",
        {"batch": 3, "slots": (4, 0, 2), "pool": 6},
    ),
    "padding_slots": (
        "a negative slot is padding: output 0, no state changes",
        {"batch": 4, "slots": (3, -1, 0, -1), "pool": 5},
    ),
    "large_values": ("magnitudes of 1e10", {"batch": 2, "scale": 1e10}),
    "everything": (
        "all options at once",
        {
            "batch": 3,
            "channels": 4,
            "state": 5,
            "options": ("D",),
            "slots": (1, -1, 3),
            "pool": 4,
        },
    ),
}
DIAGONAL_ONLY: dict[str, tuple[str, dict[str, Any]]] = {
    "bilinear": (
        "the rule that is not the default",
        {"method": "bilinear", "batch": 2, "length": 23},
    ),
    "stiff_bilinear": (
        "large steps make A_bar negative: signs alternate",
        {
            "method": "bilinear",
            "length": 30,
            "rates": STIFF,
            "steps": (0.3, 1.0),
        },
    ),
    "no_decay": (
        "A = 0: a plain sum, without a division by A",
        {"length": 30, "rates": (0.0, -0.5), "turn": 0.0},
    ),
}
LOW_RANK_ONLY: dict[str, tuple[str, dict[str, Any]]] = {
    "low_rank_off": ("P = 0: S4D by the bilinear rule", {"length": 20, "coupling": 0}),
    "low_rank_strong": (
        "a low-rank term as large as the diagonal",
        {"batch": 2, "length": 33, "coupling": 2.0},
    ),
    "two_ranks": (
        "two ranks, whose inner matrix is no number",
        {"batch": 2, "length": 25, "ranks": 2, "state": 3},
    ),
    "three_ranks": (
        "more ranks than pairs of a state",
        {"length": 18, "ranks": 3, "state": 2},
    ),
}


def of_one_token(rows: dict[str, tuple[str, dict]]) -> dict[str, tuple[str, dict]]:
    """Return the rows without their length: for a step, with two rows of batch."""
    return {
        name: (reason, {"batch": 2} | {k: v for k, v in sizes.items() if k != "length"})
        for name, (reason, sizes) in rows.items()
    }


def with_rank(rows: dict[str, tuple[str, dict]]) -> dict[str, tuple[str, dict]]:
    """Return the rows for S4: with a low-rank term of rank 1 unless it says more."""
    return {
        name: (reason, {"ranks": 1} | sizes) for name, (reason, sizes) in rows.items()
    }


CASES: tuple[Case, ...] = (
    *family("s4.s4", scan, **with_rank(SCANS | LOW_RANK_ONLY)),
    *family("s4.s4_step", step, **with_rank(STEP_ROWS | of_one_token(LOW_RANK_ONLY))),
    *family("s4d.s4d", scan, **SCANS, **DIAGONAL_ONLY),
    *family("s4d.s4d_step", step, **STEP_ROWS, **of_one_token(DIAGONAL_ONLY)),
)
