"""Core cases where many ops have the same blind spot: ranges, tiles, empty sequences.

Each was added because a mistake passed all others. `change` rewrites what an op draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..random import Draw
from . import attention, h3, layers, mamba1, mamba2, mamba3, s4, s5
from .case import Arguments, Builder, Case, member, sprinkle

# exp of these overflows or vanishes in float32; SiLU bends between the others.
EXTREMES = (-100.0, 100.0, -20.0, 12.0)
# Where softplus bends, and where a threshold below 20 would cut it.
# The largest come first: nothing is added up yet that would hide them.
BENDS = (8.5, 5.5, 3.0, 1.0, -1.0, -2.0, 6.0, 7.0, 10.5)
LENGTHS = (0, 4, 0, 0, 7, 0)
EMPTIES = {"length": sum(LENGTHS), "lengths": LENGTHS}
SLOW = (-0.002, -0.02)
# As many as divide no tile: heads that are a tile apart have different rates.
FIVE = (-0.002, -0.2, -2.0, -24.0, -0.02)


@dataclass(frozen=True)
class Corner:
    """A row: the case's name, the flag that its sizes do not give, and the rest."""

    name: str
    flag: str
    reason: str
    sizes: dict[str, Any]
    change: Callable[[Draw, Arguments], None] = lambda _draw, _drawn: None

    def case(self, op: str, builder: Builder) -> Case:
        """Return the case of an op whose arguments `builder` draws."""

        def arguments(draw: Draw, **sizes: Any) -> Arguments:
            drawn = builder(draw, **sizes)
            self.change(draw, drawn)
            return drawn

        case = member(op, arguments, self.name, self.reason, self.sizes)
        return replace(case, flags=tuple(sorted({*case.flags, self.flag})))


def _extreme(*names: str) -> Callable[[Draw, Arguments], None]:
    """Put numbers into arguments whose exp is 0 or infinite in float32."""

    def change(_: Draw, drawn: Arguments) -> None:
        for name in names:
            sprinkle(drawn[name], EXTREMES)

    return change


def _biased(draw: Draw, drawn: Arguments) -> None:
    drawn["dt_bias"] = draw.uniform("dt_bias", 0.0, 0.05, drawn["dt"].shape[-1])


def _wiped(_: Draw, drawn: Arguments) -> None:
    drawn["initial_state"] *= 1e9
    drawn["dt"][:, 0] = 40.0


def _fed(_: Draw, drawn: Arguments) -> None:
    """Take B's first token for all tokens and channels: it is (channels, state)."""
    drawn["B"] = np.repeat(drawn["B"][0, :1], drawn["u"].shape[-1], axis=0)


def _with_eps(_: Draw, drawn: Arguments) -> None:
    drawn["norm_eps"] = 0.5


def _empties(**more: Any) -> Corner:
    reason = "empty sequences first, last and in a row: each keeps its state"
    return Corner("packed-empties", "empty", reason, {**EMPTIES, **more})


def _tiles(**sizes: Any) -> Corner:
    reason = "more than a tile of 8, 16 or 32 along every axis, none of them full"
    return Corner("tiles", "axes", reason, sizes)


def _steps(softplus: dict[str, Any], biased: dict[str, Any]) -> tuple[Corner, ...]:
    """Return the rows about dt; the flags are those of softplus."""
    reason = "raw dt where softplus bends: it is not linear below 20"
    soft = {**softplus, "softplus": True, "raw": BENDS, "rates": SLOW}
    plain = "a bias without softplus: it is added, and comes before the limits"
    return (
        Corner("softplus-range", "softplus", reason, soft),
        Corner("bias-alone", "softplus", plain, biased, _biased),
    )


def _gate(**sizes: Any) -> Corner:
    reason = "gates of 100 and -100: sigmoid must not divide infinity by infinity"
    return Corner("gate-extremes", "gate", reason, sizes, _extreme("z"))


