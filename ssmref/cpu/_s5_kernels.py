"""Kernels of S5: products of matrices around the recurrence of a diagonal state.

Limit: for each token 2 state (inputs + outputs) multiply-adds of the two complex
projections at the rate of `add_product`; the recurrence itself, 8 per state, is little.

Time is cut into chunks. A wave of chunks, as many as the threads can share, first gets
its drives B u and the states that each chunk would end with if it began with zeros; the
states are carried from chunk to chunk, over the ends of sequences or not; then each
chunk runs from its true state, and C reads it. Results do not depend on the number of
threads. A state from the future is the same with the tokens counted backwards.
"""

import numpy as np
from numba import prange

from ._diagonal_setup import raise_to
from ._lanes import (
    INT64,
    kernel,
    lane_count,
    lane_count_of,
    micro_kernel,
    parallel_kernel,
    use_wide_vectors,
)
from ._parts import aligned
from ._products import TILE_VECTORS, add_product
from ._threads import threads

CHUNK = 256
# Terms of a sum that are taken at a time: then the right operand stays in the
# first-level cache.
DEPTH = 64
# Chunks of a wave: so many multiply-adds that two parallel regions do not matter, ...
WAVE = 2**23
# ... of which so many need threads at all.
SERIAL = 2**20
MOST = 64


class Packed:
    """A matrix (rows, columns) cut into stripes of columns, row by row: see `_multiply`."""

    def __init__(self, matrix: np.ndarray):
        """Copy the matrix; stripes are as wide as the tiles of `add_product`."""
        width = TILE_VECTORS * lane_count(matrix.dtype)
        stripes = [matrix[:, i : i + width] for i in range(0, matrix.shape[1], width)]
        self.columns = matrix.shape[1]
        self.flat = aligned((matrix.size,), matrix.dtype)
        if stripes:
            np.concatenate([s.ravel() for s in stripes], out=self.flat)


