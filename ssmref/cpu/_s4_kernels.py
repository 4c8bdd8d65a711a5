"""Kernels of S4: the recurrence with a low-rank term, over packed sequences.

Limit: for each token, vector of channels and complex state 8 multiply-adds and 4 per
rank (see `_s4_system`), and as many numbers read from the caches (see `_s4_sweep`).

Work is divided by stripes of channels and by sequences. Where these are too few, each
sequence is cut as in `_s4d_kernels`; what carries states across a part is a power of a
dense matrix, so parts are long.
"""

import numpy as np

from ._diagonal import CHUNK, put, take
from ._s4_sweep import sweep
from ._s4_system import RANKS, SINGULAR, dense_of, fill_systems, rows_of_system
from ._time_parts import cut, parts_of, stripe_of
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner, lane_count, lane_count_of
from .toolkit.memory import aligned_zeros, new_zeros

# A pass without output costs as much as one with it. A power of a dense matrix costs as
# much as so many tokens times the square of the state.
FIRST_PASS = 1.0
POWER = 76
# Vectors of channels that are copied together: longer runs of memory.
WIDEST = 8


def scan(u, dt, A, B, C, D, P, bounds, initial, cuts=None):
    """Return y, (tokens, channels), and the final state of each sequence.

    A, B, C and P have parts side by side; `initial` and D may be empty. `cuts`, parts
    per sequence, are there for tests. Raises ValueError where a system is singular.
    """
    count, sequences = lane_count(u.dtype), len(bounds) - 1
    channels, state = len(A), A.shape[1] // 2
    blocks, shortest = -(-channels // count), 512 + POWER * state**2
    cuts = cuts or parts_of(sequences * blocks, bounds, FIRST_PASS, shortest)
    W = aligned_zeros((blocks, state * rows_of_system(len(P)) * 2 * count), u.dtype)
    exists = np.zeros(channels, np.bool_)
    systems = (dt, A, B, C, P, W, count, exists)
    for_each(_prepare, channels, 100 * W.size, u.dtype, *systems)
    if not exists.all():
        raise ValueError(SINGULAR)
    states = aligned_zeros((sequences, cuts, blocks, 2 * state * count), u.dtype)
    skip, y = aligned_zeros((blocks * count,), u.dtype), np.empty_like(u)
    skip[: len(D)] = D
    vectors = stripe_of(sequences * cuts, blocks, WIDEST)
    jobs = sequences * cuts * -(-blocks // vectors)
    work, run = 16 * u.size * state, (u, y, bounds, states, W, len(P), skip, vectors)
    if cuts > 1:
        for_each(_run, jobs, work, u.dtype, *run, False)
        _carry(bounds, dense_of(dt, A, P), initial, states, count)
    elif len(initial):
        states[:, 0] = to_planes(initial, count)
    for_each(_run, jobs, work, u.dtype, *run, True)
    return y, from_planes(states[:, -1], channels, state)


def to_planes(states, count):
    """Return states (rows, channels, state) as (rows, blocks, planes) of vectors."""
    rows, channels, state = states.shape
    padded = np.zeros((rows, -(-channels // count) * count, state), states.dtype)
    padded[:, :channels] = states
    x = padded.reshape(rows, padded.shape[1] // count, count, state).swapaxes(2, 3)
    return np.stack([x.real, x.imag], axis=2).reshape(*x.shape[:2], 2 * state * count)


def from_planes(states, channels, state):
    """Return the opposite of `to_planes`."""
    (rows, blocks, _), count = states.shape, lane_count(states.dtype)
    x = states.reshape(rows, blocks, 2, state, count).swapaxes(3, 4)
    x = x[:, :, 0] + 1j * x[:, :, 1]
    return np.array(x.reshape(rows, blocks * count, state)[:, :channels], order="C")


def _carry(bounds, dense, initial, states, count):
    """Replace the states that parts end with by those that they begin with."""
    sequences, cuts = states.shape[:2]
    channels, size = dense.shape[:2]
    for s in range(sequences):
        x = np.zeros((channels, size))
        if len(initial):
            x[:] = np.concatenate([initial[s].real, initial[s].imag], axis=1)
        shortest = (bounds[s + 1] - bounds[s]) // cuts
        with np.errstate(all="ignore"):
            power = np.linalg.matrix_power(dense, shortest)
        for k in range(cuts):
            ends = from_planes(states[s, k][None], channels, size // 2)[0]
            halves = np.split(x, 2, axis=1)
            states[s, k] = to_planes((halves[0] + 1j * halves[1])[None], count)[0]
            first, last = cut(bounds, cuts, s * cuts + k)
            for matrix in [power] + [dense] * int(last - first - shortest):
                x = np.einsum("dmn,dn->dm", matrix, x)
            x += np.concatenate([ends.real, ends.imag], axis=1)


@Item
def _prepare(dt, A, B, C, P, W, count, exists, channel):
    """Fill the lane of a channel with its system, if that exists."""
    S = np.empty((RANKS + 2 * len(P), 2, A.shape[1] // 2))
    fill_systems(dt, A, B, C, P, channel, channel + 1, exists, S)
    own, lane = W[channel // count], channel % count
    for n in range(S.shape[2]):
        for row in range(S.shape[0]):
            place = (n * S.shape[0] + row) * 2 * count + lane
            own[place], own[place + count] = S[row, 0, n], S[row, 1, n]


@Item
def _run(u, y, bounds, states, W, ranks, skip, vectors, reading, job):
    """Run a stripe of channels over one part; find y if `reading`."""
    blocks, cuts, count, channels = (
        len(W),
        states.shape[1],
        lane_count_of(u),
        u.shape[1],
    )
    stripes = -(-blocks // vectors)
    part, block = job // stripes, job % stripes * vectors
    vectors = min(vectors, blocks - block)
    first, last = cut(bounds, cuts, part)
    if not reading and part % cuts == cuts - 1:
        return
    X = states[part // cuts, part % cuts]
    width, plane = min(vectors * count, channels - block * count), CHUNK * count
    U, Y = new_zeros(vectors * plane, u), new_zeros(vectors * plane, u)
    sums = new_zeros(2 * vectors * ranks * count, u)
    for v in range(vectors):
        _start(W[block + v], X[block + v], ranks, sums, 2 * v * ranks * count, count)
    for chunk in range(first, last, CHUNK):
        tokens, at = min(CHUNK, last - chunk), chunk * channels + block * count
        take(U, 0, plane, u.ravel(), at, channels, width, tokens)
        for v in range(vectors):
            old = 2 * v * ranks * count + (chunk - first) % 2 * ranks * count
            _sweep_tile(W, X, ranks, sums, old, v, skip, U, Y, tokens, block)
        if reading:
            put(Y, 0, plane, y.ravel(), at, channels, width, tokens)


@inner
def _start(W, X, ranks, sums, at, count):
    """Find ``Re(F x)`` of the states that a part begins with."""
    rows, plane = RANKS + 2 * ranks, len(X) // 2
    for n in range(plane // count):
        for r in range(ranks):
            row = (n * rows + RANKS + ranks + r) * 2 * count
            for lane in range(count):
                re, im = X[n * count + lane], X[plane + n * count + lane]
                product = W[row + lane] * re - W[row + count + lane] * im
                sums[at + r * count + lane] += product


@inner
def _sweep_tile(W, X, ranks, sums, old, v, skip, U, Y, tokens, block):
    """Advance one vector of channels over a chunk; as CHUNK is even, sums alternate."""
    count, b = lane_count_of(U), block + v
    base = 2 * v * ranks * count
    plane = X.shape[1] // 2
    new = 2 * base + ranks * count - old
    sweep(
        *(W.ravel(), b * W.shape[1], ranks, X.ravel(), b * X.shape[1], plane),
        *(sums, old, new, skip, b * count, U, Y, v * CHUNK * count),
        *(tokens, plane // count),
    )