SKIPPED = ("D", "z")
WIPED = Corner(
    "wiped-state",
    "extreme-decay",
    "a state of 1e9 that a step wipes: exponents have no floor",
    {"batch": 2, "length": 9, "initial": True, "rates": (-2.0, -3.0, -2.5)},
    _wiped,
)
MAMBA1 = (
    _empties(initial=True),
    _tiles(length=20, channels=70, state=19, rates=FIVE),
    *_steps({"length": 6}, {"batch": 2, "length": 13}),
    _gate(batch=2, length=7, options=SKIPPED),
    WIPED,
    Corner(
        "chunks-of-256",
        "chunk-boundary",
        "states pass through three chunks of 256",
        {"length": 600, "channels": 2, "state": 2, "rates": (-0.002, -0.02)},
    ),
    Corner(
        "constant-B",
        "axes",
        "B without time, C with it: one does not follow from the other",
        {"batch": 2, "length": 15},
        _fed,
    ),
    Corner(
        "complex-packed",
        "packing",
        "complex states are passed to their own sequence",
        {"length": 14, "lengths": (5, 0, 9), "complex_A": True, "initial": True},
    ),
)
MAMBA1_STEP = (
    _tiles(batch=2, channels=70, state=19, rates=FIVE),
    *_steps({"batch": 3, "fresh": True}, {"batch": 2}),
    _gate(batch=3, options=SKIPPED),
)
MAMBA2 = (
    _empties(initial=True),
    _tiles(length=20, heads=2, headdim=40, state=72),
    *_steps({"length": 6}, {"batch": 2, "length": 13, "dt_limit": (0.04, 0.1)}),
    _gate(batch=2, length=7, options=SKIPPED),
    WIPED,
    Corner(
        "many-heads",
        "axes",
        "more heads than a block has: each with its own rate",
        {"length": 9, "heads": 34, "rates": FIVE},
    ),
    Corner(
        "chunks-of-256",
        "chunk-boundary",
        "states pass through three chunks of 256",
        {"length": 600, "heads": 2, "headdim": 1, "state": 2, "rates": (-0.002, -0.02)},
    ),
)
MAMBA2_STEP = (
    _tiles(batch=2, heads=2, headdim=40, state=72),
    *_steps({"batch": 3, "fresh": True}, {"batch": 2, "dt_limit": (0.04, 0.1)}),
    _gate(batch=3, options=SKIPPED),
    Corner(
        "many-heads",
        "axes",
        "more heads than a block has: each with its own rate",
        {"heads": 34, "rates": FIVE},
    ),
)


def _mamba3(projections: tuple[str, ...], **lead: int) -> tuple[Corner, ...]:
    """Return the rows that a scan and a step share; a step has no length."""
    tiles = {**lead, "heads": 2, "headdim": 40, "state": 72, "angles": 33}
    return (
        _tiles(**tiles),
        Corner(
            "extremes",
            "trapezoid",
            "logits, angles and gates of 100 and -100: no exp overflows",
            {**lead, "options": ("z", *projections)},
            _extreme("trap", "angles", "z"),
        ),
        Corner(
            "norm-eps",
            "gate-order",
            "an eps that is not the default, inside the root",
            {**lead, "headdim": 6, "options": ("z", "norm_weight", *projections)},
            _with_eps,
        ),
        Corner(
            "norm-no-gate",
            "gate-order",
            "the norm does not need a gate; squares are as small as the default eps",
            {**lead, "headdim": 6, "scale": 1e-3, "options": ("norm_weight",)},
        ),
    )


MIMO = ("mimo_x", "mimo_z", "mimo_o")


def _silu(**sizes: Any) -> Corner:
    """Return sums beyond 100 on both sides, none between -105 and -82.

    There the sigmoid alone is no normal number, and may be flushed to zero.
    """
    reason = "sums of 100 and -100: sigmoid must not divide infinity by infinity"
    return Corner("silu-extremes", "activation", reason, {**sizes, "silu": True})


