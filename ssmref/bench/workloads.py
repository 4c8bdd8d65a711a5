"""What is timed: an op, the sizes of a real model, and how its result is sampled."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..conformance.cases.case import Case, member
from ..conformance.random import Draw
from ..conformance.vectors.parts import arrays
from .costs import COSTS, Cost
from .inputs import INPUTS, Numbers

GROUPS = ("targets", "steps", "growth")
# Of each row of a step there is enough if the last level of caches is filled so often.
_TIMES_CACHE = 3
_MOST_COPIES = 512
# Changed when times of the same workload cease to be comparable.
_DEFINITION = 1


@dataclass(frozen=True)
class Workload:
    """An op at fixed sizes.

    `small` are the sizes at which implementations are verified first; `sample` says how
    many of an axis of the timed outputs are verified (all of the axes that are not
    named). `form` is the golden form that is meant, by its suffix.
    """

    op: str
    group: str
    note: str
    sizes: Mapping[str, int]
    small: Mapping[str, int]
    sample: Mapping[str, int] = field(default_factory=dict)
    form: str = ""

    @property
    def id(self) -> str:
        """The name that users type: ``mamba2.ssd/l8192h24p64g1n128``."""
        form = f"_{self.form}" if self.form else ""
        return f"{self.op}{form}/{self._case(self.sizes).sizes}"

    @property
    def definition(self) -> str:
        """A short hash of all that a time depends on but machine and implementation."""
        inputs = [self.op, self.form, sorted(self.sizes.items()), _DEFINITION]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]

    @property
    def cost(self) -> Cost:
        """What one call needs at least."""
        return COSTS[self.op](**self.sizes)

    @property
    def kind(self) -> str:
        """Ops are one kind of workloads."""
        return "op"

    @property
    def tokens(self) -> int:
        """Tokens that one call computes."""
        return self.sizes.get("batch", 1) * self.sizes.get("length", 1)

    @property
    def is_step(self) -> bool:
        """Whether one token is computed, and time goes into states and parameters."""
        return "length" not in self.sizes

    def arguments(self, dtype: np.dtype, copy: int = 0) -> dict[str, Any]:
        """Return the inputs; each copy has its own."""
        name = f"bench/{self.id}" + (f"/{copy}" if copy else "")
        return INPUTS[self.op](Numbers(name, dtype), **self.sizes)

    def input_bytes(self, dtype: np.dtype) -> int:
        """Return how much memory the inputs take, without making them."""
        shapes = INPUTS[self.op](Numbers("", dtype, empty=True), **self.sizes)
        return sum(array.nbytes for array in arrays(shapes).values())

    def copies(self, dtype: np.dtype, cache_bytes: int) -> int:
        """Return how many inputs take turns, so that a step does not find them cached.

        In a model the layers take turns. A sequence comes once: it is fresh or long.
        """
        if not self.is_step:
            return 1
        needed = _TIMES_CACHE * cache_bytes / self.input_bytes(dtype)
        return min(max(math.ceil(needed), 1), _MOST_COPIES)

    def small_case(self) -> Case:
        """Return the case on which implementations are verified first."""
        return self._case(self.small)

    def resized(self, **sizes: int) -> "Workload":
        """Return the same workload at other sizes; the small ones follow if smaller."""
        small = {n: min(s, sizes.get(n, s)) for n, s in self.small.items()}
        return replace(self, sizes={**self.sizes, **sizes}, small=small)

    def _case(self, sizes: Mapping[str, int]) -> Case:
        def arguments(draw: Draw, **sizes: int) -> dict[str, Any]:
            numbers = Numbers(draw.case_id, np.dtype(np.float64))
            return INPUTS[self.op](numbers, **sizes)

        return member(self.op, arguments, "bench", self.note, dict(sizes), "bench")


MAMBA1 = {"channels": 1536, "state": 16}
MAMBA1_BIG = {"channels": 5120, "state": 16}
MAMBA2 = {"heads": 24, "headdim": 64, "state": 128, "groups": 1}
MAMBA2_BIG = {"heads": 80, "headdim": 64, "state": 128, "groups": 1}
MAMBA3 = {**MAMBA2, "angles": 32}
MAMBA3_BIG = {"heads": 64, "headdim": 64, "state": 128, "groups": 1, "angles": 32}
MIMO, MIMO_BIG = {**MAMBA3, "ranks": 4}, {**MAMBA3_BIG, "ranks": 4}
FEW = {"batch": 2, "length": 130}  # two chunks of 64 and a ragged one


def _target(op: str, note: str, length: int, sizes: dict, small: dict, **more: Any):
    sizes = {"batch": 1, "length": length, **sizes}
    return Workload(op, "targets", note, sizes, {**sizes, **FEW, **small}, **more)


_TARGETS = (
    _target(
        "mamba1.selective_scan",
        "mamba-130m",
        *(8192, MAMBA1, {"channels": 32}),
        sample={"channels": 2},
    ),
    _target(
        *("mamba2.ssd", "mamba2-130m", 8192, MAMBA2, {"heads": 3}),
        sample={"heads": 1},
    ),
    _target(
        *("mamba3.siso", "mamba3 at the sizes of ssd", 8192, MAMBA3, {"heads": 3}),
        sample={"heads": 1},
    ),
    _target(
        *("mamba3.mimo", "mamba3 of rank 4", 8192, MIMO, {"heads": 3}),
        sample={"heads": 1},
    ),
    _target(
        "layers.causal_conv1d",
        "mamba-130m",
        *(8192, {"channels": 1536, "width": 4}, {"channels": 40}),
        sample={"channels": 8},
    ),
    _target(
        "layers.causal_conv1d",
        "mamba2-130m: x, B and C",
        *(8192, {"channels": 1792, "width": 4}, {"channels": 40}),
        sample={"channels": 8},
    ),
    _target(
        *("layers.rms_norm", "mamba-130m", 8192, {"channels": 768}, {}),
        sample={"batch_2": 64},
    ),
    _target(
        *("layers.rms_norm_gated", "mamba2-130m", 8192, {"channels": 1536}, {}),
        sample={"batch_2": 64},
    ),
    _target(
        "attention.attention",
        "24 heads, as many as mamba2-130m",
        *(4096, {"heads": 24, "headdim": 64}, {"heads": 3}),
        sample={"length": 512, "heads": 2, "kv_heads": 2},
    ),
    _target(
        "s4.s4",
        "64 states, half of each conjugate pair",
        *(16384, {"channels": 512, "state": 32, "ranks": 1}, {"channels": 5}),
        # What errors of a dense matrix grow to takes time quadratic in length.
        sample={"channels": 1, "length": 512},
        form="convolution",
    ),
    _target(
        "s4d.s4d",
        "64 states, half of each conjugate pair",
        *(16384, {"channels": 512, "state": 32}, {"channels": 5}),
        sample={"channels": 2},
        form="convolution",
    ),
)


def _steps(
    op: str, note: str, sizes: dict[str, int], *batches: int, **smaller: int
) -> tuple[Workload, ...]:
    """Return one step per batch; every row is the same work, so one is a sample."""
    small = {"batch": 3, **sizes, **smaller}
    rows = {"batch": 1, "slots": 1, "rows": 1}
    return tuple(
        Workload(op, "steps", note, {"batch": batch, **sizes}, small, rows)
        for batch in batches
    )


_STEPS = (
    *_steps("mamba1.selective_scan_step", "mamba-130m", MAMBA1, 1, 64),
    *_steps("mamba1.selective_scan_step", "mamba-2.8b", MAMBA1_BIG, 1, 64),
    *_steps("mamba2.ssd_step", "mamba2-130m", MAMBA2, 1, 64),
    *_steps("mamba2.ssd_step", "mamba2-2.7b", MAMBA2_BIG, 1, 64),
    *_steps("mamba3.siso_step", "mamba3-siso-1.5b", MAMBA3_BIG, 1, 64),
    *_steps("mamba3.mimo_step", "mamba3-mimo-1.5b", MIMO_BIG, 1, 64),
    *_steps(
        *("layers.causal_conv1d_step", "mamba-130m"),
        *({"channels": 1536, "width": 4}, 1, 64),
    ),
    *_steps(
        *("layers.causal_conv1d_step", "mamba2-2.7b: x, B and C"),
        *({"channels": 5376, "width": 4}, 1, 64),
    ),
    *_steps(
        *("s4.s4_step", "the sizes of the convolution"),
        *({"channels": 512, "state": 32, "ranks": 1}, 1, 64),
        channels=40,
    ),
    *_steps(
        *("s4d.s4d_step", "the sizes of the convolution"),
        *({"channels": 512, "state": 32}, 1, 64),
    ),
    *_steps(
        *("s5.s5_step", "one system for all"),
        *({"inputs": 512, "outputs": 512, "state": 128}, 1, 64),
    ),
    *_steps(
        *("h3.h3_step", "H3 125M"),
        *({"heads": 768, "state": 32, "taps": 64}, 1, 64),
    ),
    *_steps(
        *("attention.attention_step", "4096 tokens in the cache"),
        *({"heads": 24, "headdim": 64, "cached": 4096}, 1),
        cached=70,
    ),
)

LENGTHS = tuple(1024 * 4**i for i in range(6))
# Narrow, so that a million tokens fit everywhere: what grows is time, not width.
_NARROW: dict[str, tuple[dict[str, int], str]] = {
    "mamba1.selective_scan": ({"channels": 16, "state": 16}, ""),
    "mamba2.ssd": ({"heads": 1, "headdim": 64, "state": 64, "groups": 1}, ""),
    "mamba3.siso": (
        {"heads": 1, "headdim": 64, "state": 64, "groups": 1, "angles": 16},
        "",
    ),
    "layers.causal_conv1d": ({"channels": 64, "width": 4}, ""),
    "s4d.s4d": ({"channels": 4, "state": 32}, "convolution"),
}


def _growth(op: str, length: int) -> Workload:
    narrow, form = _NARROW[op]
    sizes = {"batch": 1, "length": length, **narrow}
    note = "narrow, for the exponent of time in length"
    cut = {"length": 64} if length > LENGTHS[1] else {}
    return Workload(op, "growth", note, sizes, {**sizes, **FEW}, cut, form)


_GROWTH = tuple(_growth(op, length) for op in _NARROW for length in LENGTHS)
WORKLOADS = (*_TARGETS, *_STEPS, *_GROWTH)
