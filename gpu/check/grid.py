"""What is timed: ops at the sizes of models, and their inputs.

A point is a workload of the benchmarks, with the options that the official kernels are
used with. Inputs are a short stretch of tokens that is repeated: its length is a prime,
so that it fits no tile, and every row begins elsewhere.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssmref.bench.inputs import INPUTS, Numbers, spread
from ssmref.bench.workloads import (
    MAMBA1,
    MAMBA1_BIG,
    MAMBA2,
    MAMBA2_BIG,
    MAMBA3_BIG,
    MIMO_BIG,
    Workload,
)
from ssmref.conformance.cases.case import Case, member
from ssmref.conformance.precision import per_token, rounded
from ssmref.conformance.random import Draw
from ssmref.conformance.vectors.parts import input_axes
from ssmref.ops import OPS

PERIOD, SHIFT, ROWS = 2039, 101, 5
ROW_AXES = ("batch", "sequences", "slots", "rows")
# Of a long sequence the beginning and the end are verified, for golden takes half a
# millisecond for a token. Steps of these inputs are 0.02 on average, so that after LAST
# tokens a state has forgotten what was before them, where states forget at all.
LONG, LAST, JUDGED = 2**14, 2048, 64
FORGETFUL = ("mamba1", "mamba2", "layers")

Extra = Callable[[Numbers, dict[str, Any]], dict[str, Any]]


def _step_sizes(source: Numbers, made: dict[str, Any]) -> dict[str, Any]:
    """Give dt before softplus, with a bias: the same steps come out."""
    bias = source.uniform("dt_bias", -1, 1, made["dt"].shape[-1])
    raw = np.log(np.expm1(made["dt"])) - bias
    return {"dt": raw.astype(made["dt"].dtype), "dt_bias": bias, "dt_softplus": True}


def _gated(source: Numbers, made: dict[str, Any]) -> dict[str, Any]:
    z = spread(source, "z", *made["u"].shape)
    return {**_step_sizes(source, made), "z": z}


EXTRAS: dict[str, Extra] = {
    "mamba1.selective_scan": _gated,
    "mamba1.selective_scan_step": _gated,
    "mamba2.ssd": _step_sizes,
    "mamba2.ssd_step": _step_sizes,
}


@dataclass(frozen=True)
class Point:
    """An op at fixed sizes, and how its result is sampled."""

    workload: Workload
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    steps: bool = field(init=False)

    def __post_init__(self) -> None:
        """Steps are replayed as graphs."""
        object.__setattr__(self, "steps", self.workload.is_step)

    @property
    def id(self) -> str:
        """The name of the workload."""
        return self.workload.id

    @property
    def definition(self) -> str:
        """A hash of what is timed: the options are not those of the CPU's workload."""
        words = (self.workload.definition, "gpu", self.workload.op in EXTRAS)
        return hashlib.sha256(repr(words).encode()).hexdigest()[:12]

    @property
    def rows(self) -> int:
        """The size of the batch."""
        return self.workload.sizes.get("batch", 1)

    @property
    def length(self) -> int:
        """Tokens of a row; a step has one."""
        return self.workload.sizes.get("length", 1)

    def stretch(self, dtype: np.dtype) -> dict[str, Any]:
        """Return the inputs that are repeated, in the precision of `dtype`."""
        own = dict(self.workload.sizes)
        own["batch"] = min(self.rows, ROWS) if self.steps else 1
        if not self.steps:
            own["length"] = min(self.length, PERIOD)
        made = _made(self.workload.op, f"gpu/{self.id}", own)
        return rounded(made, dtype, per_token(OPS[self.workload.op]))

    def small_case(self) -> Case:
        """Return the case on which everybody is verified first."""
        op = self.workload.op

        def arguments(draw: Draw, **sizes: int) -> dict[str, Any]:
            return _made(op, draw.case_id, sizes, np.float64)

        sizes = dict(self.workload.small)
        return member(op, arguments, "gpu", self.workload.note, sizes, "bench")

    def repeated(
        self, stretch: Mapping[str, Any], xp: Any, rows: range, tokens: range
    ) -> dict[str, Any]:
        """Return these rows and tokens of the inputs, as arrays of `xp`."""
        op = OPS[self.workload.op]
        lines = np.asarray(rows)
        places = (np.asarray(tokens)[None] + SHIFT * lines[:, None]) % PERIOD

        def full(name: str, value: Any) -> Any:
            if fields := getattr(value, "_fields", ()):
                parts = zip(fields, value, strict=True)
                return type(value)(*(full(f"{name}.{f}", part) for f, part in parts))
            if not isinstance(value, np.ndarray):
                return value
            words = input_axes(op, name, value.ndim)
            if "length" in words or "batch_2" in words:
                own = places % value.shape[1]
                return _taken(xp, value[0], own)
            if words[:1] and words[0] in ROW_AXES:
                return _taken(xp, value, lines % len(value))
            return xp.asarray(value)

        return {name: full(name, value) for name, value in stretch.items()}