SHARPEST = Corner(
    "sharpest",
    "softmax",
    "scores of thousands: to subtract 10000 from a score is no mask",
    {"batch": 2, "length": 24, "sharpness": 8000.0},
)
ZERO = "a scale of 0 is a scale: the plain mean of the values so far"
CONVOLUTION = (
    _empties(initial=True),
    _tiles(length=9, channels=70),
    _silu(batch=2, length=12, scale=40.0),
    Corner(
        "short-fresh",
        "short",
        "fewer tokens than the state holds, and none before: zeros come first",
        {"batch": 2, "length": 2},
    ),
    Corner(
        "packed-short",
        "short",
        "the same in a pack: zeros come first in each state",
        {"length": 12, "lengths": (1, 2, 9)},
    ),
)
CONVOLUTION_STEP = (_tiles(batch=2, channels=70), _silu(batch=7, scale=60.0))
CIRCULAR = (_tiles(batch=2, channels=70), _silu(batch=7, scale=80.0))
ATTENTION = (
    Corner("packed-empties", "empty", _empties().reason, EMPTIES),
    _tiles(length=20, heads=2, headdim=80, valuedim=72),
    Corner(
        "blocks-of-128",
        "chunk-boundary",
        "more keys than a tile of 64 or 128 holds",
        {"length": 150, "heads": 2},
    ),
    SHARPEST,
    Corner("scale-zero", "softmax", ZERO, {"length": 6, "scale": 0.0}),
)
ATTENTION_STEP = (
    _tiles(batch=2, heads=2, headdim=80, valuedim=72, cached=20),
    Corner("scale-zero", "softmax", ZERO, {"batch": 2, "cached": 6, "scale": 0.0}),
)
TIME_INVARIANT = (_empties(initial=True), _tiles(length=9, channels=40, state=36))

TABLE: tuple[tuple[str, Builder, tuple[Corner, ...]], ...] = (
    ("layers.causal_conv1d", layers.convolution, CONVOLUTION),
    ("layers.causal_conv1d_step", layers.step, CONVOLUTION_STEP),
    ("layers.causal_conv1d_step_circular", layers.circular, CIRCULAR),
    ("mamba1.selective_scan", mamba1.scan, MAMBA1),
    ("mamba1.selective_scan_step", mamba1.step, MAMBA1_STEP),
    ("mamba2.ssd", mamba2.scan, MAMBA2),
    ("mamba2.ssd_step", mamba2.step, MAMBA2_STEP),
    (
        "mamba3.siso",
        mamba3.scan,
        (_empties(initial=True), *_mamba3((), length=18)),
    ),
    ("mamba3.siso_step", mamba3.step, _mamba3((), batch=2)),
    (
        "mamba3.mimo",
        mamba3.scan,
        (_empties(ranks=2, initial=True), *_mamba3(MIMO, length=18, ranks=2)),
    ),
    ("mamba3.mimo_step", mamba3.step, _mamba3(MIMO, batch=2, ranks=2)),
    ("s4.s4", s4.scan, (_empties(ranks=1, initial=True),)),
    ("s4d.s4d", s4.scan, TIME_INVARIANT),
    (
        "s5.s5",
        s5.scan,
        (_empties(initial=True), _tiles(length=9, inputs=37, outputs=41, state=36)),
    ),
    (
        "h3.h3",
        h3.scan,
        (_empties(initial=True), _tiles(length=9, heads=40, state=36)),
    ),
    ("attention.attention", attention.scan, ATTENTION),
    ("attention.attention_step", attention.step, ATTENTION_STEP),
)


def _cases() -> Iterator[Case]:
    for op, builder, corners in TABLE:
        yield from (corner.case(op, builder) for corner in corners)


CASES: tuple[Case, ...] = tuple(_cases())
