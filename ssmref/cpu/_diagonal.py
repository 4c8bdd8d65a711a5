"""The recurrence of diagonal systems, four tokens at a time: what S4D and H3 share.

::

    x[t] = a x[t-1] + b u[t]        y[t] = Re(c x[t])

One token at a time this is 8 multiply-adds for each complex state: 4 for a x, 2 for
b u, 2 for y. Over a group of four tokens, with powers of a in the constants, the first
4 are paid once::

    x[t+4] = a^4 x[t] + sum_j a^(3-j) b u[t+1+j]                          j = 0..3
    y[t+1+j] = Re(c a^(1+j) x[t]) + sum_{i<=j} K[j-i] u[t+1+i]

with ``K[i] = sum over states of Re(c a^i b)``, which is 5 per token. Vectors run over
channels; the 18 constants and the state of a vector of channels stay in registers for a
tile of tokens, one state after the other.

Limit: 5 multiply-adds per token and state, at the rate of fused multiply-adds.
"""

import numpy as np

from .toolkit.kernels import (
    INT64,
    Value,
    kernel,
    lane_count,
    lane_count_of,
    micro_kernel,
)

GROUP = 4
# The planes of constants: a, a^GROUP, a^j b and c a^(j+1), real and imaginary part of
# each; what is said of imaginary parts below holds for real ones one plane earlier.
DECAY, POWER, DRIVE, READ = 0, 2, 4, 4 + 2 * GROUP
PLANES = 4 + 4 * GROUP
# Tokens per tile: input and output of a vector of channels take half of the first-level
# cache. Tokens per chunk, which is copied at once, some vectors wide: the second level.
TILE = 128
CHUNK = 256