def _taken(xp: Any, value: np.ndarray, index: np.ndarray) -> Any:
    """Return entries along the first axis; low precisions are moved as integers."""
    bits = value.view(np.uint16) if value.itemsize == 2 else value
    taken = xp.take(xp.asarray(bits), xp.asarray(index), axis=0)
    return taken.view(value.dtype)


def _made(op: str, name: str, sizes: Mapping[str, int], dtype: Any = np.float32):
    source = Numbers(name, np.dtype(dtype))
    made = INPUTS[op](source, **sizes)
    return made | EXTRAS[op](source, made) if op in EXTRAS else made


def special_functions(op: str, sizes: Mapping[str, int]) -> float:
    """Return how often a call needs the units for exponentials and the like.

    Softplus and SiLU take two each.
    """
    tokens = sizes.get("batch", 1) * sizes.get("length", 1)
    if op.startswith("mamba1"):
        return tokens * sizes["channels"] * (sizes["state"] + 4)
    if op.startswith("mamba3"):
        # tanh, sine and cosine per angle; decay and a sigmoid per head.
        return tokens * sizes["heads"] * (3 * sizes["angles"] + 3)
    if op.startswith("layers.causal_conv1d"):
        return 2.0 * tokens * sizes["channels"]
    if op == "layers.rms_norm_gated":
        return 2.0 * tokens * sizes["channels"]
    if op.startswith("attention"):
        # One for each key that a query sees.
        seen = sizes.get("cached", (sizes.get("length", 1) - 1) / 2) + 1
        return tokens * sizes["heads"] * seen
    return 0.0


def operations(op: str, sizes: Mapping[str, int]) -> float:
    """Return the multiplications and additions of the recurrence, in float32.

    Only where they may bind: 5 per state of Mamba-1, 14 per pair of S4D.
    """
    updates = math.prod(
        sizes.get(axis, 1) for axis in ("batch", "length", "channels", "state")
    )
    ranks = sizes.get("ranks", 0)
    each = {"mamba1": 5.0, "s4d": 14.0, "s4": 14.0 + 8.0 * ranks}
    return updates * each.get(op.partition(".")[0], 0.0)


def _sequence(op: str, note: str, sizes: dict, batch: int, tokens: int, **sample: int):
    full = {"batch": batch, "length": tokens, **sizes}
    small = {"batch": 2, "length": 130, **sizes}
    if "channels" in small:
        small["channels"] = min(small["channels"], 40)
    if op == SSD:
        small["heads"] = min(small["heads"], 4)
    if "ranks" in small:
        # The scale of S4 takes time with the squares of length and state.
        small |= {"length": 40, "channels": 5}
    kept = {"batch": 1, "sequences": 1, **sample}
    return Point(Workload(op, "gpu", note, full, small, kept))


def _steps(
    op: str, note: str, sizes: dict[str, int], **sample: int
) -> tuple[Point, ...]:
    kept = {"batch": 1, "slots": 1, "rows": 1, **sample}
    small = {"batch": 3, **sizes, **sample}
    return tuple(
        Point(Workload(op, "gpu", note, {"batch": batch, **sizes}, small, kept))
        for batch in (1, 16, 128)
    )


