"""Launches of S4 and S4D: systems, scans over parts of sequences, steps.

See `kernels/diagonal.cuh`. Where channels and sequences are too few for the GPU,
sequences are cut in time: a first pass finds the state that every part would end with
if it began with zeros, powers of A_bar carry states from part to part, and the second
pass starts from the true states.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ._arrays import aligned, ready
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._types import Array, word

# Blocks that keep every GPU of today busy. One number for all of them, so that all give
# the same bits.
BLOCKS = 512
# Parts are multiples of so many tokens.
TILE = 32
THREADS = {"s4_system": 128, "s4_scan": 256, "s4_step": 128, "s4_carry": 128}
# Rows of the batch that a block of `s4_step` goes through.
ROWS = 8

# What one lane has: a small system has one lane, 32 pairs have 8 lanes.
LANES = (
    {"LANES": 1, "PAIRS": 2, "WIDE": 1},
    {"LANES": 8, "PAIRS": 4, "WIDE": 0},
    {"LANES": 8, "PAIRS": 4, "WIDE": 1},
    {"LANES": 32, "PAIRS": 4, "WIDE": 1},
)
WORDS = ({"IO": "float"}, {"IO": "bf16"}, {"IO": "f16"})
RANKS = ({"RANKS": 0}, {"RANKS": 1}, {"RANKS": 2})
# In every precision for one size, in every size for one precision.
SYSTEMS = (
    *({**io, **ranks, **LANES[2]} for io in WORDS for ranks in RANKS[:2]),
    *(
        {**WORDS[0], **r, **own}
        for r in RANKS[:2]
        for own in LANES
        if own["LANES"] != 8 or not own["WIDE"]
    ),
    {**WORDS[0], **RANKS[2], **LANES[2]},
)

SYSTEM = Program(
    "s4_system.cu",
    variants=(
        *product(RULE=("bilinear",), RANKS=(0, 1, 2, 3)),
        {"RULE": "zero_order_hold", "RANKS": 0},
    ),
    budgets=(Budget("s4_system", registers=128, shared=0),),
)
SCAN = Program(
    "s4_scan.cu",
    variants=tuple({**own, "READ": read} for own in SYSTEMS for read in (0, 1)),
    budgets=(
        Budget("s4_scan", registers=176, shared=17_408),
        Budget(
            "s4_scan", registers=128, per=("FFMA", 2.1), when={"RANKS": 0, "READ": 1}
        ),
        Budget(
            "s4_scan", registers=128, per=("FFMA", 2.1), when={"RANKS": 1, "READ": 1}
        ),
    ),
)
CARRY = Program(
    "s4_carry.cu",
    budgets=(
        Budget("s4_carry_diagonal", registers=48, shared=0),
        Budget("s4_carry_dense", registers=64),
    ),
)
STEP = Program(
    "s4_step.cu",
    variants=SYSTEMS,
    budgets=(
        Budget("s4_step", registers=128, shared=0),
        Budget(
            "s4_step", registers=128, needs=("LDG.E.128", "STG.E.128"), when={"WIDE": 1}
        ),
    ),
)

Power = Callable[[int], Array]


class System(NamedTuple):
    """The discrete system of every channel, and how to find powers of its matrix."""

    planes: Array
    ranks: int
    dense: bool
    power: Power


class Cuts(NamedTuple):
    """How sequences are cut; tables only where sequences are packed."""

    parts: int
    sequences: int
    cuts: int
    longest: int
    table: Array | None
    firsts: Array | None


def planes(
    dt: Array, A: Array, B: Array, C: Array, P: Array | None, rule: str
) -> Array:
    """Return the discrete system of every channel, (3 + 2 ranks, channels, state)."""
    ranks = 0 if P is None else len(P)
    channels, state = A.shape
    made = cupy().empty((3 + 2 * ranks, channels, state), np.complex64)
    warps = THREADS["s4_system"] // 32
    arrays = (ready(dt), ready(A), ready(B), ready(C), P if P is None else ready(P))
    SYSTEM.kernel("s4_system", RULE=rule, RANKS=ranks)(
        (-(-channels // warps),),
        (THREADS["s4_system"],),
        (*arrays, made, channels, state),
    )
    return made


def lanes(state: int, *arrays: Array | None) -> dict[str, int]:
    """Return how the states of a channel are divided, for these arrays of states."""
    pairs = 2 if state <= 2 else 4 * -(-state // 128)
    count = 1
    while count * pairs < state:
        count *= 2
    wide = state % 2 == 0 and aligned(*arrays)
    return {"LANES": count, "PAIRS": pairs, "WIDE": int(wide)}


def scan(
    u: Array,
    system: System,
    D: Array | None,
    initial: Array | None,
    cu_seqlens: Array | None,
    shortest: int,
) -> tuple[Array, Array]:
    """Return y and the final states; parts have at least `shortest` tokens."""
    cp, u = cupy(), ready(u)
    channels, state = system.planes.shape[1:]
    initial = None if initial is None else ready(initial)
    D = None if D is None else ready(D)
    own = lanes(state, initial)
    cut = _cut(
        u, cu_seqlens, -(-channels * own["LANES"] // THREADS["s4_scan"]), shortest
    )
    y = cp.empty(u.shape, u.dtype)
    final = cp.empty((cut.sequences, channels, state), np.complex64)
    starts = initial
    if cut.parts > cut.sequences:
        starts = cp.empty((cut.parts, channels, state), np.complex64)
        _run(u, None, system, D, None, starts, cut, own)
        _carry(starts, initial, system, cut)
    _run(u, y, system, D, starts, final, cut, own)
    return y, final


def _run(u, y, system, D, starts, ends, cut, own) -> None:
    """Run all parts; the pass without y finds what parts end with."""
    channels, state = system.planes.shape[1:]
    column = THREADS["s4_scan"] // own["LANES"]
    tile = 32 if own["LANES"] >= 4 else 8
    macros = {"IO": word(u), "RANKS": system.ranks, **own, "READ": int(y is not None)}
    SCAN.kernel("s4_scan", **macros)(
        (cut.parts * -(-channels // column),),
        (THREADS["s4_scan"],),
        (
            *(u, u if y is None else y, system.planes, D, starts, ends, cut.table),
            *(channels, state, cut.cuts, u.shape[1], cut.longest),
        ),
        shared=2 * tile * (column + 4) * 4,
    )


def _carry(states: Array, initial: Array | None, system: System, cut: Cuts) -> None:
    """Replace what parts end with by what they begin with."""
    channels, state = system.planes.shape[1:]
    threads, power = THREADS["s4_carry"], system.power(cut.longest)
    arrays = (states, initial, power, cut.firsts, cut.cuts)
    if system.dense:
        CARRY.kernel("s4_carry_dense")(
            (cut.sequences * channels,),
            (threads,),
            (*arrays, channels, 2 * state),
            shared=4 * state * 4,
        )
    else:
        CARRY.kernel("s4_carry_diagonal")(
            (-(-cut.sequences * channels * state // threads),),
            (threads,),
            (*arrays, channels * state, cut.sequences),
        )


def _cut(u: Array, cu_seqlens: Array | None, blocks: int, shortest: int) -> Cuts:
    """Cut all sequences into parts of one length, so that there are BLOCKS blocks."""
    batch, length, _ = u.shape
    parts = max(BLOCKS // max(blocks, 1), 1)
    longest = max(shortest, -(-batch * length // parts // TILE) * TILE, 1)
    if cu_seqlens is None:
        cuts = max(-(-length // longest), 1)
        return Cuts(batch * cuts, batch, cuts, longest, None, None)
    bounds = cu_seqlens.get().astype(np.int64)
    counts = np.maximum(-(-np.diff(bounds) // longest), 1)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    sequence = np.repeat(np.arange(len(counts)), counts)
    own = np.arange(firsts[-1]) - firsts[sequence]
    begin = bounds[sequence] + own * longest
    end = np.minimum(begin + longest, bounds[sequence + 1])
    table = np.stack([begin, end, sequence, own + 1 == counts[sequence]], axis=1)
    tables = map(cupy().asarray, (table.astype(np.int64), firsts))
    return Cuts(int(firsts[-1]), len(counts), 0, longest, *tables)


def step(
    u: Array, system: System, D: Array | None, state: Array, slots: Array | None
) -> tuple[Array, Array]:
    """Return y and the new states; where `slots` is given, all states are copied."""
    cp = cupy()
    u, state = ready(u), ready(state)
    batch, channels = u.shape
    own = lanes(state.shape[-1], state)
    new = cp.empty(state.shape, state.dtype) if slots is None else state.copy()
    y = cp.empty(u.shape, u.dtype)
    column = THREADS["s4_step"] // own["LANES"]
    STEP.kernel("s4_step", IO=word(u), RANKS=system.ranks, **own)(
        (-(-batch // ROWS) * -(-channels // column),),
        (THREADS["s4_step"],),
        (
            *(u, y, system.planes, None if D is None else ready(D), state, new),
            None if slots is None else ready(slots.astype(np.int64)),
            *(batch, channels, state.shape[-1]),
        ),
    )
    return y, new


def diagonal_power(planes: Array) -> Power:
    """Return the powers of the decays of a system without ranks."""

    def power(exponent: int) -> Array:
        decay = planes[0].astype(np.complex128)
        return raised(decay, exponent, lambda a, b: a * b).astype(np.complex64)

    return power


def raised(base: Array, exponent: int, times: Callable[[Array, Array], Array]) -> Array:
    """Return the power, exponent >= 1, by repeated squaring."""
    result = None
    while exponent:
        if exponent % 2:
            result = base if result is None else times(result, base)
        exponent //= 2
        base = times(base, base) if exponent else base
    assert result is not None
    return result
