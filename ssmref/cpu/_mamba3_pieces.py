"""Sequences of Mamba-3 and their pieces: what runs around the kernel.

Where there are fewer rows than threads, time is split into as many pieces in every
sequence. A piece first runs from a state of zero and an angle of zero. Rotations
commute: had it begun at an angle, its state would be rotated by that angle and nothing
else would differ. So the true states before all pieces follow from the states after
them, and all pieces run once more, with outputs.
"""

from math import ceil

import numpy as np

from ._mamba3_kernels import State, scan
from ._mamba3_turns import TURN
from ._row_products import TILE_RIGHT
from .toolkit.items import for_each
from .toolkit.kernels import lane_count
from .toolkit.threads import segments, threads

# Rows of a chunk, and heads at most whose chunks share a copy of B and C, which costs
# so much of what a head does.
ROWS = 32
HEADS = 4
COPY = 0.1
# What the pass without outputs costs, and the fewest tokens that are worth a piece.
FIRST_PASS = 0.55
SHORTEST = 512


def scan_sequences(call, bounds, given, last, y):
    """Fill the outputs, flat as in `call`, and the last states.

    Both states are arrays (angle, ssm, k, v); the last one begins as a copy.
    """
    rows = (len(bounds) - 1) * call.heads
    longest = int(np.diff(bounds).max(initial=0))
    count = segments(rows, longest, first_pass=FIRST_PASS, shortest=SHORTEST)
    scan_in_pieces(call, bounds, given, last, y, count)


def scan_in_pieces(call, bounds, given, last, y, count):
    """`scan_sequences` with every sequence in `count` pieces of time."""
    pieces = _pieces(bounds, count)
    rows = len(pieces), call.heads
    ssm = last[1]
    if count > 1:
        ssm = np.zeros((*rows, call.width, call.depth), y.dtype)
        ssm[::count] = given[1]
    turns = np.zeros((*rows, 2, call.pairs), y.dtype)
    ends = given[0], given[2], given[3], last[0], last[2], last[3]
    state = State(*ends, ssm, turns, np.zeros(rows))
    if count > 1:
        early = np.arange(len(pieces)) % count < count - 1
        _run(call, state, pieces[early], y[:0])
        _carry(state, count, call.pairwise)
        ssm[::count] = given[1]
    _run(call, state, pieces, y)
    if count > 1:
        last[1][:] = ssm[count - 1 :: count]


def _pieces(bounds, count):
    """Return rows (piece, start, stop, sequence, whether it begins, end).

    The first piece of a sequence has tokens, if the sequence has.
    """
    start, length = bounds[:-1, None], np.diff(bounds)[:, None]
    cuts = start - -length * np.arange(count + 1) // count
    sequence, piece = np.indices((len(bounds) - 1, count))
    columns = (
        sequence * count + piece,
        *(cuts[:, :-1], cuts[:, 1:]),
        sequence,
        piece == 0,
        np.broadcast_to(bounds[1:, None], piece.shape),
    )
    return np.stack([c.reshape(-1) for c in columns], axis=1).astype(np.int64)


def _run(call, state, pieces, y):
    """Scan pieces; without outputs where y is empty."""
    lanes, own = lane_count(call.x.dtype), call.heads // call.groups
    tokens = max(1, ROWS // call.ranks)
    # Whole vectors, and whole tiles of scores.
    whole = max(lanes, TILE_RIGHT)
    size = -(-tokens * call.ranks // whole) * whole
    block = _heads_of_items(own, len(pieces) * call.groups)
    items = len(pieces) * call.groups * -(-own // block)
    flat = State(*(part.reshape(-1) for part in state))
    work = call.x.size * call.depth
    arguments = call, flat, pieces, y, tokens, size, block
    for_each(scan, items, work, y.dtype, *arguments)


def _heads_of_items(heads, sets):
    """Return how many of so many heads an item has, for as many sets of them.

    Fewest are left for the busiest thread: six items of 4 would take four threads as
    long as eight.
    """

    def cost(block):
        return ceil(sets * ceil(heads / block) / threads()) * (block + COPY)

    return min(range(1, min(HEADS, heads) + 1), key=cost)


@np.errstate(all="ignore")
def _carry(state, count, pairwise):
    """Turn states after pieces, run from zero, into true states before them.

    The state after the first one, which began with the true state, is true.
    """
    parts = (state.turns, state.ssm, np.exp2(state.total).astype(state.ssm.dtype))
    turns, ssm, decay = (a.reshape(-1, count, *a.shape[1:]) for a in parts)
    turn, h = turns[:, 0].copy(), ssm[:, 0].copy()
    for j in range(1, count):
        local = _rotated(ssm[:, j].copy(), turn, pairwise)
        ssm[:, j], after = h, _sum(turn, turns[:, j])
        turns[:, j], turn = turn, after
        h = decay[:, j, :, None, None] * h + local


def _sum(a, b):
    """Add turns: integers, which wrap, and blots."""
    total = a + b
    integers = _integers(a) + _integers(b)
    total[:, :, 0] = integers.view(a.dtype)
    return total


def _integers(turns):
    kind = np.int32 if turns.itemsize == 4 else np.int64
    return turns[:, :, 0].view(kind)


def _rotated(h, turns, pairwise):
    """Return states (sequences, heads, headdim, state) rotated by turns."""
    angles, middle = turns.shape[-1], h.shape[-1] // 2
    part = _integers(turns) * 2.0 ** (-8 * h.itemsize)
    theta = (TURN * part + turns[:, :, 1])[:, :, None]
    cos, sin = np.cos(theta).astype(h.dtype), np.sin(theta).astype(h.dtype)
    first, second = slice(angles), slice(middle, middle + angles)
    if pairwise:
        first, second = slice(0, 2 * angles, 2), slice(1, 2 * angles, 2)
    a, b = h[..., first].copy(), h[..., second].copy()
    h[..., first] = a * cos - b * sin
    h[..., second] = a * sin + b * cos
    return h