SCAN, CONV = "mamba1.selective_scan", "layers.causal_conv1d"
SSD = "mamba2.ssd"
S4D = {"channels": 1024, "state": 32}
ATTENTION = {"heads": 16, "headdim": 128}
MAMBA2_BIGGEST = {**MAMBA2_BIG, "heads": 128}
GRID: dict[str, tuple[Point, ...]] = {
    "scan": (
        *(
            _sequence(SCAN, note, sizes, batch, length, channels=2)
            for note, sizes in (("mamba-130m", MAMBA1), ("mamba-2.8b", MAMBA1_BIG))
            for batch, length in ((16, 1024), (8, 2048), (1, 16384), (1, 16385))
        ),
        *(
            _sequence(
                *(SCAN, "few rows, a million tokens", {**MAMBA1, "channels": channels}),
                *(1, 2**20),
                channels=2,
            )
            for channels in (64, 256, 1536)
        ),
    ),
    "ssd": tuple(
        _sequence(SSD, note, sizes, batch, length, heads=2)
        for note, sizes, batch, length in (
            ("mamba2-130m", MAMBA2, 16, 1024),
            ("mamba2-130m", MAMBA2, 1, 16384),
            ("mamba2-2.7b", MAMBA2_BIG, 8, 2048),
            ("mamba2-2.7b", MAMBA2_BIG, 1, 16384),
            ("mamba2-2.7b", MAMBA2_BIG, 1, 16385),
            ("128 heads", MAMBA2_BIGGEST, 1, 65536),
            ("2 heads, a million tokens", {**MAMBA2, "heads": 2}, 1, 2**20),
        )
    ),
    "steps": (
        *_steps("mamba1.selective_scan_step", "mamba-130m", MAMBA1),
        *_steps("mamba1.selective_scan_step", "mamba-2.8b", MAMBA1_BIG),
        *_steps("mamba2.ssd_step", "mamba2-130m", MAMBA2),
        *_steps("mamba2.ssd_step", "mamba2-2.7b", MAMBA2_BIG),
        *_steps("mamba2.ssd_step", "128 heads", MAMBA2_BIGGEST),
        *_steps("mamba3.siso_step", "mamba3-siso-1.5b", MAMBA3_BIG),
        *_steps("mamba3.mimo_step", "mamba3-mimo-1.5b", MIMO_BIG),
        *_steps(f"{CONV}_step", "mamba-130m", {"channels": 1536, "width": 4}),
        *_steps("s4d.s4d_step", "64 states", S4D),
        *_steps("s4.s4_step", "64 states", {**S4D, "ranks": 1}, channels=40),
    ),
    "convolution": tuple(
        _sequence(
            *(CONV, note, {"channels": channels, "width": 4}, batch, length),
            channels=8,
        )
        for note, channels, batch, length in (
            ("mamba-130m", 1536, 16, 1024),
            ("mamba-130m", 1536, 1, 16384),
            ("mamba-2.8b", 5120, 1, 16384),
            ("few rows", 64, 1, 2**17 - 1),
        )
    ),
    "norms": tuple(
        _sequence(op, "mamba-2.8b", {"channels": 2560}, 8, 2048, batch_2=64)
        for op in ("layers.rms_norm", "layers.rms_norm_gated")
    ),
    "attention": (
        *(
            _sequence(
                *("attention.attention", "16 heads of 128", ATTENTION, batch, length),
                **{"length": 512, "heads": 2, "kv_heads": 2},
            )
            for batch, length in ((16, 1024), (8, 2048), (1, 16384))
        ),
        *(
            Point(
                Workload(
                    *("attention.attention_step", "gpu", "16 heads of 128"),
                    {"batch": batch, **ATTENTION, "cached": 4096},
                    {"batch": 3, **ATTENTION, "cached": 70},
                    {"batch": 1},
                )
            )
            for batch in (1, 16)
        ),
    ),
    "mamba3": tuple(
        Point(
            Workload(
                *(op, "gpu", note, {"batch": batch, "length": length, **sizes}),
                {"batch": 2, "length": 130, **sizes, "heads": 2},
                {"batch": 1, "rows": 1, "heads": 1, **judged},
            )
        )
        for op, note, sizes in (
            ("mamba3.siso", "mamba3-siso-1.5b", MAMBA3_BIG),
            ("mamba3.mimo", "mamba3-mimo-1.5b", MIMO_BIG),
        )
        # Angles are never forgotten: only one of the long ones is judged to its end.
        for batch, length, judged in (
            (4, 4096, {}),
            (1, 16384, {"length": LAST}),
            (1, 16385, {}),
        )
    ),
    "s4": (
        *(_sequence("s4d.s4d", "64 states", S4D, b, 16384, channels=2) for b in (1, 8)),
        *(
            _sequence(
                *("s4.s4", "64 states", {**S4D, "ranks": 1}, b, 16384),
                channels=1,
                length=256,
            )
            for b in (1, 8)
        ),
    ),
}
