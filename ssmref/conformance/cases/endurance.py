"""Cases of many tokens: level `long` sees counters, level `precision` sees rounding."""

from collections.abc import Callable, Iterator
from typing import Any

from . import attention, h3, layers, mamba1, mamba2, mamba3, norms, s4, s5
from .case import Case, member
from .mamba1 import TAILS

# A prime just above 2^16.
MANY = 65537
# Decays of 0.99999 and 0.9999 for a step of about 0.05.
SLOWER = (-0.0002, -0.002)
# Decays of 0.999 and 0.99: what a rounding per token adds up to stays small.
FAIR = (-0.02, -0.2)
SLOW_ROTATION = (-0.0005, -0.005)
TURNS = "angles that have turned thousands of times: they are wrapped or lose digits"
SLOW = "decays so slow that thousands of tokens are remembered"
RANGE = "step sizes over ten orders of magnitude, from no decay at all to a reset"
WIDEST = {"softplus": True, "raw": (*TAILS, -100.0, 300.0)}

_SCALARS = {"length": MANY, "headdim": 1, "state": 2}

LONG_ROWS = (
    (
        "mamba1.selective_scan",
        mamba1.scan,
        {"length": MANY, "channels": 2, "state": 2, "rates": FAIR},
    ),
    ("mamba2.ssd", mamba2.scan, {**_SCALARS, "heads": 2, "rates": FAIR}),
    ("mamba3.siso", mamba3.scan, {**_SCALARS, "heads": 1, "angles": 1, "turn": 0.1}),
)
PRECISION_ROWS: tuple[tuple[str, Callable, str, str, dict[str, Any]], ...] = (
    (
        "mamba1.selective_scan",
        mamba1.scan,
        "slow",
        SLOW,
        {"length": 4096, "channels": 2, "rates": SLOWER},
    ),
    (
        "mamba1.selective_scan",
        mamba1.scan,
        "dt-range",
        RANGE,
        {"length": 500, **WIDEST},
    ),
    (
        "mamba2.ssd",
        mamba2.scan,
        "slow",
        SLOW,
        {"length": 4096, "heads": 2, "rates": SLOWER},
    ),
    ("mamba2.ssd", mamba2.scan, "dt-range", RANGE, {"length": 500, **WIDEST}),
    (
        "mamba3.siso",
        mamba3.scan,
        "slow",
        SLOW,
        {"length": 3000, "heads": 2, "rates": SLOW_ROTATION},
    ),
    (
        "mamba3.siso",
        mamba3.scan,
        "turns",
        TURNS,
        {"length": 3000, "heads": 2, "rates": SLOW_ROTATION, "turn": 3.0},
    ),
    (
        "mamba3.mimo",
        mamba3.scan,
        "turns",
        TURNS,
        {"length": 2000, "heads": 1, "ranks": 2, "rates": SLOW_ROTATION, "turn": 3.0},
    ),
    (
        "s4.s4",
        s4.scan,
        "slow",
        SLOW,
        {"length": 1000, "channels": 1, "state": 2, "ranks": 1, "steps": (0.001,)},
    ),
    ("s4d.s4d", s4.scan, "slow", SLOW, {"length": 3000, "steps": (0.0005, 0.001)}),
    ("s5.s5", s5.scan, "slow", SLOW, {"length": 3000, "steps": (0.0005, 0.001)}),
    ("h3.h3", h3.scan, "slow", SLOW, {"length": 3000, "steps": (0.0005, 0.001)}),
    (
        "layers.causal_conv1d",
        layers.convolution,
        "wide-filter",
        "a filter of 256 taps: the order of the sum",
        {"length": 300, "width": 256},
    ),
    (
        "layers.rms_norm",
        norms.norm,
        "many-channels",
        "8192 channels: a sum in one variable loses digits",
        {"channels": 8192},
    ),
    (
        "layers.rms_norm_gated",
        norms.gated,
        "many-channels",
        "8192 channels in groups of 4096",
        {"channels": 8192, "group_size": 4096},
    ),
    (
        "layers.layer_norm",
        norms.norm,
        "many-channels",
        "8192 channels with a mean of ten deviations",
        {"channels": 8192, "mean": 10.0},
    ),
    (
        "attention.attention",
        attention.scan,
        "long-sums",
        "means of a thousand values",
        {"length": 1000, "heads": 1},
    ),
    (
        "attention.attention_step",
        attention.step,
        "far-position",
        "position 20000: the angles of fast pairs have turned thousands of times",
        {"cached": 20000, "heads": 1, "headdim": 4, "rotary_dim": 4},
    ),
)


def _cases() -> Iterator[Case]:
    for op, draw, sizes in LONG_ROWS:
        reason = "more than 2^16 tokens: counters, grids, products of long decays"
        yield member(op, draw, "long", reason, sizes, "long")
    for op, draw, name, reason, sizes in PRECISION_ROWS:
        yield member(op, draw, name, reason, sizes, "precision")


ENDURANCE: tuple[Case, ...] = tuple(_cases())
