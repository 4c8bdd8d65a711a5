"""Kernels of S4D: the diagonal recurrence over packed sequences, and its step.

Limit: for each token, vector of channels and complex state 5 multiply-adds, at the rate
of fused multiply-adds; memory sees a channel of a token twice. See `_diagonal`.

Work is divided by vectors of channels and sequences. Where these are too few, each
sequence is cut: a first pass finds the state that every piece would end with if it
began with zeros, powers of the decay carry the states from piece to piece, and the
second pass starts from the true states.
"""

import numpy as np
from numba import prange

from ._diagonal import (
    GROUP,
    PLANES,
    TILE,
    advance,
    load_state,
    prepare,
    put,
    raise_to,
    store_state,
    take,
)
from ._lanes import kernel, lane_count, lane_count_of, parallel_kernel
from ._threads import segments, threads

# A pass without output costs so much of one with output; pieces shorter than SHORTEST
# do not pay, nor does a parallel region for fewer than SERIAL states times tokens.
FIRST_PASS = 0.6
SHORTEST = 512
SERIAL = 2**17
import os
V=int(os.environ.get('V','4'))


def scan(u, dt, A, B, C, D, hold, bounds, initial, pieces=None):
    """Return y, (tokens, channels), and the final state of each sequence.

    `initial` and D may be empty; `pieces` are there for tests.
    """
    count = lane_count(u.dtype)
    channels, state = A.shape
    blocks, sequences = -(-channels // count), len(bounds) - 1
    pieces = pieces or _pieces(sequences * blocks, bounds)
    parts = pieces * sequences if pieces > 1 else 0
    system = (
        np.empty((blocks, PLANES * state * count), u.dtype),
        np.empty((blocks, GROUP * count), u.dtype),
        np.empty((blocks, 2, state * count)),
    )
    owner = np.full(blocks * count, -1)
    owner[:channels] = np.arange(channels)
    vectors = V if blocks % V == 0 else 1
    starts = np.empty((parts, blocks, 2 * state * count), u.dtype)
    y, final = np.empty_like(u), np.empty((sequences, channels, state), A.dtype)
    small = u.size * state < SERIAL or threads() == 1
    run = _scan_serially if small else _scan_in_parallel
    run(
        *(u, y, bounds, pieces, initial, final, starts, *system),
        *(dt, A, B, C, D, hold, owner.reshape(blocks, count), vectors),
    )
    return y, final


def _pieces(rows, bounds):
    """Return into how many pieces to cut each sequence."""
    length = (bounds[-1] - bounds[0]) // max(len(bounds) - 1, 1)
    if rows == 0:
        return 1
    return segments(rows, int(length), first_pass=FIRST_PASS, shortest=SHORTEST)


@parallel_kernel
def _scan_in_parallel(
    u, y, bounds, pieces, initial, final, starts,
    W, K, decay, dt, A, B, C, D, hold, own, vectors
):
    for block in prange(len(own)):
        prepare(dt, A, B, C, D, hold, own[block], W[block], K[block], decay[block])
    if pieces > 1:
        for job in prange(len(starts) * len(own) // vectors):
            _first_pass(u, bounds, pieces, starts, W, vectors, job)
        for job in prange((len(bounds) - 1) * len(own)):
            _carry(bounds, pieces, initial, starts, decay, A.shape[0], job)
    for job in prange((len(bounds) - 1) * pieces * len(own) // vectors):
        _second_pass(u, y, bounds, pieces, initial, final, starts, W, K, vectors, job)


@kernel
def _scan_serially(
    u, y, bounds, pieces, initial, final, starts,
    W, K, decay, dt, A, B, C, D, hold, own, vectors
):
    for block in range(len(own)):
        prepare(dt, A, B, C, D, hold, own[block], W[block], K[block], decay[block])
    if pieces > 1:
        for job in range(len(starts) * len(own) // vectors):
            _first_pass(u, bounds, pieces, starts, W, vectors, job)
        for job in range((len(bounds) - 1) * len(own)):
            _carry(bounds, pieces, initial, starts, decay, A.shape[0], job)
    for job in range((len(bounds) - 1) * pieces * len(own) // vectors):
        _second_pass(u, y, bounds, pieces, initial, final, starts, W, K, vectors, job)


@kernel
def cut(bounds, pieces, part):
    """Return the first token of a part and the one after its last."""
    s, k = part // pieces, part % pieces
    length = bounds[s + 1] - bounds[s]
    return bounds[s] + length * k // pieces, bounds[s] + length * (k + 1) // pieces


@kernel
def _first_pass(u, bounds, pieces, starts, W, vectors, job):
    """Find the states that a piece would end with if it began with zeros."""
    stripes = len(W) // vectors
    part, block = job // stripes, job % stripes * vectors
    own = starts[part, block : block + vectors]
    own[:] = 0.0
    if part % pieces < pieces - 1:
        first, last = cut(bounds, pieces, part)
        _run(u, u, first, last, block, W, starts[part], own, False)


@kernel
def _carry(bounds, pieces, initial, starts, decay, channels, job):
    """Replace the states that pieces end with by those that they begin with."""
    blocks, size = len(decay), decay.shape[2]
    sequence, block = job // blocks, job % blocks
    x, power = np.zeros((2, size)), np.empty((2, size))
    count = lane_count_of(starts)
    if len(initial):
        valid = min(count, channels - block * count)
        load_state(initial, sequence, block * count, valid, x.ravel(), count)
    for part in range(sequence * pieces, (sequence + 1) * pieces):
        first, last = cut(bounds, pieces, part)
        own = starts[part, block]
        raise_to(decay[block], last - first, power)
        for i in range(size):
            re, im = x[0, i], x[1, i]
            x[0, i] = re * power[0, i] - im * power[1, i] + own[i]
            x[1, i] = re * power[1, i] + im * power[0, i] + own[size + i]
            own[i], own[size + i] = re, im


@kernel
def _second_pass(u, y, bounds, pieces, initial, final, starts, W, K, vectors, job):
    """Run a piece from its true states; the last one leaves the final states."""
    stripes, count = len(W) // vectors, lane_count_of(u)
    part, block = job // stripes, job % stripes * vectors
    sequence = part // pieces
    X = np.zeros((vectors, 2 * final.shape[2] * count), u.dtype)
    if pieces > 1:
        for v in range(vectors):
            for i in range(X.shape[1]):
                X[v, i] = starts[part, block + v, i]
    elif len(initial):
        for v in range(vectors):
            channel = (block + v) * count
            valid = min(count, u.shape[1] - channel)
            load_state(initial, sequence, channel, valid, X[v], count)
    first, last = cut(bounds, pieces, part)
    _run(u, y, first, last, block, W, K, X, True)
    if part % pieces == pieces - 1:
        for v in range(vectors):
            channel = (block + v) * count
            store_state(X[v], final, sequence, channel, min(count, u.shape[1] - channel))


@kernel
def _run(u, y, first, last, block, W, K, X, reading):
    """Advance the states of some vectors of channels from token `first` to `last`."""
    count, channels, vectors = lane_count_of(u), u.shape[1], len(X)
    width = min(vectors * count, channels - block * count)
    U, Y = (np.empty(vectors * CHUNK * count, u.dtype) for _ in range(2))
    X, W, K, u, y = X.reshape(-1), W.reshape(-1), K.reshape(-1), u.reshape(-1), y.reshape(-1)
    for start in range(first, last, CHUNK):
        tokens = min(CHUNK, last - start)
        at = start * channels + block * count
        take(U, u, at, channels, width, tokens)
        for v in range(vectors):
            for t in range(0, tokens, TILE):
               ....
        if reading:
            put(Y, y, at, channels, width, tokens)
