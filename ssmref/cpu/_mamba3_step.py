"""Kernels of one token of Mamba-3: every state is read once and written once.

Limit: bytes, 8 for each number of the state in float32, and the keys. The arithmetic,
1 + 3 R multiply-adds per number, takes less time, also for four ranks.

States stay as they are, rows of coordinates of k: the few vectors that turn do so in
halves, and are then brought into the order of the state.
"""

from typing import Any, NamedTuple

from ._mamba3_chunks import make_desk
from ._mamba3_halves import from_halves
from ._mamba3_kernels import Part, load_options, open_chunk, turn_rows, write_out
from ._mamba3_rows import copy, fill, spread
from ._mamba3_turns import from_angles, to_angles
from .toolkit.elementary import exp, sigmoid
from .toolkit.items import Item, for_each
from .toolkit.kernels import INT64, inner, micro_kernel
from .toolkit.memory import new_numbers
from .toolkit.rows import along, scale_rows

# Rows of a state that share a load of a key.
ROWS = 4


class StepState(NamedTuple):
    """The states of all slots, flat."""

    angle: Any  # (slots, heads, pairs)
    ssm: Any  # (slots, heads, headdim, state)
    k: Any  # (slots, ranks, heads, state)
    v: Any  # (slots, heads, headdim)


def _plain_advance(
    new, old, at, memory, factors, keys, queries, out, ranks, width, depth, decay
):
    """Set the new state of a head, (width, depth), and add its outputs, (ranks, width).

    The old state decays; rows of factors times rows of keys, `ranks` of this token
    and of the one before, are added.
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
    """A few rows at a time; they are in the first-level cache when they are read out.

    Rows beyond the last one repeat it, and compute the same once more.
    """
    builder = lanes.builder
    terms = builder.mul(ranks, INT64(2))
    tiles = builder.sdiv(builder.add(width, INT64(ROWS - 1)), INT64(ROWS))

    def tile(i, _):
        rows = _rows(builder, builder.mul(i, INT64(ROWS)), width)
        firsts = [builder.add(at, builder.mul(row, depth)) for row in rows]
        sources = [builder.add(factors, row) for row in rows]
        targets = [builder.add(out, row) for row in rows]
        _advance_tile(
            *(lanes, new, old, firsts, memory, sources, width, keys, depth),
            *(terms, decay),
        )
        _read_tile(lanes, new, firsts, memory, queries, depth, targets, width, ranks)
        return []

    lanes.loop(tiles, [], tile)


def _advance_tile(
    lanes, new, old, firsts, memory, factors, step, keys, depth, terms, decay
):
    """Emit new rows of the state: old ones decayed, plus factors times keys."""
    add, mul = lanes.builder.add, lanes.builder.mul

    def part(place, _, mask):
        def term(j, sums):
            key = lanes.load(memory, add(add(keys, mul(j, depth)), place), mask)
            places = [add(own, mul(j, step)) for own in factors]
            given = (lanes.broadcast(memory, p) for p in places)
            return [lanes.fma(f, key, h) for f, h in zip(given, sums, strict=True)]

        places = [add(first, place) for first in firsts]
        h = [decay * lanes.load(old, p, mask) for p in places]
        for p, value in zip(places, lanes.loop(terms, h, term), strict=True):
            lanes.store(value, new, p, mask)
        return []

    along(lanes, depth, [], part)


def _read_tile(lanes, new, firsts, memory, queries, depth, targets, step, ranks):
    """Emit the products of rows of the state with the query of each rank."""
    add, mul = lanes.builder.add, lanes.builder.mul

    def rank(r, _):
        def part(place, sums, mask):
            own = add(add(queries, mul(r, depth)), place)
            query = lanes.load(memory, own, mask)
            states = (lanes.load(new, add(first, place), mask) for first in firsts)
            return [lanes.fma(h, query, s) for h, s in zip(states, sums, strict=True)]

        sums = along(lanes, depth, [lanes.constant(0.0)] * ROWS, part)
        for target, value in zip(targets, sums, strict=True):
            place = lanes.builder.gep(memory, [add(target, mul(r, step))])
            lanes.builder.store(lanes.total(value), place)
        return []

    lanes.loop(ranks, [], rank)


def _rows(builder, first, width):
    """Return the numbers of the rows of a tile."""
    last = builder.sub(width, INT64(1))
    rows = [builder.add(first, INT64(i)) for i in range(ROWS)]
    inside = [builder.icmp_signed("<", row, last) for row in rows]
    return [builder.select(c, r, last) for c, r in zip(inside, rows, strict=True)]


@inner
def load_values(call, old, memory, desk, b, slot, head):
    """Fill values and their weighted rows: of this token, then of the one before.

    The latter go behind the outputs. Return the decay.
    """
    width, ranks, at = desk.width, desk.ranks, b * call.heads + head
    plane, early = ranks * width, (slot * call.heads + head) * width
    decay = exp(call.A[at] * call.dt[at])
    memory[desk.now] = sigmoid(call.trap[at]) * call.dt[at]
    memory[desk.now + 1] = sigmoid(-call.trap[at]) * call.dt[at] * decay
    values, out, weight = desk.values, desk.out + plane, desk.factors
    spread(memory, values, call.x, at * width, 0, weight, 1, ranks, width)
    spread(memory, values + plane, old.v, early, 0, weight, 1, ranks, width)
    scale_rows(memory, out, plane, memory, values, plane, memory, desk.now, 2, plane)
    return decay


@inner
def load_keys(call, old, new, memory, desk, slot, head):
    """Bring keys and queries into the order of the state; keep the new keys.

    They go to `raw`: keys of this token, of the one before, then queries.
    """
    ranks, depth, raw = desk.ranks, desk.depth, desk.raw
    rows, step = ranks * depth, call.heads * depth
    at = (slot * ranks * call.heads + head) * depth
    from_halves(memory, raw, depth, memory, desk.turned, ranks, depth, call.pairwise)
    copy(new.k, at, step, memory, raw, depth, ranks, depth)
    copy(memory, raw + rows, depth, old.k, at, step, ranks, depth)
    target = raw + 2 * rows
    from_halves(
        memory, target, depth, memory, desk.queries, ranks, depth, call.pairwise
    )


@inner
def advance_head(call, old, new, y, b, slot, head):
    """Advance one head of one row of the batch."""
    ranks, depth, width, pairs = call.ranks, call.depth, call.width, call.pairs
    desk = make_desk(3 * ranks, ranks, depth, width, 1, pairs)
    memory = new_numbers(desk.states, call.x)
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
    copy(new.v, row * width, 0, call.x, at * width, 0, 1, width)
    write_out(call, memory, desk, 0, y, b, 1, head)


@Item
def _step(call, old, new, y, rows, job):
    """Advance one head of one row; a negative slot is padding."""
    b, head = job // call.heads, job % call.heads
    slot = rows[b]
    if slot >= 0:
        advance_head(call, old, new, y, b, slot, head)
    else:
        fill(y, job * call.width, call.width, 0.0)


def step(call, old, new, y, rows):
    """Advance the states of some slots, from the old arrays to the new ones."""
    items = len(rows) * call.heads
    work = 4 * items * call.width * call.depth
    for_each(_step, items, work, y.dtype, call, old, new, y, rows)
