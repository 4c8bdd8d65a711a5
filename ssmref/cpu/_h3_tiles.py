"""One part of a sequence of H3 for a stripe of heads, tile by tile: see `_h3_kernels`.

A tile of tokens of a stripe is copied once: keys, values and queries as vectors of
channels. The filter makes shifted keys of all channels; then each vector of pairs gets
its products of keys and values, runs, and leaves its share of the outputs.
"""

import numpy as np
from numba import njit

from ._diagonal import TILE, advance, put, take
from ._diagonal_setup import load_state, store_state
from ._time_parts import cut
from .toolkit.items import Item
from .toolkit.kernels import (
    INT64,
    inner,
    lane_count,
    lane_count_of,
    micro_kernel,
    use_wide_vectors,
)
from .toolkit.memory import new_zeros

# Tokens whose sums the filter of the keys holds in registers.
TOKENS = 8


def _plain_filter(tokens):
    def run(taps, t_at, width, keys, at, out, out_at, groups):
        """Set ``out[t] = sum_j taps[j] keys[t - j]`` for vectors, token by token."""
        count = lane_count(keys.dtype)
        weights = taps[t_at : t_at + width * count].reshape(width, count)
        for t in range(groups * tokens):
            rows = at + (t - np.arange(width))[:, None] * count + np.arange(count)
            out[out_at + t * count + np.arange(count)] = np.sum(weights * keys[rows], 0)

    return run


def _emit_filter(tokens):
    def run(lanes, taps, t_at, width, keys, at, out, out_at, groups):
        builder, one = lanes.builder, INT64(lanes.count)
        step = INT64(tokens * lanes.count)

        def shifted(place, j):
            return builder.add(place, INT64(j * lanes.count))

        def group(_, values):
            at, out_at = values

            def tap(_, values):
                place, tap_at, sums = values[0], values[1], values[2:]
                weight = lanes.load(taps, tap_at)
                new = [
                    lanes.fma(weight, lanes.load(keys, shifted(place, j)), s)
                    for j, s in enumerate(sums)
                ]
                return [builder.sub(place, one), builder.add(tap_at, one), *new]

            zeros = [lanes.constant(0.0)] * tokens
            sums = lanes.loop(width, [at, t_at, *zeros], tap)[2:]
            for j, value in enumerate(sums):
                lanes.store(value, out, shifted(out_at, j))
            return [builder.add(at, step), builder.add(out_at, step)]

        lanes.loop(groups, [at, out_at], group)

    return run


_filter_groups = micro_kernel(_plain_filter(TOKENS))(_emit_filter(TOKENS))
_filter_tokens = micro_kernel(_plain_filter(1))(_emit_filter(1))


@inner
def key_of(k, bounds, shift_state, row, token, channel):
    """Return the key of a token, which may lie before the sequence."""
    before = bounds[row] - 1 - token
    if before < 0:
        return k[token, channel]
    if len(shift_state) and before < shift_state.shape[2]:
        return shift_state[row, channel, before]
    return 0.0


