"""Stretches of tokens: their step sizes, and the states passed on between them.

What a stretch leaves behind if it starts from zeros, and how much of an earlier state
it keeps, give the states between stretches: one multiply-add per number of a state, so
that memory is the limit.
"""

import math

import numpy as np
from numba import prange

from ._arguments import ready
from .layers import softplus
from .toolkit.kernels import kernel, parallel_kernel, use_wide_vectors
from .toolkit.threads import launch

# Numbers of a state that a thread passes on at a time, where each has its own decay.
BLOCK = 1024


def steps_of(
    dt: np.ndarray,
    bias: np.ndarray | None,
    smooth: bool,
    limit: tuple[float, float] = (-math.inf, math.inf),
) -> np.ndarray:
    """Return new step sizes as recurrences use them: bias, softplus, limits."""
    low, high = limit
    if not low <= high:
        raise ValueError(f"dt_limit is {limit}; it needs to be (low, high)")
    dt = dt if bias is None else dt + bias
    dt = softplus(dt) if smooth else dt
    return np.clip(dt, dt.dtype.type(low), dt.dtype.type(high))


def decays_of(exponents: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return e to the sums of exponents, (tokens, ...), of stretches of 1 or more."""
    sums = np.add.reduceat(exponents, bounds[:-1], axis=0, dtype=np.float64)
    return np.exp(sums).astype(exponents.dtype)


@kernel
def _advance(own, before, kept):
    """Add what is kept of the state before, by one decay or by one per number."""
    use_wide_vectors()
    if kept.size == 1:
        decay = kept[0]
        for i in range(own.size):
            own[i] += decay * before[i]
    else:
        for i in range(own.size):
            own[i] += kept[i] * before[i]


@parallel_kernel
def _carry(states, kept, start, bounds, block, decays):
    """Pass on `block` numbers of the states, which `decays` numbers scale."""
    width = states.shape[1]
    blocks = (width + block - 1) // block
    for item in prange((bounds.size - 1) * blocks):
        sequence, column = item // blocks, item % blocks
        own = slice(column * block, min(width, (column + 1) * block))
        scales = slice(column * decays, min(kept.shape[1], (column + 1) * decays))
        before = start[sequence, own]
        for row in range(bounds[sequence], bounds[sequence + 1]):
            _advance(states[row, own], before, kept[row, scales])
            before = states[row, own]


def carry(
    states: np.ndarray, kept: np.ndarray, start: np.ndarray, bounds: np.ndarray
) -> None:
    """Set ``states[i] += kept[i] states[i-1]`` within each sequence, in place.

    `states`, contiguous, are stretch by stretch, those of sequence s from ``bounds[s]``
    on; before its first one there is ``start[s]``. `kept` has no axes for those of a
    state along which there is one decay.
    """
    if not states.size:
        return
    rows, numbers, decays = len(states), states[0].size, kept[0].size
    alone = decays == numbers
    block = BLOCK if alone else numbers // decays
    arrays = states.reshape(rows, numbers), ready(kept).reshape(rows, decays)
    start = ready(start).reshape(-1, numbers)
    launch(_carry, states.size, *arrays, start, bounds, block, block if alone else 1)