def _plain(group, reading):
    """Return the micro-kernel of a group size in NumPy."""

    def advance(W, w_at, plane, X, x_at, x_plane, U, Y, at, groups):
        """Advance one state of a vector of channels; add what it contributes to Y.

        Constant i is at ``w_at + i plane`` of W, the parts of the state x_plane apart
        in X; U and Y hold a vector per token from `at` on.
        """
        lanes = np.arange(lane_count(X.dtype))
        const = [
            W[w_at + i * plane + lanes] + 1j * W[w_at + (i + 1) * plane + lanes]
            for i in range(0, PLANES, 2)
        ]
        a = const[(POWER if group > 1 else DECAY) // 2]
        b, c = const[DRIVE // 2 :], const[READ // 2 :]
        x = X[x_at + lanes] + 1j * X[x_at + x_plane + lanes]
        for first in range(0, groups * group, group):
            rows = [at + (first + j) * len(lanes) + lanes for j in range(group)]
            for j in range(group if reading else 0):
                Y[rows[j]] += (c[j] * x).real
            x = a * x + sum(b[group - 1 - j] * U[rows[j]] for j in range(group))
        X[x_at + lanes], X[x_at + x_plane + lanes] = x.real, x.imag

    return advance


def _emit(group, reading):
    """Return the micro-kernel of a group size: see `_plain`."""

    def advance(lanes, W, w_at, plane, X, x_at, x_plane, U, Y, at, groups):
        builder, imaginary = lanes.builder, lanes.builder.add(x_at, x_plane)

        def constant(i):
            return lanes.load(W, builder.add(w_at, builder.mul(plane, INT64(i))))

        def pairs(first, count):
            return [
                (constant(first + 2 * j), constant(first + 2 * j + 1)) for j in count
            ]

        ((ar, ai),) = pairs(POWER if group > 1 else DECAY, range(1))
        b, c = (pairs(first, range(group)) for first in (DRIVE, READ))

        def body(_, values):
            at, xr, xi = values
            less = Value(lanes, builder.fneg(xi.ir))
            places = [builder.add(at, INT64(j * lanes.count)) for j in range(group)]
            u = [lanes.load(U, place) for place in places]
            if reading:
                for place, (cr, ci) in zip(places, c, strict=True):
                    y = lanes.fma(cr, xr, lanes.load(Y, place))
                    lanes.store(lanes.fma(ci, less, y), Y, place)
            dr, di = (parts[group - 1] * u[0] for parts in zip(*b, strict=True))
            for (br, bi), later in zip(b[-2::-1], u[1:], strict=True):
                dr, di = lanes.fma(br, later, dr), lanes.fma(bi, later, di)
            new_r = lanes.fma(ar, xr, lanes.fma(ai, less, dr))
            new_i = lanes.fma(ar, xi, lanes.fma(ai, xr, di))
            return [builder.add(at, INT64(group * lanes.count)), new_r, new_i]

        state = [at, lanes.load(X, x_at), lanes.load(X, imaginary)]
        _, xr, xi = lanes.loop(groups, state, body)
        lanes.store(xr, X, x_at)
        lanes.store(xi, X, imaginary)

    return advance


_read_groups = micro_kernel(_plain(GROUP, True))(_emit(GROUP, True))
_read_tokens = micro_kernel(_plain(1, True))(_emit(1, True))
_pass_groups = micro_kernel(_plain(GROUP, False))(_emit(GROUP, False))
_pass_tokens = micro_kernel(_plain(1, False))(_emit(1, False))


def _plain_direct(group):
    def direct(K, k_at, U, Y, at, groups):
        """Set Y to what the inputs of a group of tokens contribute without a state."""
        count = lane_count(U.dtype)
        taps = K[k_at : k_at + group * count].reshape(group, count)
        for first in range(at, at + groups * group * count, group * count):
            for j in range(group):
                rows = [first + i * count + np.arange(count) for i in range(j + 1)]
                Y[rows[j]] = sum(taps[j - i] * U[rows[i]] for i in range(j + 1))

    return direct


def _emit_direct(group):
    def direct(lanes, K, k_at, U, Y, at, groups):
        builder = lanes.builder
        taps = [
            lanes.load(K, builder.add(k_at, INT64(j * lanes.count)))
            for j in range(group)
        ]

        def body(_, values):
            (at,) = values
            places = [builder.add(at, INT64(j * lanes.count)) for j in range(group)]
            u = [lanes.load(U, place) for place in places]
            for j, place in enumerate(places):
                y = taps[0] * u[j]
                for i in range(j):
                    y = lanes.fma(taps[j - i], u[i], y)
                lanes.store(y, Y, place)
            return [builder.add(at, INT64(group * lanes.count))]

        lanes.loop(groups, [at], body)

    return direct


_direct_groups = micro_kernel(_plain_direct(GROUP))(_emit_direct(GROUP))
_direct_tokens = micro_kernel(_plain_direct(1))(_emit_direct(1))


def _plain_ask(_u, _y, _at, _step, _vectors, _line, _lines):
    """Nothing: memory is asked for what will be needed."""


@micro_kernel(_plain_ask)
def _ask(lanes, u, y, at, step, vectors, line, lines):
    """Ask for vectors of the next chunk of u and of this one of y, from `line` on.

    A row has some vectors and the next one is far away, which no processor foresees.
    """
    builder, one = lanes.builder, INT64(lanes.count)
    row, column = builder.sdiv(line, vectors), builder.srem(line, vectors)
    at = builder.add(at, builder.mul(row, step))
    ahead = builder.mul(step, INT64(CHUNK))
    back = builder.mul(builder.sub(vectors, INT64(1)), one)
    jump = builder.sub(step, back)

    def body(_, values):
        place, column = values
        lanes.prefetch(u, builder.add(place, ahead))
        lanes.prefetch(y, place)
        column = builder.add(column, INT64(1))
        over = builder.icmp_signed("==", column, vectors)
        place = builder.add(place, builder.select(over, jump, one))
        return [place, builder.select(over, INT64(0), column)]

    start = builder.add(at, builder.mul(column, one))
    lanes.loop(lines, [start, column], body)


@kernel
def advance(W, w_at, K, k_at, X, x_at, U, Y, at, tokens, plane, reading, *ask):
    """Run all states of a vector of channels over a tile; find Y if `reading`.

    From the given offsets on W is (PLANES, state, lanes), K (GROUP, lanes), X
    (2, state, lanes), and U and Y have a vector per token; `plane` is state times
    lanes. `ask` is what `_ask` gets, spread over the time that this takes.
    """
    u, y, place, step, vectors, line = ask
    count = lane_count_of(U)
    groups = tokens // GROUP
    tail, rest = at + groups * GROUP * count, tokens - groups * GROUP
    share = TILE * count // max(plane, 1) + 1
    if reading:
        _direct_groups(K, k_at, U, Y, at, groups)
        _direct_tokens(K, k_at, U, Y, tail, rest)
    for n in range(0, plane, count):
        _ask(u, y, place, step, vectors, line + n // count * share, share)
        if reading:
            _read_groups(W, w_at + n, plane, X, x_at + n, plane, U, Y, at, groups)
        else:
            _pass_groups(W, w_at + n, plane, X, x_at + n, plane, U, Y, at, groups)
    # Only where there is a rest: even a loop of no turns takes tens of cycles.
    for n in range(0, plane if rest else 0, count):
        if reading:
            _read_tokens(W, w_at + n, plane, X, x_at + n, plane, U, Y, tail, rest)
        else:
            _pass_tokens(W, w_at + n, plane, X, x_at + n, plane, U, Y, tail, rest)


def _plain_take(tiles, place, plane, source, at, step, width, tokens):
    """Copy `width` numbers per token into tiles, one for each vector; fill up with 0.

    Tiles begin at `place` and lie `plane` apart; tokens of the source, `step`.
    """
    count = lane_count(tiles.dtype)
    for first in range(0, width, count):
        valid, tile_at = min(count, width - first), place + first // count * plane
        rows = np.arange(tokens)[:, None] * step + np.arange(valid)
        tile = tiles[tile_at : tile_at + tokens * count].reshape(tokens, count)
        tile[:] = 0
        tile[:, :valid] = source[at + first + rows]


@micro_kernel(_plain_take)
def take(lanes, tiles, place, plane, source, at, step, width, tokens):
    """`_plain_take`."""

    def copy(place, at, mask):
        lanes.store(lanes.load(source, at, mask), tiles, place)

    _for_each_vector(lanes, place, plane, at, step, width, tokens, copy)


def _plain_put(tiles, place, plane, target, at, step, width, tokens):
    """Copy the first `width` lanes of tiles to each token: the opposite of `take`."""
    count = lane_count(tiles.dtype)
    for first in range(0, width, count):
        valid, tile_at = min(count, width - first), place + first // count * plane
        rows = np.arange(tokens)[:, None] * step + np.arange(valid)
        tile = tiles[tile_at : tile_at + tokens * count].reshape(tokens, count)
        target[at + first + rows] = tile[:, :valid]


@micro_kernel(_plain_put)
def put(lanes, tiles, place, plane, target, at, step, width, tokens):
    """`_plain_put`."""

    def copy(place, at, mask):
        lanes.store(lanes.load(tiles, place), target, at, mask)

    _for_each_vector(lanes, place, plane, at, step, width, tokens, copy)


def _for_each_vector(lanes, place, plane, at, step, width, tokens, copy):
    """Call ``copy(place in the tiles, place in the rows, mask)``."""
    builder, count = lanes.builder, INT64(lanes.count)
    vectors = builder.sdiv(builder.add(width, INT64(lanes.count - 1)), count)

    def token(t, values):
        def vector(_, values):
            at, place, left = values
            copy(place, at, lanes.first(left))
            place, at = builder.add(place, plane), builder.add(at, count)
            return [at, place, builder.sub(left, count)]

        first = builder.add(place, builder.mul(t, count))
        lanes.loop(vectors, [values[0], first, width], vector)
        return [builder.add(values[0], step)]

    lanes.loop(tokens, [at], token)
