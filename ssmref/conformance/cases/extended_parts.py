"""Cases of level `extended` of serving, parameters and stages, from small tables."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import caches, mamba1, parameters, snapshots, stages
from .case import Case
from .extended import MAGNITUDES, PRIMES, Row, Subject, rows_of_any
from .mamba1 import TAILS
from .parameters import SOFTPLUS
from .snapshots import SLOW

_HEADS = (("heads", "groups"),)
_CHANNELS = (("channels", "state"), (("channels", "groups"),))
_SIZES = ("heads", "headdim", "state")


def _rows_of_scan(subject: Subject, *, chunks: bool = True) -> Iterator[Row]:
    """Yield the rows of stages that are those of a scan."""
    for length in (0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, *PRIMES):
        reason = "whole and ragged chunks" if chunks else "whole and ragged trees"
        yield "length", reason, {"length": length}
    for batch in (3, 8, 17):
        yield "batch", "rows are independent", {"batch": batch, "length": 6}
    for length in (1, 16, 17, 33, 65):
        reason = "an initial state at this length"
        yield "state", reason, {"batch": 2, "length": length, "initial": True}
    nan = {"batch": 3, "length": 21, "nan": (1,)}
    yield "nan-contained", "a row of NaN: NaN there and nowhere else", nan
    yield from rows_of_any(subject, {"length": 18})


def _rows_of_chunks(subject: Subject) -> Iterator[Row]:
    yield from _rows_of_scan(subject)
    for chunk in (1, 2, 3, 7, 31, 32, 64, 100, 128, 256):
        name, length = f"chunk-of-{chunk}", 2 * chunk + 5
        sizes = {"chunk": chunk, "length": length, "initial": True}
        yield name, f"two chunks of {chunk} and a ragged one", sizes
    for length in (5, 64):
        reason = "one chunk that is longer than all tokens"
        yield "chunk-above-length", reason, {"chunk": 128, "length": length}


def _rows_of_ssd_stages(subject: Subject) -> Iterator[Row]:
    yield from _rows_of_chunks(subject)
    soft = {"batch": 2, "softplus": True, "options": ("dt_bias",)}
    for length in (15, 16, 17, 33):
        reason = "raw zeros that fill up the last chunk are no steps"
        yield "softplus", reason, {**soft, "length": length}
    for limit in ((0.02, np.inf), (0.0, 0.05), (0.04, 0.04)):
        name = f"dt-limit-{limit[0]:g}-{limit[1]:g}"
        reason = "limits that fill up nothing: dt is 0 beyond the end"
        yield name, reason, {"length": 21, "dt_limit": limit}
    pauses = {"length": 40, "pauses": 3}
    yield "pauses", "dt = 0 inside of chunks: sums stay, nothing enters", pauses
    resets = {"length": 70, "resets": 17, "rates": (-2.0, -24.0)}
    yield "resets", "steps that wipe a state, off the grid of chunks", resets


def _rows_of_siso_stages(subject: Subject) -> Iterator[Row]:
    yield from _rows_of_chunks(subject)
    for state, angles in ((2, 1), (8, 1), (8, 3), (16, 8)):
        sizes = {"length": 18, "state": state, "angles": angles}
        yield "angles", "some or all pairs of a state turn", sizes
        halved = {**sizes, "pairing": "halved"}
        yield "angles-halved", "the same across the state", halved
    yield "no-rotation", "no angle: a plain recurrence", {"length": 18, "angles": 0}
    turns = {"length": 65, "turn": 20.0}
    yield "fast-rotation", "angles that turn by pi with each unit of dt", turns
    for trap in (-30.0, 30.0):
        sizes = {"length": 18, "trap": (trap, trap + 1)}
        yield f"trap-{trap:g}", "one of the two weights vanishes", sizes


def _rows_of_scan_stages(subject: Subject) -> Iterator[Row]:
    yield from _rows_of_scan(subject, chunks=False)
    sizes = {"batch": 2, "length": 17, "softplus": True, "options": ("dt_bias",)}
    yield "softplus", "bias, then softplus", sizes
    tails = {"length": 70, "softplus": True, "raw": TAILS, "initial": True}
    yield "softplus-tails", "steps of 0 keep a state as it is", tails


def _rows_of_serve(subject: Subject) -> Iterator[Row]:
    for length in (0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 129):
        sizes = {"batch": 2, "length": length, "read": (1, -1), "rates": SLOW}
        yield "length", "a continuation and a fresh row of this length", sizes
    for width in (2, 3, 5, 8):
        for length in (width - 2, width - 1, width):
            sizes = {"length": length, "width": width, "read": (2, 0)}
            yield "window", "about as many tokens as the filter's state holds", sizes
    for count in (1, 15, 16, 17, 63, 64, 65):
        sizes = {"batch": 2, "length": 70, "read": (-1, 0), "rates": SLOW}
        reason = f"padding of {count} tokens"
        yield f"right-of-{count}", reason, {**sizes, "right": (0, count)}
        left = {**sizes, "left": (count, 1), "options": ("bias",)}
        yield f"left-of-{count}", reason, left
    yield from _rows_of_slots()
    yield from rows_of_any(subject, {"batch": 2, "length": 7, "read": (1, -1)})


def _rows_of_slots() -> Iterator[Row]:
    every = tuple(range(8))
    sizes = {"batch": 8, "length": 7, "read": every, "accepted": every}
    yield "accepted", "a rollback to each number of drafts, none to all", sizes
    for batch, slots in ((5, 5), (8, 8), (17, 40)):
        rows = tuple(7 * row % slots for row in range(batch))
        sizes = {"batch": batch, "length": 1, "slots": slots, "read": rows}
        reason = "rows all over a pool, each to the place of another"
        yield f"pool-of-{slots}", reason, {**sizes, "write": rows[::-1]}
    shared = {"batch": 8, "length": 3, "slots": 10, "read": (9,) * 8}
    yield "shared-by-all", "eight rows continue one prefix", shared
    unwritten = {"batch": 3, "length": 3, "read": (0, 1, 2), "write": (-1, -1, -1)}
    yield "nothing-written", "no row stores a state: the pool stays", unwritten
    nan = {"batch": 3, "length": 5, "read": (0, 1, 2), "nan": (1,)}
    yield "nan-contained", "a row of NaN changes its own slot only", nan
    free = {"batch": 2, "length": 5, "slots": 5, "read": (0, 3), "poisoned": (2, 4)}
    yield "nan-free-slots", "slots that nobody uses hold NaN, and keep it", free
    old = {"batch": 2, "length": 5, "read": (-1, 2), "poisoned": (0, 1)}
    yield "nan-old-slots", "NaN that a slot held before is overwritten", old


def _rows_of_snapshots(subject: Subject) -> Iterator[Row]:
    for block in (1, 2, 3, 7, 16, 17, 64, 100):
        sizes = {"lengths": (2 * block + 3, block), "block": block, "rates": SLOW}
        yield f"block-of-{block}", "whole blocks and a rest", sizes
    for length in (15, 16, 17, 31, 32, 33):
        sizes = {"lengths": (length,), "rates": SLOW}
        yield f"length-{length}", "about as long as blocks of 16", sizes
    seen = {"lengths": (6,) * 5, "seen": (0, 1, 2, 3, 4), "block": 4, "initial": True}
    yield "every-position", "each place in a block to start from", seen
    many = {"lengths": (1, 2, 3) * 7, "seen": (3, 2, 1) * 7, "block": 4}
    yield "many-sequences", "short sequences, few of which end a block", many
    nothing = {"lengths": (0, 0), "seen": (16, 0), "initial": True}
    yield "nothing-but-empty", "no token: no snapshot", nothing
    far = {"lengths": (20, 13), "seen": (2**31 - 5, 2**40), "initial": True}
    yield "far-position", "positions beyond 32 bits", far
    nan = {"lengths": (20, 18), "nan": (0, slice(0, 20)), "initial": True}
    yield "nan-contained", "a sequence of NaN: the next has none", nan
    soft = {"lengths": (20, 18), "softplus": True, "raw": TAILS}
    yield "softplus-tails", "raw dt where softplus needs its guards", soft
    yield from rows_of_any(subject, {"lengths": (17, 19)})


def _rows_of_rate(_: Subject) -> Iterator[Row]:
    for channels, state in ((1, 1), (1, 16), (17, 1), (33, 17), (128, 64)):
        sizes = {"channels": channels, "state": state}
        yield "sizes", "vectors and their tails", sizes
    for channels in (1, 2, 17, 64, 1000):
        yield "heads", "one rate per head", {"channels": channels}
    for name, low, high in (
        ("vanishing", -80.0, -40.0),
        ("tiny", -20.0, -10.0),
        ("near-one", -1e-3, 1e-3),
        ("fast", 3.0, 8.0),
        ("huge", 20.0, 40.0),
    ):
        reason = f"logarithms from {low:g} to {high:g}"
        yield name, reason, {"span": (low, high), "channels": 9, "state": 3}
    nan = {"channels": 5, "state": 3, "nan": (1,)}
    yield "nan-contained", "a channel of NaN: NaN there and nowhere else", nan


def _rows_of_tokens() -> Iterator[Row]:
    """Yield the sizes of what is per token and head."""
    for length in (0, 1, 2, 17, 65, 257):
        yield "length", "vectors and their tails", {"length": length}
    for heads in (1, 2, 8, 17, 80):
        yield "heads", "vectors and their tails", {"heads": heads}
    for batch in (1, 3, 17):
        yield "batch", "rows are independent", {"batch": batch, "length": 3}
    nan = {"batch": 3, "nan": (1,)}
    yield "nan-contained", "a row of NaN: NaN there and nowhere else", nan


def _rows_of_step_size(_: Subject) -> Iterator[Row]:
    yield from _rows_of_tokens()
    for centre in (-80.0, -40.0, -16.0, 0.0, 18.0, 40.0, 95.0):
        sizes = {"centre": centre, "heads": 7}
        yield f"raw-{centre:g}", "on either side of the guards of softplus", sizes
    for low, high in ((0.0, 0.1), (1e-3, np.inf), (0.05, 0.05), (0.0, 0.0), (2.0, 9.0)):
        name = f"limits-{low:g}-{high:g}"
        yield name, "limits that some, all or none reach", {"dt_limit": (low, high)}


def _rows_of_mamba3_rate(_: Subject) -> Iterator[Row]:
    yield from _rows_of_tokens()
    for spread in (1e-3, 0.1, 10.0, 1e3):
        for options in ({}, SOFTPLUS):
            name = "-".join((f"spread-{spread:g}", *options.values()))
            yield name, "small and large projections", {"spread": spread, **options}
    for floor in (0.0, 1e-6, 0.5, 2.0):
        for options in ({}, SOFTPLUS):
            name = "-".join((f"floor-{floor:g}", *options.values()))
            sizes = {"floor": floor, "spread": 3.0, **options}
            yield name, "a floor that none, some or most reach", sizes


def _rows_of_falcon_mamba(_: Subject) -> Iterator[Row]:
    for rank, state in ((1, 1), (2, 16), (16, 2), (17, 33), (160, 16)):
        sizes = {"rank": rank, "state": state, "channels": 9}
        yield f"rank-{rank}", "norms over the rank and over the state", sizes
    for channels in (1, 17, 64):
        yield "channels", "vectors and their tails", {"channels": channels}
    for batch in (1, 3, 17):
        yield "batch", "rows are independent", {"batch": batch, "length": 3}
    for magnitude in MAGNITUDES:
        for part, name in enumerate(("dt", "B", "C")):
            sizes = tuple(magnitude if i == part else 1.0 for i in range(3))
            reason = f"{name} of {magnitude:g}: normalised by itself"
            yield f"{name}-{magnitude:.0e}", reason, {"sizes": sizes}
    for eps in (1e-12, 1e-5, 1.0):
        yield f"eps-{eps:g}", "eps below, near and above the squares", {"eps": eps}
    nan = {"batch": 3, "nan": (1,)}
    yield "nan-contained", "NaN in dt of a row: B and C have none", nan


def _rows_of_falcon_h1(_: Subject) -> Iterator[Row]:
    for heads, groups in ((1, 1), (4, 2), (8, 8), (9, 3), (12, 4)):
        yield "groups", "slices of other widths", {"heads": heads, "groups": groups}
    for headdim, state in ((1, 1), (1, 17), (17, 1), (8, 16), (64, 128)):
        yield "sizes", "slices of other widths", {"headdim": headdim, "state": state}
    for batch in (1, 3, 17):
        yield "batch", "rows are independent", {"batch": batch, "length": 3}
    yield "empty", "no token: five empty slices", {"length": 0}
    for place, name in enumerate(("z", "x", "B", "C", "dt")):
        alone = tuple(3.0 if i == place else 1.0 for i in range(5))
        yield f"{name}-alone", f"only {name} has a multiplier", {"multipliers": alone}
        zero = tuple(0.0 if i == place else 0.5 for i in range(5))
        yield f"{name}-off", f"{name} is multiplied by 0", {"multipliers": zero}
    large = {"multipliers": (1e-5, 1e5, 1e-10, 1e10, 1.0)}
    yield "magnitudes", "multipliers of many magnitudes", large
    nan = {"batch": 3, "nan": (1,)}
    yield "nan-contained", "a row of NaN: NaN there and nowhere else", nan


def _subject(
    op: str,
    draw: Callable[..., dict[str, Any]],
    name: str,
    axes: tuple[str, ...] = (),
    groups: tuple[tuple[str, str], ...] = (),
) -> Subject:
    """Return an op whose input is `name`."""
    return Subject(op, draw, name, axes, {}, groups=groups)


_TABLES = (
    (
        _subject("stages.ssd_stages", stages.ssd, "x", _SIZES, _HEADS),
        _rows_of_ssd_stages,
    ),
    (
        _subject("stages.selective_scan_stages", mamba1.scan, "u", *_CHANNELS),
        _rows_of_scan_stages,
    ),
    (
        _subject("stages.siso_stages", stages.siso, "x", _SIZES[:2], _HEADS),
        _rows_of_siso_stages,
    ),
    (
        _subject("caches.serve", caches.serve, "xBC", (*_SIZES, "width"), _HEADS),
        _rows_of_serve,
    ),
    (
        _subject("caches.snapshots", snapshots.snapshots, "x", _SIZES, _HEADS),
        _rows_of_snapshots,
    ),
    (_subject("parameters.mamba_rate", parameters.rate, "A_log"), _rows_of_rate),
    (
        _subject("parameters.mamba2_step_size", parameters.step_size, "dt"),
        _rows_of_step_size,
    ),
    (
        _subject("parameters.mamba3_rate", parameters.mamba3_rate, "a"),
        _rows_of_mamba3_rate,
    ),
    (
        _subject("parameters.falcon_mamba_projections", parameters.falcon_mamba, "dt"),
        _rows_of_falcon_mamba,
    ),
    (
        _subject("parameters.falcon_h1_projections", parameters.falcon_h1, "projected"),
        _rows_of_falcon_h1,
    ),
)
EXTENDED: tuple[Case, ...] = tuple(
    subject.case(row, "extended") for subject, rows in _TABLES for row in rows(subject)
)
