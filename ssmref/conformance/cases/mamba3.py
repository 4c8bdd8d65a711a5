"""Cases of Mamba-3, SISO and MIMO, and of their steps."""

from typing import Any

from ...golden.mamba3 import Mamba3State
from ..random import Draw
from .case import Case, cycle, family, scan_of, step_of

# Rates per unit of dt, dt being about 0.3: decays of 0.997, 0.94 and 0.4 per token.
RATES = (-0.01, -0.2, -3.0)


def _arguments(
    draw: Draw,
    *,
    batch: int = 1,
    length: int | None = None,
    heads: int = 3,
    headdim: int = 2,
    groups: int = 1,
    ranks: int | None = None,
    state: int = 4,
    angles: int = 2,
    rates: tuple[float, ...] = RATES,
    step_sizes: tuple[float, float] = (0.05, 0.6),
    trap: tuple[float, float] = (-2.0, 2.0),
    turn: float = 1.0,
    scale: float = 1.0,
    options: tuple[str, ...] = (),
    pairing: str | None = None,
) -> dict[str, Any]:
    """Draw the inputs that scan and step share; SISO has no ranks, a step no length."""
    lead = (batch,) if length is None else (batch, length)
    rank = () if ranks is None else (ranks,)
    wobble = draw.uniform("A", 0.5, 1.5, *lead, heads)
    arguments: dict[str, Any] = {
        "x": scale * draw.normal("x", *lead, heads, headdim),
        "dt": draw.uniform("dt", *step_sizes, *lead, heads),
        "A": wobble * cycle(rates, heads),
        "B": draw.normal("B", *lead, *rank, groups, state),
        "C": draw.normal("C", *lead, *rank, groups, state),
        "trap": draw.uniform("trap", *trap, *lead, heads),
        "angles": turn * draw.normal("angles", *lead, heads, angles),
    }
    drawn = {
        "B_bias": lambda: 1 + draw.normal("B_bias", heads, *rank, state) / 2,
        "C_bias": lambda: 1 + draw.normal("C_bias", heads, *rank, state) / 2,
        "D": lambda: 1 + draw.normal("D", heads) / 4,
        "z": lambda: 2 * draw.normal("z", *lead, heads, headdim),
        "norm_weight": lambda: 1 + draw.normal("norm_weight", heads, headdim) / 4,
        "norm_eps": lambda: 0.5,
        "mimo_x": lambda: draw.normal("mimo_x", heads, ranks or 1, headdim),
        "mimo_z": lambda: draw.normal("mimo_z", heads, ranks or 1, headdim),
        "mimo_o": lambda: draw.normal("mimo_o", heads, ranks or 1, headdim),
    }
    arguments |= {option: drawn[option]() for option in options}
    if pairing is not None:
        arguments["pairing"] = pairing
    return arguments


def _state(draw: Draw, arguments: dict[str, Any], rows: int) -> Mamba3State:
    heads, headdim = arguments["x"].shape[-2:]
    state, angles = arguments["B"].shape[-1], arguments["angles"].shape[-1]
    mimo = arguments["B"].ndim - arguments["x"].ndim
    ranks = arguments["B"].shape[-3] if mimo else 1
    return Mamba3State(
        angle=draw.uniform("state.angle", 0, 6.25, rows, heads, angles),
        ssm=draw.normal("state.ssm", rows, heads, headdim, state),
        k=draw.normal("state.k", rows, ranks, heads, state),
        v=draw.normal("state.v", rows, heads, headdim),
    )


scan, step = scan_of(_arguments, _state), step_of(_arguments, _state)


BIASES = ("B_bias", "C_bias")
ALL = (*BIASES, "D", "z")
PROJECTIONS = ("mimo_x", "mimo_z", "mimo_o")
SLOW = (-0.01, -0.05)


OTHER = "the pairing that is not the op's default"