def scan(u, y, bounds, decay, drive, read, states, backward=False):
    """Add what the states contribute to y; `states` become the final ones.

    decay is (2, state) in double precision; drive (inputs, 2 state) and read
    (2 state, outputs) have first all real, then all imaginary parts.
    """
    size, count = decay.shape[1], lane_count(u.dtype)
    plane = -(-size // count) * count
    wide = np.zeros((len(drive), 2 * plane), u.dtype)
    wide[:, :size], wide[:, plane : plane + size] = drive[:, :size], drive[:, size:]
    ends = np.cumsum(-(-np.diff(bounds) // CHUNK))
    work = CHUNK * 2 * plane * (u.shape[1] + y.shape[1]) + 1
    small = threads() == 1 or len(u) * work < SERIAL * CHUNK
    wave = 1 if small else min(max(1, WAVE // work) * threads(), MOST)
    X = aligned((wave, CHUNK, 2 * plane), u.dtype)
    run = _scan_serially if small else _scan_in_parallel
    run(
        *(u, y, bounds, ends, decay, Packed(wide).flat, Packed(read).flat, states),
        *(X, np.empty((wave, 2 * size), u.dtype), backward),
    )


@parallel_kernel
def _scan_in_parallel(u, y, bounds, ends, decay, drive, read, states, X, starts, back):
    chunks, power = ends[-1] if len(ends) else 0, np.empty_like(decay)
    raise_to(decay, CHUNK, power)
    for first in range(0, chunks, len(X)):
        wave = min(len(X), chunks - first)
        for slot in prange(wave):
            _drive(u, bounds, ends, decay, drive, X, starts, back, first, slot)
        for slot in range(wave):
            _carry(bounds, ends, decay, power, states, starts, first, slot)
        for slot in prange(wave):
            _read(y, bounds, ends, decay, read, X, starts, back, first, slot)


@kernel
def _scan_serially(u, y, bounds, ends, decay, drive, read, states, X, starts, back):
    chunks, power = ends[-1] if len(ends) else 0, np.empty_like(decay)
    raise_to(decay, CHUNK, power)
    for first in range(chunks):
        _drive(u, bounds, ends, decay, drive, X, starts, back, first, 0)
        _carry(bounds, ends, decay, power, states, starts, first, 0)
        _read(y, bounds, ends, decay, read, X, starts, back, first, 0)


@kernel
def _find(bounds, ends, chunk):
    """Return the sequence of a chunk, its first token in the sequence and its length."""
    sequence = np.searchsorted(ends, chunk, side="right")
    before = ends[sequence - 1] if sequence else 0
    start = (chunk - before) * CHUNK
    length = bounds[sequence + 1] - bounds[sequence]
    return sequence, start, min(CHUNK, length - start)


@kernel
def _token(bounds, sequence, start, back):
    """Return where in memory a token of a sequence is."""
    return bounds[sequence + 1] - 1 - start if back else bounds[sequence] + start


@kernel
def _drive(u, bounds, ends, decay, drive, X, starts, back, first, slot):
    """Find the drives of a chunk and the state that it ends with, begun with zeros."""
    sequence, start, tokens = _find(bounds, ends, first + slot)
    inputs, width, flat = u.shape[1], X.shape[2], X[slot].reshape(-1)
    for i in range(tokens * width):
        flat[i] = 0.0
    at, step = _token(bounds, sequence, start, back) * inputs, -inputs if back else inputs
    _multiply(flat, 0, width, u.reshape(-1), at, step, drive, 0, inputs, inputs, tokens, width)
    for i in range(starts.shape[1]):
        starts[slot, i] = 0.0
    _recur(decay, flat, starts[slot], tokens, width, False)


@kernel
def _carry(bounds, ends, decay, power, states, starts, first, slot):
    """Replace the state that a chunk ends with by the one that it begins with."""
    sequence, _, tokens = _find(bounds, ends, first + slot)
    x, own, size = states[sequence], starts[slot], decay.shape[1]
    if tokens < CHUNK:
        power = np.empty_like(decay)
        raise_to(decay, tokens, power)
    for i in range(size):
        re, im = x[2 * i], x[2 * i + 1]
        x[2 * i] = re * power[0, i] - im * power[1, i] + own[i]
        x[2 * i + 1] = re * power[1, i] + im * power[0, i] + own[size + i]
        own[i], own[size + i] = re, im


@kernel
def _read(y, bounds, ends, decay, read, X, starts, back, first, slot):
    """Run a chunk from its true state and add its outputs."""
    sequence, start, tokens = _find(bounds, ends, first + slot)
    outputs, width, flat, size = y.shape[1], X.shape[2], X[slot].reshape(-1), decay.shape[1]
    _recur(decay, flat, starts[slot], tokens, width, True)
    at, step = _token(bounds, sequence, start, back) * outputs, -outputs if back else outputs
    for half in range(2):
        _multiply(
            *(y.reshape(-1), at, step, flat, half * width // 2, width),
            *(read, half * size, size, 2 * size, tokens, outputs),
        )


@kernel
def _recur(decay, X, state, tokens, width, keep):
    """Run the recurrence on drives; replace them by the states if `keep`."""
    use_wide_vectors()
    size, plane = decay.shape[1], width // 2
    re, im = state[:size].copy(), state[size:].copy()
    a_re, a_im = np.empty_like(re), np.empty_like(re)
    for i in range(size):
        a_re[i], a_im[i] = decay[0, i], decay[1, i]
    for at in range(0, tokens * width, width):
        for i in range(size):
            old = re[i]
            re[i] = a_re[i] * old - a_im[i] * im[i] + X[at + i]
            im[i] = a_im[i] * old + a_re[i] * im[i] + X[at + plane + i]
            if keep:
                X[at + i], X[at + plane + i] = re[i], im[i]
    for i in range(size):
        state[i], state[size + i] = re[i], im[i]


@kernel
def _multiply(C, at, step, A, a_at, a_step, B, first, rows, depth, m, n):
    """Add A[m, rows] B[first : first + rows, n] to C[m, n]; B is packed, depth rows."""
    stripe = TILE_VECTORS * lane_count_of(C)
    for j in range(0, n, stripe):
        columns = min(stripe, n - j)
        for k in range(0, rows, DEPTH):
            b_at = j * depth + (first + k) * columns
            add_product(
                *(C, at + j, step, A, a_at + k, a_step, 1, B, b_at, columns),
                *(m, columns, min(DEPTH, rows - k)),
            )


def step(u, B, decay, scale, C, factor, state, rows):
    """Return y without the skip, and the new states as real numbers.

    B, decay, scale, C and states have real and imaginary parts side by side; y is
    `factor` times the real part of what C reads.
    """
    new, y = state.copy(), np.zeros((len(u), len(C)), u.dtype)
    signs = np.resize(np.array([factor, -factor], u.dtype), state.shape[1])
    inputs = np.zeros((2, len(u), 2 * u.shape[1]), u.dtype)
    inputs[0, :, ::2], inputs[1, :, 1::2] = u, u
    small = len(u) * (B.size + C.size) < SERIAL // 4 or threads() == 1
    run = _step_serially if small else _step_in_parallel
    run(inputs, B, decay, scale, C, signs, state, new, rows, y)
    return y, new


@parallel_kernel
def _step_in_parallel(inputs, B, decay, scale, C, signs, state, new, rows, y):
    for n in prange(len(B)):
        _step_state(inputs, B, decay, scale, state, new, rows, n)
    seen = new * signs
    for o in prange(len(C)):
        _step_output(C, seen, rows, y, o)


@kernel
def _step_serially(inputs, B, decay, scale, C, signs, state, new, rows, y):
    for n in range(len(B)):
        _step_state(inputs, B, decay, scale, state, new, rows, n)
    seen = new * signs
    for o in range(len(C)):
        _step_output(C, seen, rows, y, o)


@kernel
def _step_state(inputs, B, decay, scale, state, new, rows, n):
    """Advance one state of every row that has a slot."""
    size, row_of_b = B.shape[1], n * B.shape[1]
    flat_b, re, im = B.reshape(-1), inputs[0].reshape(-1), inputs[1].reshape(-1)
    a_re, a_im, s_re, s_im = decay[n, 0], decay[n, 1], scale[n, 0], scale[n, 1]
    for i in range(len(rows)):
        if rows[i] >= 0:
            d_re = dot(flat_b, row_of_b, re, i * size, size)
            d_im = dot(flat_b, row_of_b, im, i * size, size)
            x_re, x_im = state[rows[i], 2 * n], state[rows[i], 2 * n + 1]
            drive = s_re * d_re - s_im * d_im
            new[rows[i], 2 * n] = a_re * x_re - a_im * x_im + drive
            drive = s_re * d_im + s_im * d_re
            new[rows[i], 2 * n + 1] = a_re * x_im + a_im * x_re + drive


@kernel
def _step_output(C, seen, rows, y, o):
    """Read one output of every row that has a slot."""
    size, flat_c, flat = C.shape[1], C.reshape(-1), seen.reshape(-1)
    for i in range(len(rows)):
        if rows[i] >= 0:
            y[i, o] = dot(flat_c, o * size, flat, rows[i] * size, size)


def _plain_dot(a, a_at, b, b_at, count):
    """Return the sum of the products of two rows."""
    return np.dot(a[a_at : a_at + count], b[b_at : b_at + count])


@micro_kernel(_plain_dot, number=True)
def dot(lanes, a, a_at, b, b_at, count):
    """Four sums at a time: one would wait for itself."""
    builder, one = lanes.builder, lanes.count
    zeros = [lanes.constant(0.0)] * 4

    def whole(_, values):
        a_at, b_at, sums = values[0], values[1], values[2:]
        new = []
        for j, s in enumerate(sums):
            places = (builder.add(at, INT64(j * one)) for at in (a_at, b_at))
            x, z = (lanes.load(p, place) for p, place in zip((a, b), places, strict=True))
            new.append(lanes.fma(x, z, s))
        return [*(builder.add(at, INT64(4 * one)) for at in (a_at, b_at)), *new]

    def rest(_, values):
        a_at, b_at, left, total = values
        mask = lanes.first(left)
        x, z = lanes.load(a, a_at, mask), lanes.load(b, b_at, mask)
        places = [builder.add(at, INT64(one)) for at in (a_at, b_at)]
        return [*places, builder.sub(left, INT64(one)), lanes.fma(x, z, total)]

    turns = builder.sdiv(count, INT64(4 * one))
    a_at, b_at, *sums = lanes.loop(turns, [a_at, b_at, *zeros], whole)
    left = builder.sub(count, builder.mul(turns, INT64(4 * one)))
    total = (sums[0] + sums[1]) + (sums[2] + sums[3])
    turns = builder.sdiv(builder.add(left, INT64(one - 1)), INT64(one))
    return lanes.total(lanes.loop(turns, [a_at, b_at, left, total], rest)[3])
