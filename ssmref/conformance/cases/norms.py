"""Cases of the norms."""

from typing import Any

from ..random import Draw
from .case import Case, cycle, family


def _arguments(
    draw: Draw,
    *,
    batch: int = 2,
    length: int | None = None,
    channels: int = 6,
    scale: float = 1.0,
    mean: float = 0.0,
    uneven: bool = False,
    zeros: bool = False,
    eps: float | None = None,
    options: tuple[str, ...] = ("weight",),
) -> dict[str, Any]:
    """Draw x, whose rows or channels may differ in size, and what goes with it."""
    lead = (batch,) if length is None else (batch, length)
    x = mean + scale * draw.normal("x", *lead, channels)
    if uneven:
        x *= cycle((0.01, 10.0, 0.1, 100.0, 1.0), channels)
    if zeros:
        x[0] = 0
    arguments: dict[str, Any] = {"x": x}
    if "weight" in options:
        arguments["weight"] = 1 + draw.normal("weight", channels) / 2
    if "bias" in options:
        arguments["bias"] = draw.normal("bias", channels)
    if eps is not None:
        arguments["eps"] = eps
    return arguments


def gated(
    draw: Draw,
    *,
    group_size: int | None = None,
    norm_before_gate: bool = False,
    large_gate: bool = False,
    options: tuple[str, ...] = ("weight", "z"),
    **sizes: Any,
) -> dict[str, Any]:
    """Draw x, its weight and its gate."""
    arguments = _arguments(draw, options=options, **sizes)
    if "z" in options:
        z = 2 * draw.normal("z", *arguments["x"].shape)
        arguments["z"] = 20 * z if large_gate else z
    if group_size is not None:
        arguments["group_size"] = group_size
    if norm_before_gate:
        arguments["norm_before_gate"] = True
    return arguments


norm = _arguments

# What all norms have in common.
SHARED: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("a mean over the last axis only", {"length": 5, "channels": 7}),
    "no_length": ("a row per batch, as in a step", {"batch": 3}),
    "one_channel": (
        "the mean of one number",
        {"batch": 4, "channels": 1},
    ),
    "no_weight": ("without weight", {"length": 3, "options": ()}),
    "many_channels": (
        "a power of two and one: tails of vector code",
        {"length": 3, "channels": 257},
    ),
    "uneven": (
        "channels from 0.01 to 100: the largest rule the mean",
        {"length": 4, "channels": 9, "uneven": True},
    ),
    "eps_rules": (
        "values below eps, which stands inside the root",
        {"length": 4, "scale": 1e-3, "eps": 1e-2},
    ),
    "other_eps": ("the eps that is given is used", {"length": 4, "eps": 0.5}),
    "no_eps": ("eps = 0", {"length": 4, "eps": 0.0}),
    "zeros": (
        "a row of zeros stays zero: eps stands before the division",
        {"batch": 3, "length": 2, "zeros": True},
    ),
    "squares": (
        "squares beyond the range of float16",
        {"length": 4, "scale": 900.0},
    ),
    "large_values": ("magnitudes of 1e10", {"length": 4, "scale": 1e10}),
    "small_values": ("magnitudes of 1e-10", {"length": 4, "scale": 1e-10}),
}
TWO = {"channels": 12, "uneven": True}


def _gated(rows: dict[str, tuple[str, dict]]) -> dict[str, tuple[str, dict]]:
    """Return the rows with a gate."""
    adapted = {}
    for name, (reason, sizes) in rows.items():
        options = (*sizes.get("options", ("weight",)), "z")
        adapted[name] = reason, {**sizes, "options": options}
    return adapted


CASES: tuple[Case, ...] = (
    *family("layers.rms_norm", norm, **SHARED),
    *family(
        "layers.layer_norm",
        norm,
        **SHARED,
        bias=("the bias comes last", {"length": 5, "options": ("weight", "bias")}),
        bias_only=("a bias without a weight", {"length": 5, "options": ("bias",)}),
        far_mean=(
            "a mean 300 times the deviation: the mean of squares less the square of "
            "the mean loses five digits",
            {"length": 5, "channels": 16, "mean": 300.0},
        ),
        equal_channels=(
            "no deviation at all: the difference to the mean is rounding",
            {"length": 3, "mean": 3.0, "scale": 0.0},
        ),
    ),
    *family(
        "layers.rms_norm_gated",
        gated,
        **_gated(SHARED),
        no_gate=("without z a plain norm", {"length": 5, "options": ("weight",)}),
        norm_before_gate=(
            "the gate comes after the norm and is not normalised",
            {"length": 5, "norm_before_gate": True},
        ),
        groups=(
            "a mean per block of channels: blocks of different size",
            {"length": 5, "group_size": 4, **TWO},
        ),
        groups_before_gate=(
            "blocks, and the gate after the norm",
            {"length": 5, "group_size": 3, "norm_before_gate": True, **TWO},
        ),
        groups_of_one=(
            "every channel is its own group: only signs are left",
            {"length": 3, "group_size": 1},
        ),
        groups_no_gate=(
            "blocks without a gate",
            {"length": 3, "group_size": 4, "options": ("weight",), **TWO},
        ),
        large_gate=(
            "gates of +-80: silu neither overflows nor vanishes too early",
            {"length": 6, "channels": 9, "large_gate": True},
        ),
        everything=(
            "all options at once",
            {
                "length": 7,
                "channels": 24,
                "group_size": 8,
                "norm_before_gate": True,
                "uneven": True,
                "eps": 1e-3,
            },
        ),
    ),
)
