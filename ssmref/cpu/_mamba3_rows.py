"""Rows of Mamba-3 on their way into a chunk and out of it.

All arrays are one-dimensional, with offsets and steps in numbers, like in
`toolkit.products`. Tokens lie `step` apart and have `ranks` rows each, which are
consecutive in a chunk.
"""

import numpy as np

from .toolkit.elementary import reciprocal_root_of, sigmoid_of, silu_of
from .toolkit.kernels import inner, micro_kernel, stay_small, use_wide_vectors
from .toolkit.rows import along, prefetch_rows


def _plain_copy(out, at, step, source, s_at, s_step, rows, width):
    """Copy rows of numbers."""
    r, c = np.arange(rows)[:, None], np.arange(width)
    out[at + r * step + c] = source[s_at + r * s_step + c]


@micro_kernel(_plain_copy)
def _copy(lanes, out, at, step, source, s_at, s_step, rows, width):
    """Row by row."""
    builder = lanes.builder

    def row(r, _):
        target = builder.add(at, builder.mul(r, step))
        given = builder.add(s_at, builder.mul(r, s_step))

        def part(place, _, mask):
            own = lanes.load(source, builder.add(given, place), mask)
            lanes.store(own, out, builder.add(target, place), mask)
            return []

        return along(lanes, width, [], part)

    lanes.loop(rows, [], row)


# Values and outputs: rows of the width of a head


def _plain_spread(memory, to, x, at, step, weight, tokens, ranks, width):
    """Set the values of each rank of each token, x times weights; return 0 out.

    The sum of 0 times the results, that is: 0 if all are finite, NaN if not.
    """
    own = np.stack([x[at + t * step : at + t * step + width] for t in range(tokens)])
    weights = memory[weight : weight + ranks * width].reshape(ranks, width)
    new = (own[:, None] * weights).reshape(-1)
    memory[to : to + len(new)] = new
    with np.errstate(invalid="ignore"):
        return (0 * new).sum()


@micro_kernel(_plain_spread, number=True)
def _spread(lanes, memory, to, x, at, step, weight, tokens, ranks, width):
    """Row by row."""
    builder = lanes.builder

    def token(t, sums):
        given = builder.add(at, builder.mul(t, step))
        first = builder.mul(t, ranks)

        def rank(r, sums):
            row = builder.add(to, builder.mul(builder.add(first, r), width))
            own = builder.add(weight, builder.mul(r, width))

            def part(place, sums, mask):
                new = lanes.load(x, builder.add(given, place), mask)
                new = new * lanes.load(memory, builder.add(own, place), mask)
                lanes.store(new, memory, builder.add(row, place), mask)
                return [lanes.fma(new, 0.0, sums[0])]

            return along(lanes, width, sums, part)

        return lanes.loop(ranks, sums, rank)

    return lanes.total(lanes.loop(tokens, [lanes.constant(0.0)], token)[0])


def _plain_collect(y, at, step, memory, rows, weight, tokens, ranks, width):
    """Set the outputs of each token: the weighted sum of the rows of its ranks."""
    weights = memory[weight : weight + ranks * width].reshape(ranks, width)
    for t in range(tokens):
        first = rows + t * ranks * width
        own = memory[first : first + ranks * width].reshape(ranks, width)
        y[at + t * step : at + t * step + width] = (own * weights).sum(axis=0)


@micro_kernel(_plain_collect)
def _collect(lanes, y, at, step, memory, rows, weight, tokens, ranks, width):
    """Keep the sum of a vector of channels in a register."""
    builder = lanes.builder

    def token(t, _):
        target = builder.add(at, builder.mul(t, step))
        first = builder.add(rows, builder.mul(builder.mul(t, ranks), width))

        def part(place, _, mask):
            def rank(r, sums):
                shift = builder.add(builder.mul(r, width), place)
                row = lanes.load(memory, builder.add(first, shift), mask)
                factor = lanes.load(memory, builder.add(weight, shift), mask)
                return [lanes.fma(row, factor, sums[0])]

            (total,) = lanes.loop(ranks, [lanes.constant(0.0)], rank)
            lanes.store(total, y, builder.add(target, place), mask)
            return []

        along(lanes, width, [], part)
        return []

    lanes.loop(tokens, [], token)


def _plain_normalise(out, at, weight, w_at, rows, width, eps):
    """Divide rows by their root mean squares, multiply them by weights."""
    own = out[at : at + rows * width].reshape(rows, width)
    factor = 1 / np.sqrt(np.mean(own * own, axis=1, keepdims=True) + eps)
    own[:] = own * factor.astype(out.dtype) * weight[w_at : w_at + width]


@micro_kernel(_plain_normalise)
def _normalise(lanes, out, at, weight, w_at, rows, width, eps):
    """One sum per lane, then the sum of the lanes."""
    builder = lanes.builder
    count = lanes.spread(builder.sitofp(width, lanes.element))

    def row(r, _):
        first = builder.add(at, builder.mul(r, width))

        def add(place, sums, mask):
            own = lanes.load(out, builder.add(first, place), mask)
            return [lanes.fma(own, own, sums[0])]

        (squares,) = along(lanes, width, [lanes.constant(0.0)], add)
        mean = lanes.spread(lanes.total(squares)) / count
        factor = reciprocal_root_of(mean + eps)

        def scale(place, _, mask):
            target = builder.add(first, place)
            new = lanes.load(out, target, mask) * factor
            new = new * lanes.load(weight, builder.add(w_at, place), mask)
            lanes.store(new, out, target, mask)
            return []

        along(lanes, width, [], scale)
        return []

    lanes.loop(rows, [], row)


