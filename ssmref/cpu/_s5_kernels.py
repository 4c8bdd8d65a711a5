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

from ._diagonal_setup import raise_to
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, kernel, lane_count, lane_count_of, use_wide_vectors
from .toolkit.memory import aligned_zeros
from .toolkit.products import TILE_VECTORS, add_product
from .toolkit.threads import threads

CHUNK = 256
# Terms of a sum that are taken at a time: then the right operand stays in the
# first-level cache.
DEPTH = 64
# Chunks of a wave: so many multiply-adds that two parallel regions do not matter.
WAVE = 2**23
MOST = 64


def packed(matrix: np.ndarray) -> np.ndarray:
    """Return stripes of columns of a matrix, each row by row: see `_multiply`."""
    width, flat = (
        TILE_VECTORS * lane_count(matrix.dtype),
        aligned_zeros((matrix.size,), matrix.dtype),
    )
    starts = range(0, matrix.shape[1], width)
    if starts:
        np.concatenate([matrix[:, i : i + width].ravel() for i in starts], out=flat)
    return flat


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
    work = 2 * plane * (u.shape[1] + y.shape[1]) + 1
    chunks = int(ends[-1]) if len(ends) else 0
    most = min(MOST, chunks)
    wave = max(1, min(max(1, WAVE // (CHUNK * work)) * threads(), most))
    X = aligned_zeros((wave, CHUNK, 2 * plane), u.dtype)
    starts = np.zeros((wave, 2 * size), u.dtype)
    run = (u, y, bounds, ends, decay, packed(wide), packed(read), states, X, starts)
    power = np.empty_like(decay)
    raise_to(decay, CHUNK, power)
    for first in range(0, chunks, wave):
        count = min(wave, chunks - first)
        for_each(_drive, count, len(u) * work, u.dtype, *run, backward, first)
        _carry_all(bounds, ends, decay, power, states, starts, first, count)
        for_each(_read, count, len(u) * work, u.dtype, *run, backward, first)


@kernel
def _find(bounds, ends, chunk):
    """Return the sequence of a chunk, where it begins in it, and its length."""
    sequence = np.searchsorted(ends, chunk, side="right")
    before = ends[sequence - 1] if sequence else 0
    start = (chunk - before) * CHUNK
    length = bounds[sequence + 1] - bounds[sequence]
    return sequence, start, min(CHUNK, length - start)


@inner
def _token(bounds, sequence, start, back):
    """Return where in memory a token of a sequence is."""
    return bounds[sequence + 1] - 1 - start if back else bounds[sequence] + start


@Item
def _drive(
    u, _y, bounds, ends, decay, drive, _read, _states, X, starts, back, first, slot
):
    """Find the drives of a chunk and the state that it ends with, begun with zeros."""
    sequence, start, tokens = _find(bounds, ends, first + slot)
    inputs, width, flat = u.shape[1], X.shape[2], X[slot].ravel()
    for i in range(tokens * width):
        flat[i] = 0.0
    at, step = (
        _token(bounds, sequence, start, back) * inputs,
        -inputs if back else inputs,
    )
    _multiply(
        flat, 0, width, u.ravel(), at, step, drive, 0, inputs, inputs, tokens, width
    )
    for i in range(starts.shape[1]):
        starts[slot, i] = 0.0
    _recur(decay, flat, starts[slot], tokens, width, False)


@kernel
def _carry_all(bounds, ends, decay, power, states, starts, first, count):
    """Carry states through a wave of chunks."""
    for slot in range(count):
        _carry(bounds, ends, decay, power, states, starts, first, slot)


@inner
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


@Item
def _read(
    _u, y, bounds, ends, decay, _drive, read, _states, X, starts, back, first, slot
):
    """Run a chunk from its true state and add its outputs."""
    sequence, start, tokens = _find(bounds, ends, first + slot)
    outputs, width, flat, size = (
        y.shape[1],
        X.shape[2],
        X[slot].ravel(),
        decay.shape[1],
    )
    _recur(decay, flat, starts[slot], tokens, width, True)
    at, step = (
        _token(bounds, sequence, start, back) * outputs,
        -outputs if back else outputs,
    )
    for half in range(2):
        _multiply(
            *(y.ravel(), at, step, flat, half * width // 2, width),
            *(read, half * size, size, 2 * size, tokens, outputs),
        )


@inner
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


@inner
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
