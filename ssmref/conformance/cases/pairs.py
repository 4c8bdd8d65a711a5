"""Core cases for pairs of options: one is lost where another is given, or is not.

A kernel asks for its options in branches, and a branch that forgets one of them is
right wherever that option comes in other company. So every option is seen with and
without every other one (`tests/conformance/test_options.py`), those of Mamba-3's MIMO
with one rank and with several; these are the cases that the others lacked for it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..random import Draw
from . import (
    attention,
    blocks,
    caches,
    h3,
    mamba1,
    mamba2,
    mamba3,
    norms,
    parameters,
    s4,
    s5,
    snapshots,
    stages,
)
from .case import Arguments, Builder, Case, family

Rows = dict[str, tuple[str, dict[str, Any]]]

# Short and long ones, and one without tokens.
PACK = {"length": 9, "lengths": (3, 0, 6), "initial": True}
POOL = {"batch": 3, "slots": (1, -1, 3), "pool": 4}
PACKED = "all options in a pack: whoever drives packs forgets none of them"
SLOTS = "all options with slots: whoever looks for states forgets none of them"
LIMIT = (0.04, 0.07)
# Some dt above 0, so that something is left where softplus is forgotten.
ABOVE = (0.5, 1.0)
UNTURNED = "biases and norm where nothing turns: no part of a rotation"


def _lone(**sizes: Any) -> Rows:
    """Return the row of a gate by itself."""
    return {"gate_alone": ("a gate without D x", {**sizes, "options": ("z",)})}


def _positive(builder: Builder) -> Builder:
    """Return what draws biases that leave dt above 0, as softplus would."""

    def build(draw: Draw, **sizes: Any) -> Arguments:
        drawn = builder(draw, **sizes)
        if "dt_bias" in drawn:
            drawn["dt_bias"] = np.abs(drawn["dt_bias"]) / 20
        return drawn

    return build


def _time_steps(*more: str, **sizes: Any) -> Rows:
    """Return the rows of what changes dt, each without the others."""
    return {
        "bias_alone": (
            "a bias without softplus and limits",
            {**sizes, "options": ("dt_bias", *more)},
        ),
        "softplus_alone": (
            "softplus without a bias and limits",
            {**sizes, "softplus": True, "raw": ABOVE, "options": more},
        ),
        "limit_alone": (
            "limits without a bias and softplus",
            {**sizes, "dt_limit": LIMIT, "options": more},
        ),
    }


def _only(*names: str, **sizes: Any) -> Rows:
    rows = _time_steps(length=7, **sizes)
    return {name: rows[name] for name in names}


def _mamba1(where: dict[str, Any], reason: str) -> Rows:
    return {
        "everything_" + ("packed" if "lengths" in where else "complex"): (
            reason,
            {
                **where,
                "complex_A": "lengths" not in where,
                "softplus": True,
                "options": mamba1.ALL,
            },
        )
    }


CONSTANT: Rows = {
    "everything_constant": (
        "all options where B and C have no time",
        {**PACK, "constant": True, "softplus": True, "options": mamba1.ALL},
    )
}
MAMBA2: Rows = {
    "everything_packed": (
        PACKED,
        {**PACK, "softplus": True, "dt_limit": LIMIT, "options": mamba2.ALL},
    )
}


def _mamba3(size: dict[str, int], where: dict[str, Any], **rank: int) -> Rows:
    """Return the rows of a scan or a step, for each rank that is given."""
    mimo = mamba3.PROJECTIONS if rank else ()
    norm = ("norm_weight", "norm_eps")
    own = {**size, **rank}
    kept = {"lengths": (2, 3)} if "length" in size else {}
    return {
        "gate_projected": (
            "a bias of B, a gate and its projection; no other bias and projection",
            {**own, **kept, "options": ("B_bias", "z", *mimo[1:2])},
        ),
        "output_projected": (
            "a bias of C, an eps and the output's projection; no gate",
            {**own, "options": ("C_bias", "D", *norm, *mimo[2:])},
        ),
        "unturned": (
            UNTURNED,
            {
                **own,
                "angles": 0,
                "options": (*mamba3.BIASES, "z", *norm, *mimo[:1]),
            },
        ),
        "everything_" + ("packed" if "lengths" in where else "slots"): (
            PACKED if "lengths" in where else SLOTS,
            {
                **where,
                **rank,
                "pairing": "pairwise" if rank else "halved",
                "options": (*mamba3.ALL, *norm, *mimo),
            },
        ),
    }


SCAN, STEP = {"length": 5}, {"batch": 2}
D = ("D",)
TABLE: tuple[tuple[str, Builder, Rows], ...] = (
    (
        "layers.rms_norm",
        norms.norm,
        {
            "eps_alone": (
                "an eps without a weight",
                {"length": 3, "eps": 0.5, "options": ()},
            )
        },
    ),
    (
        "layers.rms_norm_gated",
        norms.gated,
        {
            "eps_alone": (
                "an eps and groups without a weight and a gate",
                {"length": 3, "eps": 0.5, "group_size": 2, "options": ()},
            ),
            "norm_first_alone": (
                "the order of norm and gate, and an eps, without a weight",
                {"length": 3, "eps": 0.5, "norm_before_gate": True, "options": ("z",)},
            ),
        },
    ),
    (
        "layers.layer_norm",
        norms.norm,
        {
            "eps_bias": (
                "an eps and a bias without a weight",
                {"length": 3, "eps": 0.5, "options": ("bias",)},
            )
        },
    ),
    (
        "mamba1.selective_scan",
        mamba1.scan,
        {**_lone(length=6), **_mamba1(PACK, PACKED), **CONSTANT},
    ),
    (
        "mamba1.selective_scan_step",
        mamba1.step,
        {
            **_lone(batch=2),
            **_mamba1(POOL, "all options with slots where A, B and C are complex"),
        },
    ),
    ("mamba2.ssd", mamba2.scan, {**_lone(length=6), **MAMBA2}),
    ("mamba2.ssd_step", mamba2.step, _lone(batch=2)),
    ("mamba3.siso", mamba3.scan, _mamba3(SCAN, PACK)),
    ("mamba3.siso_step", mamba3.step, _mamba3(STEP, POOL)),
    ("mamba3.mimo", mamba3.scan, _mamba3(SCAN, PACK, ranks=1)),
    ("mamba3.mimo", mamba3.scan, _mamba3(SCAN, PACK, ranks=2)),
    ("mamba3.mimo_step", mamba3.step, _mamba3(STEP, POOL, ranks=1)),
    ("mamba3.mimo_step", mamba3.step, _mamba3(STEP, POOL, ranks=2)),
    (
        "s4.s4",
        s4.scan,
        {"everything_packed": (PACKED, {**PACK, "ranks": 1, "options": D})},
    ),
    (
        "s4d.s4d",
        s4.scan,
        {"everything_packed": (PACKED, {**PACK, "method": "bilinear", "options": D})},
    ),
    (
        "s4d.s4d_step",
        s4.step,
        {"everything_slots": (SLOTS, {**POOL, "method": "bilinear", "options": D})},
    ),
    (
        "s5.s5",
        s5.scan,
        {
            "everything_packed": (
                PACKED,
                {**PACK, **s5.SQUARE, "method": "bilinear", "conj_sym": False},
            )
        },
    ),
    (
        "h3.h3",
        h3.scan,
        {
            "everything_packed": (
                PACKED,
                {**PACK, "heads": 2, "headdim": 2, "method": "zoh", "options": h3.ALL},
            )
        },
    ),
    (
        "attention.attention",
        attention.scan,
        {
            "everything_packed": (
                PACKED,
                {
                    "length": 9,
                    "lengths": (3, 0, 6),
                    "scale": 0.3,
                    "rotary_dim": 4,
                    "rotary_base": 50.0,
                    "interleaved": True,
                },
            )
        },
    ),
    (
        "caches.serve",
        _positive(caches.serve),
        _time_steps("D", batch=1, length=5),
    ),
    (
        "caches.snapshots",
        _positive(snapshots.snapshots),
        _time_steps(lengths=(5, 7), block=4),
    ),
    (
        "stages.ssd_stages",
        _positive(stages.ssd),
        _only("bias_alone", "limit_alone", chunk=4),
    ),
    ("stages.selective_scan_stages", _positive(mamba1.scan), _only("bias_alone")),
    (
        "stages.siso_stages",
        stages.siso,
        {
            "bias_of_B": (
                "a bias of B alone",
                {"length": 7, "chunk": 4, "options": ("B_bias",)},
            ),
            "bias_of_C": (
                "a bias of C alone",
                {"length": 7, "chunk": 4, "options": ("C_bias",)},
            ),
            "everything_halved": (
                "all options with the pairing that is not the default",
                {
                    "length": 7,
                    "chunk": 4,
                    "initial": True,
                    "pairing": "halved",
                    "options": mamba3.BIASES,
                },
            ),
        },
    ),
    (
        "parameters.mamba3_rate",
        parameters.mamba3_rate,
        {
            "everything": (
                "another floor and another activation together",
                {"raw": (-2.0, -30.0), "floor": 0.25, **parameters.SOFTPLUS},
            )
        },
    ),
    (
        "blocks.s4_block",
        blocks.scan,
        {"everything_packed": (PACKED, {**PACK, "options": D})},
    ),
)


def _cases() -> Iterator[Case]:
    for op, builder, rows in TABLE:
        for case in family(op, builder, **rows):
            yield replace(case, flags=tuple(sorted({*case.flags, "combination"})))


CASES: tuple[Case, ...] = tuple(_cases())
