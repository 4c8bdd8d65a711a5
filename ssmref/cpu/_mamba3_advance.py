"""States of Mamba-3 after one token, and what is read from them.

A state is read once and written once. With few ranks, sums for the outputs of a few
rows stay in registers while the rows go by, and what comes next in memory is asked for
meanwhile: states of heads lie one behind the other. As in `toolkit.products`, arrays
are one-dimensional, with offsets in numbers.
"""

from ._row_products import store_sums
from ._streaming import settle, stream
from .toolkit.kernels import INT64, inner, micro_kernel, stay_small
from .toolkit.memory import LINE
from .toolkit.rows import along

# Rows of a state that share a load of a key.
ROWS = 4
# Numbers by which what is asked for, into the second level, is ahead of what is read.
AHEAD = 4096


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


def _in_registers(
    lanes, ranks, new, old, at, memory, factors, keys, queries, out, width, depth,
    decay, streamed,
):  # fmt: skip
    """Emit `_advance` for a constant number of ranks, in one pass.

    Rows beyond the last one repeat it, and compute the same once more.
    """
    builder, add = lanes.builder, lanes.builder.add
    streaming = builder.icmp_signed("!=", streamed, INT64(0))
    steps = [builder.mul(INT64(j), depth) for j in range(2 * ranks)]

    def tile(i, _):
        rows = _rows(builder, builder.mul(i, INT64(ROWS)), width)
        firsts = [add(at, builder.mul(row, depth)) for row in rows]
        drives = [
            [add(add(factors, builder.mul(INT64(j), width)), row) for row in rows]
            for j in range(2 * ranks)
        ]

        def part(place, sums, mask):
            places = [add(first, place) for first in firsts]
            h = [decay * lanes.load(old, p, mask) for p in places]
            for p in places:
                lanes.prefetch(old, add(p, INT64(AHEAD)), level=2)
            for step, given in zip(steps, drives, strict=True):
                key = lanes.load(memory, add(add(keys, step), place), mask)
                factor = [lanes.broadcast(memory, p) for p in given]
                h = [lanes.fma(f, key, v) for f, v in zip(factor, h, strict=True)]
            _write(lanes, streaming, h, new, places, mask)
            own = [add(add(queries, step), place) for step in steps[:ranks]]
            read = [lanes.load(memory, p, mask) for p in own]
            pairs = [(q, v) for q in read for v in h]
            return [lanes.fma(q, v, s) for (q, v), s in zip(pairs, sums, strict=True)]

        sums = along(lanes, depth, [lanes.constant(0.0)] * (ranks * ROWS), part)
        _write_sums(lanes, sums, memory, out, width, rows)
        return []

    tiles = builder.sdiv(add(width, INT64(ROWS - 1)), INT64(ROWS))
    lanes.loop(tiles, [], tile)


def _write(lanes, streaming, values, new, places, mask):
    """Emit stores of whole vectors past the caches, if wanted, of others as usual."""
    pairs = list(zip(values, places, strict=True))
    if mask is not None or lanes.count * lanes.dtype().itemsize != LINE:
        for value, place in pairs:
            lanes.store(value, new, place, mask)
        return
    with lanes.builder.if_else(streaming) as (past, usual):
        with past:
            for value, place in pairs:
                stream(lanes, value, new, place)
        with usual:
            for value, place in pairs:
                lanes.store(value, new, place)


def _write_sums(lanes, sums, out, at, step, rows):
    """Emit the totals of ROWS sums per rank, those of a rank `step` apart.

    By a tree where sums fill whole vectors; of one rank, rows may be repeated.
    """
    add, mul = lanes.builder.add, lanes.builder.mul
    if len(sums) > ROWS and len(sums) % lanes.count == 0:
        store_sums(lanes, sums, out, add(at, rows[0]), step)
        return
    for i, value in enumerate(sums):
        rank, row = divmod(i, ROWS)
        place = add(add(at, mul(step, INT64(rank))), rows[row])
        lanes.builder.store(lanes.total(value), lanes.builder.gep(out, [place]))


def _rows(builder, first, width):
    """Return the numbers of the rows of a tile."""
    last = builder.sub(width, INT64(1))
    rows = [builder.add(first, INT64(i)) for i in range(ROWS)]
    inside = [builder.icmp_signed("<", row, last) for row in rows]
    return [builder.select(c, r, last) for c, r in zip(inside, rows, strict=True)]


def _plain_advance_one(
    new, old, at, memory, factors, keys, queries, out, width, depth, decay, _streamed
):
    """Do what `_plain_advance` does, for one rank."""
    places = at, memory, factors, keys, queries, out
    _plain_advance(new, old, *places, 1, width, depth, decay)


def _plain_advance_four(
    new, old, at, memory, factors, keys, queries, out, width, depth, decay, _streamed
):
    """Do what `_plain_advance` does, for four ranks and a width of whole tiles."""
    places = at, memory, factors, keys, queries, out
    _plain_advance(new, old, *places, 4, width, depth, decay)


@micro_kernel(_plain_advance_one)
def _advance_one(lanes, *arguments):
    """One rank."""
    _in_registers(lanes, 1, *arguments)


@micro_kernel(_plain_advance_four)
def _advance_four(lanes, *arguments):
    """Four ranks: sums and factors fill the registers."""
    _in_registers(lanes, 4, *arguments)


@inner
def advance(
    new, old, at, memory, factors, keys, queries, out, ranks, width, depth, decay,
    streamed,
):  # fmt: skip
    """Do what `_plain_advance` does; past the caches if `streamed`."""
    stay_small()
    if ranks == 1:
        _advance_one(
            *(new, old, at, memory, factors, keys, queries, out, width, depth, decay),
            streamed,
        )
    elif ranks == 4 and width % ROWS == 0:
        _advance_four(
            *(new, old, at, memory, factors, keys, queries, out, width, depth, decay),
            streamed,
        )
    else:
        _advance(
            *(new, old, at, memory, factors, keys, queries, out),
            *(ranks, width, depth, decay),
        )
    if streamed:
        settle(new)
