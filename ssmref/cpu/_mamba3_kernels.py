"""The kernels of `mamba3.siso` and `mamba3.mimo`: chunks of rows, head by head.

The limit. Each token has R rows (ranks). Per row and head, with Q rows in a chunk,
headdim P, state N and S angles::

    2 N P       read-out of the state                 floating point operations
    2 N P       update of the state
    Q N         scores, half of the square: keys turn per head, nothing is shared
    Q P         products inside the chunk
    3 S / R     exps and the like (tanh, sine, cosine), and the rotation, 6 S
    8 P + 4 S   bytes over R: x, y and angles; B and C are shared

With P = 64, N = 128, S = 32, Q = 32 that is 39 thousand operations, of which a core
with AVX-512 does 32 in a cycle: 1200 cycles, and 150 for the angles.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from ._chunks import bounded
from ._mamba3_chunks import (
    absorb,
    bound_decays,
    make_desk,
    read_chunk,
    read_state,
    recur,
    score,
)
from ._mamba3_halves import from_halves, to_halves
from ._mamba3_rows import (
    add_scaled,
    collect,
    copy,
    fetch,
    fill,
    gate,
    normalise,
    spread,
    weigh,
)
from ._mamba3_turns import from_angles, measure, rotate, to_angles
from .toolkit.elementary import LOG2_E, sigmoid
from .toolkit.items import Item
from .toolkit.kernels import inner, stay_small
from .toolkit.memory import new_numbers
from .toolkit.products import TILE_ROWS, add_product
from .toolkit.rows import all_finite, transpose


class Call(NamedTuple):
    """The arguments of a call, flat; options that are not given are empty."""

    heads: Any
    width: Any  # headdim
    ranks: Any
    groups: Any
    depth: Any  # state
    pairs: Any  # of coordinates that turn: angles
    pairwise: Any  # 1 where pairs are (2i, 2i + 1)
    x: Any  # (tokens, heads, headdim)
    dt: Any  # (tokens, heads)
    A: Any
    B: Any  # (tokens, ranks, groups, state)
    C: Any
    trap: Any  # (tokens, heads)
    angles: Any  # (tokens, heads, pairs)
    B_bias: Any  # (heads, ranks, state)
    C_bias: Any
    D: Any  # (heads)
    z: Any  # (tokens, heads, headdim)
    norm: Any  # (heads, headdim)
    mimo_x: Any  # (heads, ranks, headdim)
    mimo_z: Any
    mimo_o: Any
    eps: Any


class State(NamedTuple):
    """States, flat: those given, the last ones, and those of pieces before and after.

    A piece may end its sequence before the first one of it begins: the last states
    stand apart from the given ones.
    """

    angle: Any  # (sequences, heads, pairs)
    k: Any  # (sequences, ranks, heads, state)
    v: Any  # (sequences, heads, headdim)
    last_angle: Any
    last_k: Any
    last_v: Any
    ssm: Any  # (pieces, heads, headdim, state)
    turns: Any  # (pieces, heads, 2, pairs), as in `_mamba3_turns`
    total: Any  # (pieces, heads): sums of exponents in powers of two


class Part(NamedTuple):
    """Which heads of which tokens: what one work item computes."""

    piece: Any
    start: Any
    stop: Any
    sequence: Any
    begins: Any  # 1 where the token at `start` is the first of its sequence
    end: Any  # of the sequence
    head: Any
    heads: Any
    tokens: Any  # per chunk
    reading: Any  # whether there are outputs


@inner
def weigh_tokens(call, part, memory, desk, t, tokens, head):
    """Fill exponents and weights of the tokens of a chunk and of the one after it."""
    stay_small()
    heads, known = call.heads, min(tokens + 1, part.end - t)
    for i in range(known):
        at = (t + i) * heads + head
        memory[desk.half + i] = call.dt[at]
        memory[desk.now + i] = call.trap[at]
        memory[desk.exponents + i] = call.A[at]
    weigh(memory, desk.half, desk.now, desk.before, desk.exponents, known)
    if known == tokens:
        memory[desk.before + tokens] = 0


@inner
def weigh_rows(memory, desk, tokens):
    """Fill the weights of rows, and the sums of exponents, in powers of two.

    Return 0 if the weights are finite, the total of the exponents and their rise, the
    sum of the positive ones: no difference of sums is larger, and rounding must not
    make it so.
    """
    stay_small()
    zero, total, rise = 0 * memory[desk.now], 0.0, 0.0
    for t in range(tokens):
        a = LOG2_E * np.float64(memory[desk.exponents + t])
        total += a
        rise += max(a, 0.0)
        gamma = memory[desk.now + t]
        scale = gamma + memory[desk.before + t + 1]
        zero += 0 * scale
        memory[desk.high + t * desk.ranks] = total
        low = total - np.float64(memory[desk.high + t * desk.ranks])
        for row in range(t * desk.ranks, (t + 1) * desk.ranks):
            memory[desk.high + row] = total
            memory[desk.low + row] = low
            memory[desk.gamma + row] = gamma
            memory[desk.scale + row] = scale
    return zero, total, rise


@njit(inline="always")
def turn_rows(call, part, memory, desk, t, tokens, k):
    """Rotate the keys and queries of a chunk for one head."""
    pairs, step, head = call.pairs, call.heads * call.pairs, part.head + k
    measure(
        *(memory, desk.parts, desk.half, call.angles, t * step + head * pairs, step),
        *(tokens, pairs),
    )
    rotate(
        *(memory, desk.turned, desk.raw, desk.size * desk.depth),
        desk.biases + k * 2 * desk.ranks * desk.depth,
        *(desk.turns + k * 2 * pairs, desk.parts),
        *(tokens, desk.ranks, desk.depth, pairs),
    )


@njit(inline="always")
def read(call, part, memory, desk, t, head, own, rows, rise, y):
    """Fill the outputs of a chunk from the state at offset `own` and its own rows."""
    for i in range(0, rows, TILE_ROWS):
        some = min(TILE_ROWS, rows - i)
        fetch(call, part, t, head, i, some, y)
        read_state(memory, desk, own, i, some)
        read_chunk(memory, desk, i, some, rise)


@inner
def write_out(call, memory, desk, k, y, t, tokens, head):
    """Add the skip, normalise, gate, and sum the ranks of each token."""
    width, ranks = desk.width, desk.ranks
    step, at = call.heads * width, (t * call.heads + head) * width
    rows, plane = tokens * ranks, ranks * width
    gates = desk.factors + k * 3 * plane + plane
    if len(call.D) > 0:
        add_scaled(memory, desk.out, memory, desk.values, call.D[head], rows * width)
    if len(call.norm) > 0:
        normalise(memory, desk.out, call.norm, head * width, rows, width, call.eps)
    if len(call.z) > 0:
        gate(memory, desk.out, call.z, at, step, gates, tokens, ranks, width)
    collect(y, at, step, memory, desk.out, gates + plane, tokens, ranks, width)


@njit(inline="always")
def scan_chunk(call, part, state, memory, desk, k, t, tokens, finite, y):
    """Advance head k of a part over a chunk; return whether its state is finite."""
    heads, width, rows = call.heads, desk.width, tokens * desk.ranks
    head, own = part.head + k, desk.states + k * desk.depth * width
    weigh_tokens(call, part, memory, desk, t, tokens, head)
    zero, total, rise = weigh_rows(memory, desk, tokens)
    state.total[part.piece * heads + head] += total
    turn_rows(call, part, memory, desk, t, tokens, k)
    at, step = (t * heads + head) * width, heads * width
    zero += spread(
        *(memory, desk.values, call.x, at, step),
        *(desk.factors + k * 3 * desk.ranks * width, tokens, desk.ranks, width),
    )
    if part.reading:
        zero += score(memory, desk, rows)
    else:
        finite &= all_finite(memory, desk.turned, 0, 1, rows * desk.depth)
    quick = finite and zero == 0 and bounded(total, rise)
    if quick:
        bound_decays(memory, desk, rows, rise)
        if part.reading:
            read(call, part, memory, desk, t, head, own, rows, rise, y)
    else:
        recur(memory, desk, own, tokens, t + tokens == part.end)
    if part.reading:
        write_out(call, memory, desk, k, y, t, tokens, head)
    if quick:
        absorb(memory, desk, own, rows)
        return True
    return all_finite(memory, own, 0, 1, desk.depth * width)


@inner
def open_chunk(call, part, memory, desk, t, rows):
    """Copy the keys and queries of a chunk, which heads share."""
    stay_small()
    depth, step = call.depth, call.groups * call.depth
    group = part.head // (call.heads // call.groups)
    at = t * call.ranks * step + group * depth
    for source, target in ((call.B, desk.raw), (call.C, desk.raw + desk.size * depth)):
        to_halves(memory, target, source, at, step, rows, depth, call.pairwise)


@inner
def enter(call, part, state, memory, desk, k):
    """Add what the first token gives to the key and the value before it."""
    stay_small()
    heads, ranks, depth, width = call.heads, desk.ranks, desk.depth, desk.width
    head, at = part.head + k, part.start * heads + part.head + k
    weight = sigmoid(-call.trap[at]) * call.dt[at]
    spread(
        *(memory, desk.values, state.v, (part.sequence * heads + head) * width, 0),
        *(desk.factors + k * 3 * ranks * width, 1, ranks, width),
    )
    for i in range(desk.values, desk.values + ranks * width):
        memory[i] *= weight
    to_halves(
        *(memory, desk.raw, state.k, (part.sequence * ranks * heads + head) * depth),
        *(heads * depth, ranks, depth, call.pairwise),
    )
    add_product(
        *(memory, desk.states + k * depth * width, width, memory, desk.raw, 1, depth),
        *(memory, desk.values, width, depth, width, ranks),
    )


@inner
def keep(call, part, state, memory, desk, k, rows):
    """Keep angles, keys and values of the last token of a sequence."""
    stay_small()
    heads, ranks, depth, width = call.heads, desk.ranks, desk.depth, desk.width
    row, pairs = part.sequence * heads + part.head + k, call.pairs
    to_angles(state.last_angle, row * pairs, memory, desk.turns + k * 2 * pairs, pairs)
    from_halves(
        *(state.last_k, (part.sequence * ranks * heads + part.head + k) * depth),
        *(heads * depth, memory, desk.turned + (rows - ranks) * depth),
        *(ranks, depth, call.pairwise),
    )
    at = ((part.end - 1) * heads + part.head + k) * width
    copy(state.last_v, row * width, 0, call.x, at, 0, 1, width)


@inner
def load_options(call, memory, desk, head, k):
    """Copy the biases and factors of a head to the desk: zeros and ones, if none."""
    stay_small()
    depth, plane = desk.depth, desk.ranks * desk.width
    at = desk.biases + k * 2 * desk.ranks * depth
    for bias in (call.B_bias, call.C_bias):
        if len(bias) > 0:
            to_halves(
                *(memory, at, bias, head * desk.ranks * depth, depth),
                *(desk.ranks, depth, call.pairwise),
            )
        else:
            fill(memory, at, desk.ranks * depth, 0.0)
        at += desk.ranks * depth
    at = desk.factors + k * 3 * plane
    for factor in (call.mimo_x, call.mimo_z, call.mimo_o):
        if len(factor) > 0:
            copy(memory, at, 0, factor, head * plane, 0, 1, plane)
        else:
            fill(memory, at, plane, 1.0)
        at += plane


@inner
def load_head(call, part, state, memory, desk, k):
    """Copy the state of a head to the desk."""
    stay_small()
    depth, width, pairs = desk.depth, desk.width, call.pairs
    row, size = part.piece * call.heads + part.head + k, depth * width
    load_options(call, memory, desk, part.head + k, k)
    to_halves(
        *(memory, desk.turned, state.ssm, row * size, depth),
        *(width, depth, call.pairwise),
    )
    transpose(
        *(memory, desk.states + k * size, width, memory, desk.turned, depth),
        *(width, depth),
    )
    turns = desk.turns + k * 2 * pairs
    if part.begins:
        enter(call, part, state, memory, desk, k)
        at = (part.sequence * call.heads + part.head + k) * pairs
        from_angles(memory, turns, state.angle, at, pairs)
        return
    copy(memory, turns, 0, state.turns, row * 2 * pairs, 0, 1, 2 * pairs)


@inner
def store_head(call, part, state, memory, desk, k):
    """Undo `load_head`."""
    stay_small()
    depth, width, pairs = desk.depth, desk.width, call.pairs
    row, size = part.piece * call.heads + part.head + k, depth * width
    transpose(
        *(memory, desk.turned, depth, memory, desk.states + k * size, width),
        *(depth, width),
    )
    from_halves(
        *(state.ssm, row * size, depth, memory, desk.turned),
        *(width, depth, call.pairwise),
    )
    turns = desk.turns + k * 2 * pairs
    copy(state.turns, row * 2 * pairs, 0, memory, turns, 0, 1, 2 * pairs)


@njit(inline="always")
def scan_part(call, part, state, memory, desk, y):
    """Scan some heads over some tokens, from the states of a piece to themselves."""
    size = desk.depth * desk.width
    finite = np.empty(part.heads, np.bool_)
    for k in range(part.heads):
        load_head(call, part, state, memory, desk, k)
        finite[k] = all_finite(memory, desk.states + k * size, 0, 1, size)
    for t in range(part.start, part.stop, part.tokens):
        tokens = min(part.tokens, part.stop - t)
        rows = tokens * desk.ranks
        open_chunk(call, part, memory, desk, t, rows)
        for k in range(part.heads):
            finite[k] = scan_chunk(
                call, part, state, memory, desk, k, t, tokens, finite[k], y
            )
            if part.reading and t + tokens == part.end:
                keep(call, part, state, memory, desk, k, rows)
    for k in range(part.heads):
        store_head(call, part, state, memory, desk, k)


@Item
def scan(call, state, pieces, y, tokens, size, block, job):
    """Scan one work item: `block` heads of one group, or the rest, on a piece.

    Pieces are rows (piece, start, stop, sequence, begins, end).
    """
    groups, own = call.groups, call.heads // call.groups
    blocks = (own + block - 1) // block
    row, rest = job // (groups * blocks), job % (groups * blocks)
    head = rest // blocks * own + rest % blocks * block
    heads = min(block, own - rest % blocks * block)
    part = Part(
        *(pieces[row, 0], pieces[row, 1], pieces[row, 2], pieces[row, 3]),
        *(pieces[row, 4], pieces[row, 5], head, heads, tokens, len(y) > 0),
    )
    if part.start < part.stop:
        desk = make_desk(*(size, call.ranks, call.depth, call.width, heads, call.pairs))
        memory = new_numbers(desk.end, call.x)
        scan_part(call, part, state, memory, desk, y)
