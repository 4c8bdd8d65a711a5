"""Cases of snapshots at absolute block boundaries, and the step sizes of serving."""

from typing import Any

import numpy as np

from ..random import Draw
from .case import RATES, Case, bounds, cycle, family, sprinkle

SLOW = (-0.002, -0.02, -0.2)


def step_sizes(
    draw: Draw,
    lead: tuple[int, int],
    heads: int,
    *,
    rates: tuple[float, ...] = RATES,
    range_of_dt: tuple[float, float] = (0.01, 0.1),
    softplus: bool = False,
    raw: tuple[float, ...] = (),
    dt_limit: tuple[float, float] | None = None,
    options: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Draw dt, A and the options that change dt."""
    arguments: dict[str, Any] = {
        "dt": draw.uniform("dt", *range_of_dt, *lead, heads),
        "A": cycle(rates, heads),
    }
    if softplus:
        arguments["dt"] = draw.normal("dt", *lead, heads) - 3
        sprinkle(arguments["dt"], raw)
        arguments["dt_softplus"] = True
    if dt_limit is not None:
        arguments["dt_limit"] = dt_limit
    if "dt_bias" in options:
        arguments["dt_bias"] = draw.uniform("dt_bias", -1, 1, heads)
    return arguments


def snapshots(
    draw: Draw,
    *,
    lengths: tuple[int, ...],
    seen: tuple[int, ...] = (),
    block: int = 16,
    heads: int = 3,
    headdim: int = 2,
    groups: int = 1,
    state: int = 4,
    initial: bool = False,
    scale: float = 1.0,
    **others: Any,
) -> dict[str, Any]:
    """Draw a pack; `seen` counts the tokens before each sequence."""
    length = sum(lengths)
    arguments = {
        "x": scale * draw.normal("x", 1, length, heads, headdim),
        **step_sizes(draw, (1, length), heads, **others),
        "B": draw.normal("B", 1, length, groups, state),
        "cu_seqlens": bounds(*lengths),
        "position": np.array(seen or (0,) * len(lengths), np.int64),
        "block": block,
    }
    if initial:
        shape = (len(lengths), heads, headdim, state)
        arguments["initial_state"] = draw.normal("state", *shape)
    return arguments


SNAPSHOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "a block of one token: every state",
        {"lengths": (1,), "block": 1, "heads": 1, "headdim": 1, "state": 1},
    ),
    "none": ("no sequence reaches the end of a block", {"lengths": (5, 9)}),
    "one_sequence": ("several blocks and a rest", {"lengths": (53,), "rates": SLOW}),
    "second_sequence": (
        "after a first sequence of odd length: each has its own grid",
        {"lengths": (21, 40, 35), "rates": SLOW},
    ),
    "position": (
        "blocks count from the start of the text, not of this step",
        {
            "lengths": (30, 30, 1, 40),
            "seen": (16, 7, 15, 31),
            "initial": True,
            "rates": SLOW,
        },
    ),
    "split_prefill": (
        "a boundary right at the first token, and one right at the last",
        {"lengths": (17, 13), "seen": (15, 3), "initial": True},
    ),
    "empty_sequences": (
        "a sequence without tokens has no snapshot, also at a boundary",
        {"lengths": (0, 20, 0, 33), "seen": (16, 16, 5, 0), "initial": True},
    ),
    "odd_block": (
        "a block that is no multiple of any chunk",
        {
            "lengths": (50, 47),
            "seen": (0, 11),
            "block": 13,
            "initial": True,
            "rates": SLOW,
        },
    ),
    "block_above_chunk": (
        "a block of one and a half chunks of 64",
        {
            "lengths": (131, 210),
            "seen": (40, 0),
            "block": 96,
            "initial": True,
            "heads": 2,
            "rates": SLOW,
        },
    ),
    "fast_decay": (
        "states that forget within a block",
        {"lengths": (40, 25), "rates": (-24.0, -2.0)},
    ),
    "groups_inner": (
        "1 < groups < heads",
        {"lengths": (19, 18), "heads": 6, "groups": 2, "block": 6},
    ),
    "everything": (
        "all options at once",
        {
            "lengths": (33, 0, 1, 45),
            "seen": (9, 10, 19, 4),
            "block": 10,
            "heads": 6,
            "headdim": 3,
            "groups": 3,
            "state": 5,
            "initial": True,
            "softplus": True,
            "dt_limit": (0.01, 0.2),
            "options": ("dt_bias",),
        },
    ),
}


CASES: tuple[Case, ...] = tuple(family("caches.snapshots", snapshots, **SNAPSHOTS))
