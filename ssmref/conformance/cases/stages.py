"""Cases of the stages of chunked algorithms: the ops' own inputs, in small chunks."""

from typing import Any

from ..random import Draw
from . import mamba1, mamba2, mamba3
from .case import Case, family
from .mamba1 import TAILS


def ssd(draw: Draw, *, chunk: int = 16, **sizes: Any) -> dict[str, Any]:
    """Draw a call of SSD in chunks."""
    return {**mamba2.scan(draw, **sizes), "chunk_size": chunk}


def siso(draw: Draw, *, chunk: int = 16, **sizes: Any) -> dict[str, Any]:
    """Draw a call of Mamba-3 in chunks."""
    return {**mamba3.scan(draw, **sizes), "chunk_size": chunk}


SLOW = (-0.002, -0.02, -0.2)

SSD: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything",
        {"length": 1, "heads": 1, "headdim": 1, "state": 1, "chunk": 1},
    ),
    "one_chunk": (
        "a single full chunk: nothing is passed on",
        {"batch": 2, "length": 16, "rates": SLOW},
    ),
    "short_chunk": (
        "fewer tokens than a chunk: dt is 0 beyond them and log_decay stays",
        {"batch": 2, "length": 5},
    ),
    "chunks": (
        "states of several chunks, before and after they are passed on",
        {"length": 64, "rates": SLOW},
    ),
    "ragged": (
        "a last chunk of one token",
        {"batch": 2, "length": 33, "headdim": 5, "rates": SLOW},
    ),
    "initial_state": (
        "the first entering state is the initial one, as it is",
        {"batch": 2, "length": 37, "initial": True, "rates": SLOW},
    ),
    "groups_inner": (
        "heads take their group's B",
        {"length": 20, "heads": 6, "groups": 3, "chunk": 8},
    ),
    "step_sizes": (
        "bias, softplus and limits, but not on the filling of the last chunk",
        {
            "batch": 2,
            "length": 21,
            "softplus": True,
            "raw": TAILS,
            "dt_limit": (0.01, 0.5),
            "options": ("dt_bias",),
        },
    ),
    "softplus_tails": (
        "raw dt beyond the threshold and where log(1 + e^x) is 0, with no limit to "
        "hide it",
        {"length": 20, "softplus": True, "raw": TAILS, "chunk": 8},
    ),
    "odd_chunk": (
        "a chunk that is no power of two, unlike the state",
        {"length": 50, "chunk": 7, "state": 8, "initial": True},
    ),
    "fast_decay": (
        "decays that underflow: no exp of a positive difference",
        {"length": 40, "rates": (-24.0, -48.0), "step_sizes": (0.1, 1.0)},
    ),
    "everything": (
        "all options at once",
        {
            "batch": 2,
            "length": 43,
            "heads": 6,
            "headdim": 3,
            "groups": 2,
            "state": 5,
            "chunk": 8,
            "softplus": True,
            "initial": True,
            "dt_limit": (0.01, 0.2),
            "options": ("dt_bias",),
        },
    ),
}

SCAN: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": ("one of everything", {"length": 1, "channels": 1, "state": 1}),
    "plain": (
        "sizes that differ on every axis",
        {"batch": 2, "length": 17, "channels": 5, "state": 3},
    ),
    "initial_state": (
        "the first state contains the initial one, once decayed",
        {"batch": 2, "length": 33, "initial": True, "rates": SLOW},
    ),
    "groups": (
        "channels take their group's B and C",
        {"batch": 2, "length": 9, "channels": 6, "groups": 2},
    ),
    "softplus_tails": (
        "raw dt beyond the threshold and where log(1 + e^x) is 0",
        {"length": 20, "softplus": True, "raw": TAILS},
    ),
    "large_steps": (
        "decays that underflow",
        {"length": 24, "step_sizes": (0.1, 30.0)},
    ),
    "everything": (
        "all options at once",
        {
            "batch": 2,
            "length": 37,
            "channels": 6,
            "groups": 3,
            "state": 5,
            "softplus": True,
            "initial": True,
            "options": ("dt_bias",),
        },
    ),
}

SISO: dict[str, tuple[str, dict[str, Any]]] = {
    "smallest": (
        "one of everything, two coordinates and one angle",
        {
            "length": 1,
            "heads": 1,
            "headdim": 1,
            "state": 2,
            "angles": 1,
            "chunk": 1,
        },
    ),
    "plain": (
        "sizes that differ on every axis; a ragged last chunk",
        {"batch": 2, "length": 21, "headdim": 5, "state": 8, "angles": 4, "chunk": 8},
    ),
    "chunks": (
        "scale reaches over the end of a chunk, to the next token",
        {"length": 32, "chunk": 8, "rates": mamba3.SLOW},
    ),
    "initial_state": (
        "the key and value of the state enter before the first chunk",
        {"batch": 2, "length": 19, "chunk": 8, "initial": True},
    ),
    "partial_rotation": (
        "fewer angles than pairs",
        {"length": 13, "state": 8, "angles": 2, "chunk": 4},
    ),
    "halved": (
        "pairs across the state",
        {"length": 13, "state": 8, "angles": 3, "chunk": 4, "pairing": "halved"},
    ),
    "biases": (
        "biases come before the rotation, the scale after it",
        {"batch": 2, "length": 13, "chunk": 4, "options": mamba3.BIASES},
    ),
    "trapezoid": (
        "lambda near 0 and near 1",
        {"length": 16, "trap": (-9.0, 9.0), "chunk": 8},
    ),
    "everything": (
        "all options at once",
        {
            "batch": 2,
            "length": 27,
            "heads": 6,
            "headdim": 3,
            "groups": 3,
            "state": 8,
            "angles": 3,
            "chunk": 8,
            "initial": True,
            "options": mamba3.BIASES,
        },
    ),
}

CASES: tuple[Case, ...] = (
    *family("stages.ssd_stages", ssd, **SSD),
    *family("stages.selective_scan_stages", mamba1.scan, **SCAN),
    *family("stages.siso_stages", siso, **SISO),
)
