"""Cases of serving: pools of states, padding, drafts; those of snapshots."""

from typing import Any

import numpy as np

from ...golden.caches import ServeState
from ..random import Draw
from . import snapshots
from .case import Case, family, member
from .snapshots import SLOW, step_sizes


def serve(
    draw: Draw,
    *,
    batch: int = 2,
    length: int = 6,
    heads: int = 3,
    headdim: int = 2,
    groups: int = 1,
    state: int = 4,
    width: int = 4,
    slots: int = 0,
    read: tuple[int, ...] = (),
    write: tuple[int, ...] = (),
    left: tuple[int, ...] = (),
    right: tuple[int, ...] = (),
    skipped: tuple[int, ...] = (),
    accepted: tuple[int, ...] = (),
    poisoned: tuple[int, ...] = (),
    scale: float = 1.0,
    **others: Any,
) -> dict[str, Any]:
    """Draw a call; rows start from zeros and write the first slots by default.

    `left` and `right` count the padding of each row, `skipped` are padded tokens of
    all rows; the pool has one slot more than rows, so that a stray write is seen.
    Slots that are `poisoned` hold NaN.
    """
    channels = heads * headdim + 2 * groups * state
    pool = slots or batch + 1
    arguments: dict[str, Any] = {
        "xBC": scale * draw.normal("xBC", batch, length, channels),
        **step_sizes(draw, (batch, length), heads, **others),
        "weight": draw.normal("weight", channels, width) / 2,
        "read": np.array(read or (-1,) * batch, np.int64),
        "write": np.array(write or range(batch), np.int64),
        "state": ServeState(
            scale * draw.normal("state.conv", pool, width - 1, channels),
            draw.normal("state.ssm", pool, heads, headdim, state),
        ),
    }
    for part in arguments["state"]:
        part[list(poisoned)] = np.nan
    if left or right or skipped:
        arguments["mask"] = _mask(batch, length, left, right, skipped)
    if accepted:
        arguments["accepted"] = np.array(accepted, np.int64)
    if "bias" in others.get("options", ()):
        arguments["bias"] = draw.normal("bias", channels)
    if "D" in others.get("options", ()):
        arguments["D"] = 1 + draw.normal("D", heads) / 4
    return arguments


def _mask(
    batch: int,
    length: int,
    left: tuple[int, ...],
    right: tuple[int, ...],
    skipped: tuple[int, ...],
) -> np.ndarray:
    now = np.arange(length)
    first = np.array(left or (0,) * batch)[:, None]
    last = length - np.array(right or (0,) * batch)[:, None]
    real = (first <= now) & (now < last) & ~np.isin(now, skipped)
    return real.astype(np.int64)


ALL = ("bias", "D", "dt_bias")