@Item
def run_part(
    q, k, v, y, bounds, cuts, shift, shift_state, state, final, states, W, K, pairs,
    features, together, reading, job
):  # fmt: skip
    """Run a stripe of sets over one part; find y and final states if `reading`.

    States are as in `_s4d_kernels`.
    """
    count = lane_count_of(k)
    stripes, per_set = -(-len(W) // together), len(pairs) // len(W)
    part, first = job // stripes, job % stripes * together
    row, last_part = part // cuts, part % cuts == cuts - 1
    sets, plane, X = min(together, len(W) - first), states.shape[2] // 2, states[part]
    channel = first * max(1, count // features) * features
    start, last = cut(bounds, cuts, part)
    for b in range(first * per_set, (first + sets) * per_set):
        if cuts == 1 and len(state):
            load_state(state, row, pairs[b], X[b], 0, plane)
    if reading or not last_part:
        _run_stripe(
            q, k, v, y, bounds, row, start, last, shift, shift_state, X, W, K, features,
            first, sets, channel, reading
        )  # fmt: skip
    for b in range(first * per_set, (first + sets) * per_set):
        if reading and last_part:
            store_state(X[b], 0, plane, final, row, pairs[b])


@njit(inline="always")
def _run_stripe(
    q, k, v, y, bounds, row, start, last, shift, shift_state, X, W, K, features, first,
    sets, channel, reading
):  # fmt: skip
    """Run some sets of heads from token `start` to `last`."""
    count, taps = lane_count_of(k), shift.shape[1]
    plane, before = TILE * count, (taps - 1) * count
    parts, width = -(-features // count), max(1, count // features) * features
    size, block = sets * parts * plane, first * features * parts
    keys, weights = _with_history(
        k, bounds, shift_state, shift, row, start, channel, width, sets, parts
    )
    shifted, values = new_zeros(size, k), new_zeros(size, k)
    queries, out = new_zeros(size, k), new_zeros(size, k)
    room = new_zeros(3 * plane, k)
    for tile in range(start, last, TILE):
        tokens = min(TILE, last - tile)
        _load(k, keys, before, before + plane, tile, channel, width, sets, tokens)
        _load(v, values, 0, plane, tile, channel, width, sets, tokens)
        _load(q, queries, 0, plane, tile, channel, width, sets, tokens * reading)
        _filter(weights, keys, shifted, sets * parts, tokens, count)
        out[:] = 0.0
        for b in range(sets * features * parts):
            _run_pairs(
                *(shifted, values, queries, out, room, features, b, tokens, reading),
                *(block + b, X, W, K, k, y, tile * k.shape[1] + channel, sets * parts),
            )
        if reading:
            _store(out, plane, y, tile, channel, width, sets, tokens)


@inner
def _run_pairs(
    shifted, values, queries, out, room, features, b, tokens, reading, block, X, W, K,
    k, y, at, vectors
):  # fmt: skip
    """Run one vector of pairs, the b-th of its stripe, over a tile."""
    count = lane_count_of(k)
    parts, plane, size = -(-features // count), TILE * count, tokens * count
    head, i = b // (features * parts) * parts, b // parts % features
    first = (head + b % parts) * plane
    U, Y, many = room[:plane], room[plane : 2 * plane], room[2 * plane :]
    _spread(many, shifted, head, features, i, tokens, count)
    _multiply(U, many, values[first:], size)
    own, states = block * len(W) // len(X), X.shape[1]
    advance(
        *(W.ravel(), own * W.shape[1], K.ravel(), own * K.shape[1]),
        *(X.ravel(), block * states, U, Y, 0, tokens, states // 2, reading),
        *(k.ravel(), y.ravel(), at, k.shape[1], vectors, b % vectors * TILE),
    )
    if reading:
        _spread(many, queries, head, features, i, tokens, count)
        _add_product(out[first:], many, Y, size)


@inner
def _load(x, tiles, place, plane, token, channel, width, sets, tokens):
    """Copy the channels of some sets, which are vectors of their own."""
    count, channels = lane_count_of(x), x.shape[1]
    at, left = token * channels + channel, channels - channel
    if width == count:
        whole = min(sets * width, left)
        take(tiles, place, plane, x.ravel(), at, channels, whole, tokens)
        return
    step = -(-width // count) * plane
    for s in range(sets):
        own = min(width, left - s * width)
        at_own = at + s * width
        take(tiles, place + s * step, plane, x.ravel(), at_own, channels, own, tokens)


@inner
def _store(tiles, plane, x, token, channel, width, sets, tokens):
    """The opposite of `_load`."""
    count, channels = lane_count_of(x), x.shape[1]
    at, left = token * channels + channel, channels - channel
    if width == count:
        whole = min(sets * width, left)
        put(tiles, 0, plane, x.ravel(), at, channels, whole, tokens)
        return
    step = -(-width // count) * plane
    for s in range(sets):
        own = min(width, left - s * width)
        put(tiles, s * step, plane, x.ravel(), at + s * width, channels, own, tokens)


@inner
def _with_history(
    k, bounds, shift_state, shift, row, start, channel, width, sets, parts
):  # fmt: skip
    """Return tiles of keys that begin with those before `start`, and of taps."""
    count, taps = lane_count_of(k), shift.shape[1]
    longer = (TILE + taps - 1) * count
    keys = new_zeros(sets * parts * longer, k)
    weights = new_zeros(sets * parts * taps * count, k)
    for c in range(min(sets * width, k.shape[1] - channel)):
        vector, lane = c // width * parts + c % width // count, c % width % count
        for j in range(taps):
            weights[(vector * taps + j) * count + lane] = shift[channel + c, j]
        for j in range(taps - 1):
            token = start - (taps - 1) + j
            key = key_of(k, bounds, shift_state, row, token, channel + c)
            keys[vector * longer + j * count + lane] = key
    return keys, weights


@inner
def _filter(weights, keys, shifted, vectors, tokens, count):
    """Find the shifted keys of a tile, then move its latest keys to the front."""
    taps = len(weights) // (vectors * count)
    before = (taps - 1) * count
    longer = before + TILE * count
    groups = tokens // TOKENS
    done, rest = groups * TOKENS * count, tokens - groups * TOKENS
    for i in range(vectors):
        tap, at, out = i * taps * count, i * longer + before, i * TILE * count
        _filter_groups(weights, tap, taps, keys, at, shifted, out, groups)
        if rest:
            _filter_tokens(
                weights, tap, taps, keys, at + done, shifted, out + done, rest
            )
        for j in range(i * longer, at):
            keys[j] = keys[j + tokens * count]


@inner
def _spread(out, tiles, vector, features, i, tokens, count):
    """Give each lane feature i of its head: what meets all features of the values."""
    use_wide_vectors()
    first = vector * TILE * count
    if features == 1:
        own = tiles[first : first + tokens * count]
        for place in range(tokens * count):
            out[place] = own[place]
    elif features >= count:
        first += i // count * TILE * count + i % count
        for t in range(tokens):
            row, number = out[t * count : (t + 1) * count], tiles[first + t * count]
            for lane in range(count):
                row[lane] = number
    else:
        for t in range(tokens):
            row = out[t * count : (t + 1) * count]
            own = tiles[first + t * count : first + (t + 1) * count]
            for lane in range(0, count - features + 1, features):
                number = own[lane + i]
                for j in range(features):
                    row[lane + j] = number


@inner
def _multiply(out, a, b, size):
    use_wide_vectors()
    for i in range(size):
        out[i] = a[i] * b[i]


@inner
def _add_product(out, a, b, size):
    use_wide_vectors()
    for i in range(size):
        out[i] += a[i] * b[i]