def _plain_gate(memory, rows, z, at, step, weight, tokens, ranks, width):
    """Multiply rows by the SiLU of z times weights."""
    weights = memory[weight : weight + ranks * width].reshape(ranks, width)
    for t in range(tokens):
        first = rows + t * ranks * width
        own = memory[first : first + ranks * width].reshape(ranks, width)
        gate = z[at + t * step : at + t * step + width] * weights
        e = np.exp(-np.abs(gate))
        own *= gate * np.where(gate < 0, e, 1) / (1 + e)


@micro_kernel(_plain_gate)
def _gate(lanes, memory, rows, z, at, step, weight, tokens, ranks, width):
    """Row by row."""
    builder = lanes.builder

    def token(t, _):
        given = builder.add(at, builder.mul(t, step))
        first = builder.mul(t, ranks)

        def rank(r, _):
            row = builder.add(rows, builder.mul(builder.add(first, r), width))
            own = builder.add(weight, builder.mul(r, width))

            def part(place, _, mask):
                logit = lanes.load(z, builder.add(given, place), mask)
                logit = logit * lanes.load(memory, builder.add(own, place), mask)
                target = builder.add(row, place)
                new = lanes.load(memory, target, mask) * silu_of(logit)
                lanes.store(new, memory, target, mask)
                return []

            along(lanes, width, [], part)
            return []

        lanes.loop(ranks, [], rank)
        return []

    lanes.loop(tokens, [], token)


def _plain_weigh(memory, half, now, before, exponents, count):
    """Turn dt, logits and A of tokens into half of dt, weights and exponents.

    The weights are those of the token, gamma, and of the one before.
    """
    j = np.arange(count)
    dt, logit = memory[half + j], memory[now + j]
    e = np.exp(-np.abs(logit))
    large, small = 1 / (1 + e), e / (1 + e)
    memory[now + j] = np.where(logit < 0, small, large) * dt
    memory[before + j] = np.where(logit < 0, large, small) * dt
    memory[exponents + j] *= dt
    memory[half + j] = dt / 2


@micro_kernel(_plain_weigh)
def weigh(lanes, memory, half, now, before, exponents, count):
    """1 - sigmoid(x) is sigmoid(-x), with all its digits."""
    builder = lanes.builder

    def part(place, _, mask):
        at = [builder.add(a, place) for a in (half, now, before, exponents)]
        dt, logit, _, A = (lanes.load(memory, a, mask) for a in at)
        early = sigmoid_of(-1.0 * logit) * dt
        results = (dt * 0.5, sigmoid_of(logit) * dt, early, A * dt)
        for value, a in zip(results, at, strict=True):
            lanes.store(value, memory, a, mask)
        return []

    along(lanes, count, [], part)


@inner
def copy(out, at, step, source, s_at, s_step, rows, width):
    """Copy rows of numbers."""
    stay_small()
    _copy(out, at, step, source, s_at, s_step, rows, width)


@inner
def fill(out, at, count, value):
    """Set numbers to a value."""
    use_wide_vectors()
    own = out[at : at + count]
    for i in range(len(own)):
        own[i] = value


@inner
def spread(memory, to, x, at, step, weight, tokens, ranks, width):
    """Set the values of the ranks of tokens; return 0 if all are finite."""
    stay_small()
    return _spread(memory, to, x, at, step, weight, tokens, ranks, width)


@inner
def collect(y, at, step, memory, rows, weight, tokens, ranks, width):
    """Set the outputs of tokens from those of their ranks."""
    stay_small()
    _collect(y, at, step, memory, rows, weight, tokens, ranks, width)


@inner
def normalise(out, at, weight, w_at, rows, width, eps):
    """Divide rows by their root mean squares, multiply them by weights."""
    stay_small()
    _normalise(out, at, weight, w_at, rows, width, eps)


@inner
def gate(memory, rows, z, at, step, weight, tokens, ranks, width):
    """Multiply rows by the SiLU of z times weights."""
    stay_small()
    _gate(memory, rows, z, at, step, weight, tokens, ranks, width)


@inner
def fetch(call, part, t, head, i, rows, y):
    """Bring into the cache what comes next: outputs, inputs of the next chunk.

    The part of that for rows from row i on, as much as the cache takes in meanwhile.
    Rows of tokens lie pages apart, where the processor does not look for them.
    """
    stay_small()
    ranks, width, pairs, after = call.ranks, call.width, call.pairs, t + part.tokens
    first = (i + ranks - 1) // ranks
    count = (i + rows + ranks - 1) // ranks - first
    step, at = call.heads * width, (t * call.heads + head) * width
    prefetch_rows(y, at, step, first, count, width)
    prefetch_rows(call.x, at + part.tokens * step, step, first, count, width)
    step, at = call.heads * pairs, (after * call.heads + head) * pairs
    prefetch_rows(call.angles, at, step, first, count, pairs)
    # Keys and queries of the next chunk: a share while each head is computed.
    step, group = call.groups * call.depth, head // (call.heads // call.groups)
    done = (head - part.head) * part.tokens * ranks + i
    first, count = done // part.heads, (done + rows) // part.heads - done // part.heads
    at = after * ranks * step + group * call.depth
    prefetch_rows(call.B, at, step, first, count, call.depth)
    prefetch_rows(call.C, at, step, first, count, call.depth)


@inner
def add_scaled(out, at, source, s_at, factor, count):
    """Add a multiple of `count` numbers to as many others."""
    use_wide_vectors()
    own, given = out[at : at + count], source[s_at : s_at + count]
    for i in range(len(own)):
        own[i] += given[i] * factor