SERVE: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything; a filter of one tap has no state",
        {"batch": 1, "length": 1, "heads": 1, "headdim": 1, "state": 1, "width": 1},
    ),
    "prefill": (
        "from zeros into slots: the convolution's state is its raw input",
        {"batch": 2, "length": 11, "options": ("bias",)},
    ),
    "no_tokens": (
        "no token: slots are copied, or cleared where nothing is read",
        {"batch": 3, "length": 0, "read": (2, -1, 0), "write": (1, 0, 3)},
    ),
    "decode": (
        "one token per row, each in the slot that it names",
        {"batch": 3, "length": 1, "slots": 6, "read": (4, 0, 2), "write": (4, 0, 2)},
    ),
    "continuation": (
        "several tokens from a state: neither one step nor a fresh start",
        {"batch": 2, "length": 5, "read": (1, 0), "write": (1, 0)},
    ),
    "short_continuation": (
        "fewer tokens than the filter's state holds: it stays part old",
        {"batch": 2, "length": 2, "read": (0, 2), "write": (0, 2)},
    ),
    "prefix_hit": (
        "two rows continue one shared prefix, which must stay as it is",
        {"batch": 2, "length": 7, "slots": 4, "read": (3, 3), "write": (0, 1)},
    ),
    "short_prefix_hit": (
        "a suffix shorter than the filter's state goes to the own slot, not the shared",
        {"batch": 2, "length": 2, "slots": 4, "read": (3, 3), "write": (0, 1)},
    ),
    "mixed_starts": (
        "fresh rows, decoding rows and prefix hits of different lengths in one step",
        {
            "batch": 4,
            "length": 9,
            "slots": 6,
            "read": (-1, 5, 2, 5),
            "write": (0, 1, 2, 3),
            "right": (0, 8, 8, 3),
        },
    ),
    "long_prefix_hit": (
        "states pass through chunks of 64; a suffix ends in the middle of one",
        {
            "batch": 2,
            "length": 150,
            "slots": 4,
            "read": (3, -1),
            "write": (0, 1),
            "right": (40, 0),
            "rates": SLOW,
        },
    ),
    "beams": (
        "each beam continues its own parent; two have the same",
        {
            "batch": 4,
            "length": 1,
            "slots": 5,
            "read": (0, 0, 3, 1),
            "write": (0, 1, 2, 3),
        },
    ),
    "swap": (
        "rows change slots: all are read before any is written",
        {"batch": 2, "length": 3, "read": (0, 1), "write": (1, 0)},
    ),
    "right_padding": (
        "padding after the end neither decays a state nor enters the filter's",
        {
            "batch": 3,
            "length": 12,
            "right": (0, 3, 8),
            "options": ("bias",),
            "rates": (-0.2, -2.0, -24.0),
        },
    ),
    "left_padding": (
        "padding before the start: the filter's bias must not turn it into input",
        {
            "batch": 3,
            "length": 12,
            "left": (5, 0, 9),
            "options": ("bias", "dt_bias"),
            "softplus": True,
        },
    ),
    "left_padding_continued": (
        "padding between a state and its next token is skipped, not convolved",
        {"batch": 2, "length": 8, "left": (6, 2), "read": (0, 1), "options": ("bias",)},
    ),
    "left_padding_long": (
        "padding longer than a chunk: each part of a prompt has its own mask",
        {
            "batch": 2,
            "length": 150,
            "left": (70, 3),
            "options": ("bias",),
            "rates": SLOW,
        },
    ),
    "padded_tail": (
        "one real token, then placeholders: the state is that after the token",
        {
            "batch": 2,
            "length": 5,
            "right": (4, 4),
            "read": (1, 0),
            "write": (1, 0),
            "options": ("bias",),
        },
    ),
    "padded_rows": (
        "rows of padding alone: output 0, slots as they were or copied",
        {
            "batch": 3,
            "length": 4,
            "right": (4, 0, 4),
            "read": (0, 1, 3),
            "write": (0, 1, 2),
        },
    ),
    "rejected_drafts": (
        "both states roll back to the accepted tokens: none, one, some and all",
        {"batch": 4, "length": 5, "read": (0, 1, 2, 3), "accepted": (0, 1, 3, 5)},
    ),
    "rejected_drafts_padded": (
        "accepted counts real tokens, wherever their padding is",
        {
            "batch": 3,
            "length": 7,
            "read": (2, 1, 0),
            "write": (2, 1, 0),
            "left": (2, 0, 1),
            "right": (0, 4, 1),
            "accepted": (2, 1, 5),
        },
    ),
    "no_write": (
        "a negative slot is written nowhere, also not at the end of the pool",
        {"batch": 3, "length": 4, "read": (1, -1, 2), "write": (-1, 2, -1)},
    ),
    "one_slot": ("the only slot, not the first of many", {"batch": 1, "slots": 1}),
    "width_two": (
        "the narrowest real filter",
        {"length": 4, "width": 2, "read": (2, 0), "write": (0, 2)},
    ),
    "groups_inner": (
        "1 < groups < heads, as they lie in the channels",
        {
            "batch": 2,
            "length": 7,
            "heads": 6,
            "groups": 3,
            "headdim": 3,
            "state": 5,
            "read": (1, -1),
        },
    ),
    "dt_limit": (
        "dt is clamped by its limits, not by the range of its initial values",
        {
            "batch": 2,
            "length": 9,
            "softplus": True,
            "raw": (-9.0, 1.5, -8.0),
            "dt_limit": (0.0005, 0.3),
            "options": ("dt_bias",),
        },
    ),
    "everything": (
        "all options at once",
        {
            "batch": 4,
            "length": 37,
            "heads": 6,
            "headdim": 3,
            "groups": 2,
            "state": 5,
            "slots": 8,
            "read": (-1, 6, 6, 0),
            "write": (1, 5, 0, -1),
            "left": (0, 30, 0, 2),
            "right": (20, 0, 0, 3),
            "accepted": (17, 4, 20, 32),
            "softplus": True,
            "dt_limit": (0.01, 0.2),
            "options": ALL,
        },
    ),
}

EXTENDED: dict[str, tuple[str, dict[str, Any]]] = {
    "padding-between": (
        "padding between real tokens is skipped too",
        {
            "batch": 2,
            "length": 9,
            "skipped": (2, 3, 6),
            "read": (0, -1),
            "options": ("bias",),
        },
    )
}

CASES: tuple[Case, ...] = (
    *family("caches.serve", serve, **SERVE),
    *(
        member("caches.serve", serve, name, reason, sizes, "extended")
        for name, (reason, sizes) in EXTENDED.items()
    ),
    *snapshots.CASES,
)
