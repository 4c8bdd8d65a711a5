"""Cases of level `extended`, from small tables: what core asks, at many more sizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..random import Draw
from . import attention, h3, layers, mamba1, mamba2, mamba3, norms, s4, s5
from .case import Case, member

Row = tuple[str, str, dict[str, Any]]


CHUNKS = (16, 32, 64, 128, 256)
PRIMES = (19, 53, 97, 251)
PACKS = {
    "pack-of-one": ("a pack of a single sequence", (20,)),
    "pack-of-tokens": ("sequences of one token each", (1,) * 9),
    "pack-with-empty": ("empty sequences first, last and twice", (0, 5, 0, 0, 7, 0)),
    "pack-of-empty": ("nothing but empty sequences", (0, 0)),
    "pack-on-chunks": ("boundaries on multiples of 16", (16, 32, 64)),
    "pack-off-chunks": ("boundaries next to multiples of 16", (15, 17, 31, 33)),
    "pack-long-first": ("a sequence of chunks, then one of tokens", (130, 3)),
    "pack-long-last": ("a sequence of tokens, then one of chunks", (2, 129)),
}
RATES = {
    "decay-none": ("A = 0 in every head", 0.0),
    "decay-slow": ("decays of 0.9999 only", -0.002),
    "decay-medium": ("decays of 0.95 only", -1.0),
    "decay-fast": ("decays of 0.1 only", -50.0),
}
GROUPS = ((4, 2), (8, 2), (8, 4), (9, 3), (12, 4), (6, 1), (7, 7))
MAGNITUDES = (1e-10, 1e-5, 1e5, 1e10)
# The kernel of S4 has poles on the circle where A has no real part.
DECAYING = tuple(RATES)[1:]


@dataclass(frozen=True)
class Subject:
    """An op as the tables see it: how it is drawn and what can be varied.

    `sizes` hold in every row unless it says more. `input` is the array that is made
    NaN, `magnitude` the keyword that scales it; `axes` are set to one and to more,
    `rates` name the rows of `RATES`, `groups` are pairs of heads and what they share.
    """

    op: str
    draw: Callable[..., dict[str, Any]]
    input: str
    axes: tuple[str, ...]
    sizes: dict[str, Any]
    magnitude: str = "scale"
    initial: bool = True
    packs: bool = True
    rates: tuple[str, ...] = tuple(RATES)
    groups: tuple[tuple[str, str], ...] = ()

    def case(self, row: Row, level: str) -> Case:
        """Return the case of this op for a row of a table."""
        name, reason, sizes = row

        def arguments(draw: Draw, *, nan: Any = None, **given: Any) -> dict[str, Any]:
            drawn = self.draw(draw, **{**self.sizes, **given})
            if nan is not None:
                drawn[self.input][nan] = np.nan
            return drawn

        return member(self.op, arguments, name, reason, sizes, level)


_HEADS = (("heads", "groups"),)
SCANS = (
    Subject(
        "layers.causal_conv1d",
        layers.convolution,
        "x",
        ("channels", "width"),
        {},
        rates=(),
    ),
    Subject(
        "mamba1.selective_scan",
        mamba1.scan,
        "u",
        ("channels", "state"),
        {},
        groups=(("channels", "groups"),),
    ),
    Subject(
        "mamba2.ssd", mamba2.scan, "x", ("heads", "headdim", "state"), {}, groups=_HEADS
    ),
    Subject("mamba3.siso", mamba3.scan, "x", ("heads", "headdim"), {}, groups=_HEADS),
    Subject(
        "mamba3.mimo",
        mamba3.scan,
        "x",
        ("heads", "headdim", "ranks"),
        {"ranks": 2},
        groups=_HEADS,
    ),
    Subject(
        "s4.s4",
        s4.scan,
        "u",
        ("channels", "state"),
        {"ranks": 1, "state": 2},
        rates=DECAYING,
    ),
    Subject("s4d.s4d", s4.scan, "u", ("channels", "state"), {}),
    Subject("s5.s5", s5.scan, "u", ("inputs", "outputs", "state"), {}),
    Subject("h3.h3", h3.scan, "v", ("heads", "state", "taps"), {}),
    Subject(
        "attention.attention",
        attention.scan,
        "v",
        ("heads", "headdim", "valuedim"),
        {},
        magnitude="values",
        initial=False,
        rates=(),
        groups=(("heads", "kv_heads"),),
    ),
)
STEPS = (
    Subject(
        "layers.causal_conv1d_step",
        layers.step,
        "x",
        ("channels",),
        {},
        rates=(),
    ),
    Subject(
        "layers.causal_conv1d_step_circular",
        layers.circular,
        "x",
        ("channels",),
        {"window": 4, "position": (5, 2, 11)},
        rates=(),
    ),
    Subject(
        "mamba1.selective_scan_step",
        mamba1.step,
        "u",
        ("channels", "state"),
        {},
        groups=(("channels", "groups"),),
    ),
    Subject(
        "mamba2.ssd_step",
        mamba2.step,
        "x",
        ("heads", "headdim", "state"),
        {},
        groups=_HEADS,
    ),
    Subject(
        "mamba3.siso_step", mamba3.step, "x", ("heads", "headdim"), {}, groups=_HEADS
    ),
    Subject(
        "mamba3.mimo_step",
        mamba3.step,
        "x",
        ("heads", "headdim", "ranks"),
        {"ranks": 2},
        groups=_HEADS,
    ),
    Subject(
        "s4.s4_step",
        s4.step,
        "u",
        ("channels", "state"),
        {"ranks": 1},
        rates=DECAYING,
    ),
    Subject("s4d.s4d_step", s4.step, "u", ("channels", "state"), {}),
    Subject("s5.s5_step", s5.step, "u", ("inputs", "outputs", "state"), {}),
    Subject("h3.h3_step", h3.step, "v", ("heads", "state", "taps"), {}),
    Subject(
        "attention.attention_step",
        attention.step,
        "v",
        ("heads", "headdim", "valuedim"),
        {"cached": 9},
        magnitude="values",
        packs=False,
        rates=(),
        groups=(("heads", "kv_heads"),),
    ),
)
NORMS = tuple(
    Subject(f"layers.{op}", draw, "x", ("channels",), {})
    for op, draw in (
        ("rms_norm", norms.norm),
        ("rms_norm_gated", norms.gated),
        ("layer_norm", norms.norm),
    )
)


def _lengths() -> Iterator[Row]:
    for length in (2, 3, 4):
        yield "length", "about as long as a filter", {"length": length}
    for chunk in CHUNKS:
        yield "length", f"one short of a chunk of {chunk}", {"length": chunk - 1}
        yield "length", f"exactly a chunk of {chunk}", {"length": chunk}
        yield "length", f"one more than a chunk of {chunk}", {"length": chunk + 1}
    for prime in PRIMES:
        reason = "a prime length: no chunk and no vector divides it"
        yield "length", reason, {"length": prime}


def _rows_of_scan(subject: Subject) -> Iterator[Row]:
    yield from _lengths()
    for batch in (3, 8, 17):
        yield "batch", "rows are independent", {"batch": batch, "length": 6}
    for name, (reason, lengths) in PACKS.items():
        sizes = {"length": sum(lengths), "lengths": lengths}
        yield name, reason, sizes
        if subject.initial:
            reason = f"{reason}; each with a state of its own"
            yield f"{name}-states", reason, {**sizes, "initial": True}
    if subject.initial:
        for length in (2, 16, 17, 64, 65, 129):
            reason = "an initial state at this length"
            yield "state", reason, {"batch": 2, "length": length, "initial": True}
    nan = "a sequence of NaN: NaN there and nowhere else"
    pack = {"length": 40, "lengths": (13, 20, 7), "nan": (0, slice(13, 33))}
    yield "nan-contained", nan, pack
    yield "nan-contained", nan, {"batch": 3, "length": 21, "nan": (1,)}
    yield from rows_of_any(subject, {"length": 18})


def _rows_of_step(subject: Subject) -> Iterator[Row]:
    for batch in (1, 3, 8, 17):
        yield "batch", "rows are independent", {"batch": batch}
    yield "nan-contained", "a row of NaN: NaN there only", {"batch": 3, "nan": (1,)}
    if subject.packs:
        slots = {"slots": (3, 0, 5, -1), "pool": 7, "batch": 4}
        yield (
            "nan-slot",
            "a row of NaN changes its own slot only",
            {**slots, "nan": (1,)},
        )
        reverse = {"slots": (4, 3, 2, 1, 0), "pool": 5, "batch": 5}
        yield "slots-reversed", "every slot is used, in reverse", reverse
        padding = {"slots": (-1, -1, -1), "pool": 2, "batch": 3}
        yield "slots-padding-only", "nothing but padding", padding
    yield from rows_of_any(subject, {"batch": 2})


def rows_of_any(subject: Subject, sizes: dict[str, Any]) -> Iterator[Row]:
    """Yield one row for each size, grouping, magnitude and decay of an op."""
    for axis in subject.axes:
        yield "size-one", f"one {axis}", {**sizes, axis: 1}
    for axis in subject.axes:
        for size in (8, 17):
            reason = f"{size} {axis}: vectors and their tails"
            yield "wide", reason, {**sizes, axis: size}
    for heads, groups in subject.groups:
        for count, number in GROUPS:
            reason = f"{count} {heads} share {number} {groups}"
            yield "groups-of", reason, {**sizes, heads: count, groups: number}
    for magnitude in MAGNITUDES:
        name, reason = f"magnitude-{magnitude:.0e}", f"magnitudes of {magnitude:g}"
        yield name, reason, {**sizes, subject.magnitude: magnitude}
    for name in subject.rates:
        reason, rate = RATES[name]
        yield name, reason, {**sizes, "rates": (rate,)}


def _rows_of_norm(_: Subject) -> Iterator[Row]:
    for channels in (2, 3, 15, 16, 17, 31, 33, 64, 127, 129, 1000, 1024):
        sizes = {"length": 2, "channels": channels}
        yield "channels", "around the vectors and blocks of kernels", sizes
    for batch in (1, 17):
        yield "batch", "rows are independent", {"batch": batch, "length": 3}
    for magnitude in MAGNITUDES:
        name, reason = f"magnitude-{magnitude:.0e}", f"magnitudes of {magnitude:g}"
        yield name, reason, {"length": 3, "scale": magnitude}
    nan = {"batch": 3, "length": 2, "nan": (1, 0)}
    yield "nan-contained", "a row of NaN: NaN there and nowhere else", nan


def _cases() -> Iterator[Case]:
    tables = ((SCANS, _rows_of_scan), (STEPS, _rows_of_step), (NORMS, _rows_of_norm))
    for subjects, rows in tables:
        for subject in subjects:
            yield from (subject.case(row, "extended") for row in rows(subject))


REPORTED = (
    (
        "mamba1.selective_scan",
        mamba1.scan,
        "the shape of an operator test that failed: 2 sequences of 7 tokens",
        {"batch": 2, "length": 7, "channels": 1536, "state": 16},
    ),
    (
        "mamba2.ssd",
        mamba2.scan,
        "a state of 128 with chunks of 128 and heads of 64: tiles of one shape",
        {"length": 130, "heads": 2, "headdim": 64, "state": 128},
    ),
    (
        "mamba3.siso",
        mamba3.scan,
        "heads of 64 and a state of 128, where pipelined loads went wrong",
        {"length": 130, "heads": 2, "headdim": 64, "state": 128, "angles": 32},
    ),
    (
        "mamba3.siso_step",
        mamba3.step,
        "heads of 16 in tiles of 64: reads and writes beyond the end",
        {"batch": 2, "heads": 4, "headdim": 16, "state": 32, "angles": 8},
    ),
)
EXTENDED: tuple[Case, ...] = (
    *_cases(),
    *(
        member(op, draw, "reported-shape", reason, sizes, "extended")
        for op, draw, reason, sizes in REPORTED
    ),
)
