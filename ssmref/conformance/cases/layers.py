"""Cases of the causal convolution and its steps."""

from typing import Any

import numpy as np

from ..random import Draw
from .case import Case, bounds, family


def _arguments(
    draw: Draw,
    *,
    batch: int = 1,
    length: int | None = None,
    channels: int = 3,
    width: int = 4,
    scale: float = 1.0,
    bias: bool = False,
    silu: bool = False,
) -> dict[str, Any]:
    lead = (batch,) if length is None else (batch, length)
    arguments: dict[str, Any] = {
        "x": scale * draw.normal("x", *lead, channels),
        "weight": draw.normal("weight", channels, width),
    }
    if bias:
        arguments["bias"] = draw.normal("bias", channels)
    if silu:
        arguments["activation"] = "silu"
    return arguments


def convolution(
    draw: Draw, *, lengths: tuple[int, ...] = (), initial: bool = False, **sizes: Any
) -> dict[str, Any]:
    """Draw a sequence or a pack."""
    arguments = _arguments(draw, **sizes)
    channels, width = arguments["weight"].shape
    rows = len(lengths) or len(arguments["x"])
    if initial:
        arguments["initial_state"] = draw.normal("state", rows, width - 1, channels)
    if lengths:
        arguments["cu_seqlens"] = bounds(*lengths)
    return arguments


def step(
    draw: Draw,
    *,
    window: int = 3,
    slots: tuple[int, ...] = (),
    pool: int = 0,
    **sizes: Any,
) -> dict[str, Any]:
    """Draw new tokens and the buffers that they meet."""
    arguments = _arguments(draw, **sizes)
    batch, channels = arguments["x"].shape[0], arguments["weight"].shape[0]
    arguments["state"] = draw.normal("state", pool or batch, window, channels)
    if slots:
        arguments["slots"] = np.array(slots, np.int64)
    return arguments


def circular(
    draw: Draw, *, position: tuple[int, ...] = (0,), **sizes: Any
) -> dict[str, Any]:
    """Draw new tokens, circular buffers and how many tokens these have seen."""
    arguments = step(draw, **sizes)
    arguments["position"] = np.resize(np.array(position, np.int64), len(arguments["x"]))
    return arguments


ALL = {"bias": True, "silu": True}