SCANS: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything, two coordinates and one angle",
        {"length": 1, "heads": 1, "headdim": 1, "state": 2, "angles": 1},
    ),
    "plain": (
        "sizes that differ on every axis",
        {"batch": 2, "length": 17, "headdim": 5, "state": 8, "angles": 4},
    ),
    "empty": (
        "no token: all four states pass through",
        {"length": 0, "initial": True},
    ),
    "one_token": (
        "the previous key and value of the state enter the first token",
        {"batch": 3, "length": 1, "initial": True},
    ),
    "no_rotation": (
        "no angles: Mamba-2 with a trapezoid",
        {"length": 19, "angles": 0},
    ),
    "partial_rotation": (
        "fewer angles than pairs: which coordinates pass",
        {"length": 19, "state": 8, "angles": 2},
    ),
    "fast_rotation": (
        "angles that wrap around many times",
        {"length": 90, "turn": 8.0, "rates": SLOW},
    ),
    "other_pairing": (
        "the pairing that is not the default",
        {
            "length": 15,
            "state": 8,
            "angles": 3,
            "pairing": OTHER,
        },
    ),
    "biases": (
        "the bias comes before the rotation",
        {"batch": 2, "length": 13, "options": BIASES},
    ),
    "trapezoid_left": (
        "lambda near 0: only the previous token counts",
        {"length": 16, "trap": (-9.0, -5.0)},
    ),
    "trapezoid_right": (
        "lambda near 1: only the current token counts",
        {"length": 16, "trap": (5.0, 9.0)},
    ),
    "chunks": (
        "states pass through chunks of 16, 32 and 64",
        {"length": 193, "heads": 2, "rates": SLOW},
    ),
    "groups_inner": (
        "1 < groups < heads: tiling is not repeating",
        {"batch": 2, "length": 21, "heads": 6, "groups": 2},
    ),
    "group_per_head": (
        "as many groups as heads",
        {"length": 14, "heads": 5, "groups": 5},
    ),
    "initial_state": (
        "angle, state, key and value all carry on",
        {"batch": 2, "length": 40, "initial": True, "rates": SLOW},
    ),
    "skip": ("D x is added once", {"length": 9, "options": ("D", "mimo_x")}),
    "gate": (
        "SiLU on the sum with D x",
        {"batch": 2, "length": 9, "options": ("D", "z", *PROJECTIONS)},
    ),
    "norm": (
        "the norm comes before the gate, per head",
        {
            "batch": 2,
            "length": 9,
            "headdim": 6,
            "options": ("z", "norm_weight", *PROJECTIONS),
        },
    ),
    "packed": (
        "shifted terms stop at boundaries; empty and one-token sequences",
        {"length": 80, "lengths": (13, 0, 1, 40, 26), "initial": True},
    ),
    "large_values": ("magnitudes of 1e10", {"length": 11, "scale": 1e10}),
    "everything": (
        "all options at once",
        {
            "batch": 2,
            "length": 67,
            "heads": 6,
            "groups": 3,
            "state": 8,
            "angles": 3,
            "initial": True,
            "options": (*ALL, "norm_weight", *PROJECTIONS),
        },
    ),
}
STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything, two coordinates and one angle",
        {"heads": 1, "headdim": 1, "state": 2, "angles": 1},
    ),
    "plain": (
        "sizes that differ on every axis",
        {"batch": 2, "headdim": 5, "state": 8, "angles": 4},
    ),
    "no_rotation": ("no angles", {"batch": 2, "angles": 0}),
    "partial_rotation": (
        "which coordinates pass",
        {"batch": 2, "state": 8, "angles": 2},
    ),
    "other_pairing": (
        "the pairing that is not the default",
        {
            "batch": 2,
            "state": 8,
            "angles": 3,
            "pairing": OTHER,
        },
    ),
    "biases": (
        "the bias comes before the rotation",
        {"batch": 2, "options": BIASES},
    ),
    "trapezoid_left": ("lambda near 0", {"batch": 2, "trap": (-9.0, -5.0)}),
    "trapezoid_right": ("lambda near 1", {"batch": 2, "trap": (5.0, 9.0)}),
    "groups_inner": (
        "tiling is not repeating",
        {"batch": 2, "heads": 6, "groups": 2},
    ),
    "skip": ("D x is added once", {"batch": 2, "options": ("D", "mimo_x")}),
    "gate": ("SiLU on the sum", {"batch": 2, "options": ("D", "z", *PROJECTIONS)}),
    "norm": (
        "the norm comes before the gate",
        {"batch": 2, "headdim": 6, "options": ("z", "norm_weight", *PROJECTIONS)},
    ),
    "slots": (
        "rows use the slots that they name",
        {"batch": 3, "slots": (4, 0, 2), "pool": 6},
    ),
    "padding_slots": (
        "a negative slot is padding",
        {"batch": 4, "slots": (3, -1, 0, -1), "pool": 5},
    ),
    "everything": (
        "all options at once",
        {
            "batch": 3,
            "heads": 6,
            "groups": 3,
            "state": 8,
            "angles": 3,
            "slots": (1, -1, 3),
            "pool": 4,
            "options": (*ALL, "norm_weight", *PROJECTIONS),
        },
    ),
}


def siso(rows: dict[str, tuple[str, dict]]) -> dict[str, tuple[str, dict]]:
    """Return the families for SISO, which has neither ranks nor projections."""
    adapted = {}
    for name, (reason, sizes) in rows.items():
        options = tuple(o for o in sizes.get("options", ()) if o not in PROJECTIONS)
        pairing = {"pairing": "halved"} if "pairing" in sizes else {}
        adapted[name] = reason, {**sizes, "options": options, **pairing}
    return adapted


def mimo(rows: dict[str, tuple[str, dict]]) -> dict[str, tuple[str, dict]]:
    """Return the families for MIMO, with two ranks."""
    adapted = {}
    for name, (reason, sizes) in rows.items():
        pairing = {"pairing": "pairwise"} if "pairing" in sizes else {}
        adapted[name] = reason, {"ranks": 2, **sizes, **pairing}
    return adapted


CASES: tuple[Case, ...] = (
    *family("mamba3.siso", scan, **siso(SCANS)),
    *family("mamba3.siso_step", step, **siso(STEPS)),
    *family(
        "mamba3.mimo",
        scan,
        **mimo(SCANS),
        one_rank=(
            "a single rank, as in SISO but halved",
            {"length": 12, "ranks": 1, "options": PROJECTIONS},
        ),
        four_ranks=(
            "the pairs of different ranks of one token count too",
            {"batch": 2, "length": 25, "ranks": 4, "options": PROJECTIONS},
        ),
    ),
    *family(
        "mamba3.mimo_step",
        step,
        **mimo(STEPS),
        four_ranks=(
            "all pairs of ranks",
            {"batch": 2, "ranks": 4, "options": PROJECTIONS},
        ),
    ),
)
