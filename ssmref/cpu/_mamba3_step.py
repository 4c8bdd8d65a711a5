"""Kernels of one token of Mamba-3: every state is read once and written once.

Limit: bytes, 8 for each number of the state in float32, and the keys. The arithmetic,
1 + 3 R multiply-adds per number, takes less time, also for four ranks.

States stay as they are, rows of coordinates of k: the few vectors that turn do so in
halves, and are then brought into the order of the state.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._blocks import inner
from ._chunks import aligned
from ._lanes import INT64, micro_kernel, parallel_kernel
from ._mamba3_chunks import make_desk
from ._mamba3_kernels import Part, load_options, open_chunk, turn_rows, write_out
from ._mamba3_rows import from_halves, spread
from ._mamba3_turns import from_angles, to_angles
from ._math import exp, sigmoid
from ._threads import launch

class StepState(NamedTuple):
    """The states of all slots, flat."""

    angle: Any  # (slots, heads, pairs)
    ssm: Any  # (slots, heads, headdim, state)
    k: Any  # (slots, ranks, heads, state)
    v: Any  # (slots, heads, headdim)


# Vectors of a state that are in registers at a time.
VECTORS = 4


def _plain_advance(
    new, old, at, memory, factors, keys, queries, out, ranks, width, depth, decay
):
    """Set the new state of a head, (width, depth), and add its outputs, (ranks, width).

    The old state decays; rows of factors times rows of keys, `ranks` of the token before
    and of this one, are added.
    """
    own = slice(at, at + width * depth)
    h = decay * old[own].reshape(width, depth)
    for j in range(2 * ranks):
        key = memory[keys + j * depth : keys + (j + 1) * depth]
        h += memory[factors + j * width : factors + (j + 1) * width, None] * key
    new[own] = h.reshape(-1)
    for r in range(ranks):
        query = memory[queries + r * depth : queries + (r + 1) * depth]
        memory[out + r * width : out + (r + 1) * width] = (h * query).sum(axis=1)


@micro_kernel(_plain_advance)
def _advance(
    lanes, new, old, at, memory, factors, keys, queries, out, ranks, width, depth, decay
):
    """Row by row; the new row is in the first-level cache when it is read out."""
    builder, count = lanes.builder, INT64(lanes.count)
    add, mul = builder.add, builder.mul

    def row(p, _):
        first = add(at, mul(p, depth))

        def block(places, mask):
            """Advance a few vectors of the row."""

            def term(j, sums):
                factor = lanes.broadcast(memory, add(add(factors, mul(j, width)), p))
                own = add(keys, mul(j, depth))
                given = (lanes.load(memory, add(own, c), mask) for c in places)
                return [lanes.fma(factor, k, h) for k, h in zip(given, sums, strict=True)]

            h = [decay * lanes.load(old, add(first, c), mask) for c in places]
            h = lanes.loop(mul(ranks, INT64(2)), h, term)
            for c, value in zip(places, h, strict=True):
                lanes.store(value, new, add(first, c), mask)

        def whole(i, _):
            place = mul(i, INT64(VECTORS * lanes.count))
            block([add(place, INT64(v * lanes.count)) for v in range(VECTORS)], None)
            return []

        def rest(i, _):
            place = add(done, mul(i, count))
            block([place], lanes.first(builder.sub(depth, place)))
            return []

        blocks = builder.sdiv(depth, INT64(VECTORS * lanes.count))
        done = mul(blocks, INT64(VECTORS * lanes.count))
        left = builder.sdiv(add(builder.sub(depth, done), builder.sub(count, INT64(1))), count)
        lanes.loop(blocks, [], whole)
        lanes.loop(left, [], rest)

        def rank(r, _):
            query = add(queries, mul(r, depth))

            def part(i, sums):
                place = mul(i, count)
                mask = lanes.first(builder.sub(depth, place))
                own = lanes.load(new, add(first, place), mask)
                return [lanes.fma(own, lanes.load(memory, add(query, place), mask), sums[0])]

            vectors = builder.sdiv(add(depth, builder.sub(count, INT64(1))), count)
            (total,) = lanes.loop(vectors, [lanes.constant(0.0)], part)
            place = builder.gep(memory, [add(add(out, mul(r, width)), p)])
            builder.store(lanes.total(total), place)
            return []

        lanes.loop(ranks, [], rank)
        return []

    lanes.loop(width, [], row)


@inner
def load_values(call, old, memory, desk, b, slot, head):
    """Fill the values, and behind the outputs those of both tokens times weights.

    Return the decay.
    """
    width, plane, at = desk.width, desk.ranks * desk.width, b * call.heads + head
    dt, logit = call.dt[at], call.trap[at]
    decay = exp(call.A[at] * dt)
    before, gamma = sigmoid(-logit) * dt * decay, sigmoid(logit) * dt
    early = (slot * call.heads + head) * width
    spread(memory, desk.values, old.v, early, 0, desk.factors, 1, desk.ranks, width)
    now = desk.values + plane
    spread(memory, now, call.x, at * width, 0, desk.factors, 1, desk.ranks, width)
    for i in range(plane):
        memory[desk.out + plane + i] = before * memory[desk.values + i]
        memory[desk.out + 2 * plane + i] = gamma * memory[now + i]
        memory[desk.values + i] = memory[now + i]
    return decay


@inner
def load_keys(call, old, new, memory, desk, slot, head):
    """Bring keys and queries into the order of the state; keep the new keys.

    They lie in `raw`: keys of the token before, of this one, then queries.
    """
    heads, ranks, depth = call.heads, desk.ranks, desk.depth
    rows = ranks * depth
    for r in range(ranks):
        at = ((slot * ranks + r) * heads + head) * depth
        for n in range(depth):
            memory[desk.raw + r * depth + n] = old.k[at + n]
    for target, source in ((1, desk.turned), (2, desk.queries)):
        from_halves(
            *(memory, desk.raw + target * rows, depth, memory, source),
            *(ranks, depth, call.pairwise),
        )
    for r in range(ranks):
        at = ((slot * ranks + r) * heads + head) * depth
        for n in range(depth):
            new.k[at + n] = memory[desk.raw + rows + r * depth + n]


@inner
def advance_head(call, old, new, y, b, slot, head):
    """Advance one head of one row of the batch."""
    ranks, depth, width, pairs = call.ranks, call.depth, call.width, call.pairs
    desk = make_desk(3 * ranks, ranks, depth, width, 1, pairs)
    memory = aligned(desk.states, call.x)
    part = Part(0, b, b + 1, slot, 0, b + 1, head, 1, 1, True)
    row, at = slot * call.heads + head, b * call.heads + head
    load_options(call, memory, desk, head, 0)
    open_chunk(call, part, memory, desk, b, ranks)
    memory[desk.half] = call.dt[at] / 2
    from_angles(memory, desk.turns, old.angle, row * pairs, pairs)
    turn_rows(call, part, memory, desk, b, 1, 0)
    to_angles(new.angle, row * pairs, memory, desk.turns, pairs)
    load_keys(call, old, new, memory, desk, slot, head)
    decay = load_values(call, old, memory, desk, b, slot, head)
    own = ranks * depth
    _advance(
        *(new.ssm, old.ssm, row * width * depth, memory, desk.out + ranks * width),
        *(desk.raw, desk.raw + 2 * own, desk.out, ranks, width, depth, decay),
    )
    for p in range(width):
        new.v[row * width + p] = call.x[at * width + p]
    write_out(call, memory, desk, 0, y, b, 1, head)


@parallel_kernel
def _step(call, old, new, y, rows):
    """Advance all heads of all rows; a negative slot is padding."""
    for index in prange(len(rows) * call.heads):
        item = np.int64(index)
        b, head = item // call.heads, item % call.heads
        slot = rows[b]
        if slot >= 0:
            advance_head(call, old, new, y, b, slot, head)
        else:
            at = item * call.width
            for p in range(call.width):
                y[at + p] = 0


def step(call, old, new, y, rows):
    """Advance the states of some slots, from the old arrays to the new ones."""
    launch(_step, 4 * len(rows) * call.heads * call.width * call.depth, call, old, new, y, rows)