CASES: tuple[Case, ...] = (
    *family(
        "layers.causal_conv1d",
        convolution,
        smallest=("one of everything", {"length": 1, "channels": 1, "width": 1}),
        plain=(
            "sizes that differ on every axis: the last tap meets the current input",
            {"batch": 2, "length": 11, "channels": 5, "width": 4},
        ),
        empty=("no token: the state passes through", {"length": 0, "initial": True}),
        one_token=(
            "shorter than the filter: old inputs stay in the state",
            {"batch": 2, "length": 1, "initial": True},
        ),
        two_tokens=(
            "the state is part old, part new",
            {"batch": 2, "length": 2, "initial": True},
        ),
        width_less_one=("as long as the state", {"length": 3, "initial": True}),
        width_two=("the narrowest real filter", {"length": 9, "width": 2}),
        width_three=("an odd width", {"length": 9, "width": 3, "initial": True}),
        width_seven=("a wide filter", {"length": 20, "width": 7, "initial": True}),
        initial_state=(
            "raw earlier inputs, oldest first",
            {"batch": 3, "length": 10, "initial": True},
        ),
        bias=("the bias is added once", {"length": 8, "bias": True}),
        silu=(
            "SiLU of the sum with the bias; the state stays raw",
            {"batch": 2, "length": 12, **ALL},
        ),
        packed=(
            "no tail of one sequence in the next; empty and short sequences",
            {"length": 30, "lengths": (5, 0, 1, 2, 22), "initial": True},
        ),
        packed_zero=(
            "each sequence starts from zeros",
            {"length": 20, "lengths": (3, 17), **ALL},
        ),
        past_block=(
            "longer than a thread block's tile",
            {"length": 131, "channels": 2, "initial": True},
        ),
        large_values=("magnitudes of 1e10", {"length": 9, "scale": 1e10}),
        everything=(
            "all options at once",
            {"batch": 2, "length": 33, "channels": 7, "initial": True, **ALL},
        ),
    ),
    *family(
        "layers.causal_conv1d_step",
        step,
        smallest=("one of everything", {"channels": 1, "width": 1, "window": 1}),
        plain=("sizes that differ on every axis", {"batch": 2, "channels": 5}),
        width_two=("a state of one input", {"batch": 2, "width": 2, "window": 1}),
        wide_window=(
            "a buffer of width entries: the oldest is not used",
            {"batch": 2, "window": 4},
        ),
        wider_window=("a buffer wider than any peer's", {"batch": 2, "window": 6}),
        bias=("the bias is added once", {"batch": 2, "bias": True}),
        silu=("the state stays raw", {"batch": 3, **ALL}),
        several_tokens=(
            "several tokens at once, fewer than the state holds",
            {"batch": 2, "length": 2, **ALL},
        ),
        many_tokens=(
            "more tokens than the state holds",
            {"batch": 2, "length": 7, **ALL},
        ),
        slots=(
            "rows use the slots that they name",
            {"batch": 3, "slots": (4, 0, 2), "pool": 6},
        ),
        padding_slots=(
            "a negative slot is padding: output 0, no state changes",
            {"batch": 4, "slots": (3, -1, 0, -1), "pool": 5, **ALL},
        ),
        large_values=("magnitudes of 1e10", {"batch": 2, "scale": 1e10}),
        everything=(
            "all options at once",
            {
                "batch": 3,
                "length": 5,
                "channels": 7,
                "window": 5,
                "slots": (1, -1, 3),
                "pool": 4,
                **ALL,
            },
        ),
    ),
    *family(
        "layers.causal_conv1d_step_circular",
        circular,
        smallest=("one of everything", {"channels": 1, "width": 1, "window": 1}),
        plain=(
            "sizes that differ on every axis, rows at positions of their own",
            {"batch": 2, "channels": 5, "window": 4, "position": (5, 2)},
        ),
        start=(
            "position 0: the buffer counts as it is, its zeros too",
            {"batch": 2, "window": 4, "position": (0,)},
        ),
        shortest_window=(
            "a buffer of width - 1: the oldest input is overwritten",
            {"batch": 4, "position": (0, 1, 2, 3)},
        ),
        every_phase=(
            "each place in the buffer where the newest input can lie",
            {"batch": 5, "window": 5, "position": (10, 11, 12, 13, 14)},
        ),
        far_position=(
            "positions beyond 2^31: no 32-bit counter",
            {"batch": 2, "window": 4, "position": (2**31 + 3, 2**40 + 1)},
        ),
        width_two=("a filter of two", {"batch": 2, "width": 2, "window": 1}),
        wide_window=(
            "a buffer wider than the filter: what is older is not used",
            {"batch": 2, "window": 7, "position": (3, 9)},
        ),
        several_tokens=(
            "several tokens at once wrap around the end of the buffer",
            {"batch": 2, "length": 3, "window": 4, "position": (2, 3), **ALL},
        ),
        many_tokens=(
            "more tokens than the buffer holds",
            {"batch": 2, "length": 9, "window": 4, "position": (1, 6), **ALL},
        ),
        bias=("the bias is added once", {"batch": 2, "bias": True, "position": (7,)}),
        silu=("the buffer stays raw", {"batch": 3, "position": (4,), **ALL}),
        slots=(
            "rows use the slots that they name, each at its own position",
            {"batch": 3, "slots": (4, 0, 2), "pool": 6, "position": (1, 5, 3)},
        ),
        padding_slots=(
            "a negative slot is padding: output 0, no state changes",
            {
                "batch": 4,
                "slots": (3, -1, 0, -1),
                "pool": 5,
                "position": (2, 0, 7, 0),
            },
        ),
        large_values=(
            "magnitudes of 1e10",
            {"batch": 2, "scale": 1e10, "position": (3,)},
        ),
        everything=(
            "all options at once",
            {
                "batch": 3,
                "length": 6,
                "channels": 7,
                "window": 5,
                "slots": (1, -1, 3),
                "pool": 4,
                "position": (8, 0, 3),
                **ALL,
            },
        ),
    ),
)
