"""Sequences cut in time: where parts begin and how states get from part to part."""

import numpy as np

from ._diagonal_setup import load_state, raise_to
from .toolkit.kernels import inner, kernel
from .toolkit.threads import segments, threads


def parts_of(rows, bounds, first_pass, shortest):
    """Return into how many parts to cut each of the sequences."""
    length = (bounds[-1] - bounds[0]) // max(len(bounds) - 1, 1)
    if rows == 0:
        return 1
    return segments(rows, int(length), first_pass=first_pass, shortest=shortest)


def stripe_of(jobs, blocks, widest):
    """Return how many of the blocks of each job to run together.

    That is what leaves the busiest thread with the least, and then the most.
    """

    def cost(together):
        return -(-jobs * -(-blocks // together) // threads()) * together

    return min(range(max(1, widest), 0, -1), key=cost)


@kernel
def cut(bounds, cuts, part):
    """Return the first token of a part and the one after its last."""
    s, k = part // cuts, part % cuts
    length = bounds[s + 1] - bounds[s]
    return bounds[s] + length * k // cuts, bounds[s] + length * (k + 1) // cuts


@kernel
def carry_all(bounds, cuts, initial, states, decay, index):
    """Replace the states that parts end with by those that they begin with.

    Row i of `index` says which states of `initial`, if there are any, vector i has;
    vectors share the decays evenly.
    """
    vectors, size = states.shape[1], decay.shape[2]
    for row in range(len(bounds) - 1):
        for vector in range(vectors):
            x = np.zeros(2 * size)
            if len(initial):
                load_state(initial, row, index[vector], x, 0, size)
            own = decay[vector * len(decay) // vectors]
            _carry(bounds, cuts, row, x, own, states, vector)


@inner
def _carry(bounds, cuts, sequence, x, decay, states, vector):
    """Carry x through the parts of one sequence."""
    size = decay.shape[1]
    power = np.zeros((2, size))
    for part in range(sequence * cuts, (sequence + 1) * cuts):
        first, last = cut(bounds, cuts, part)
        own = states[part, vector]
        if part % cuts < cuts - 1:
            raise_to(decay, last - first, power)
        for i in range(size):
            re, im, own_re, own_im = x[i], x[size + i], own[i], own[size + i]
            own[i], own[size + i] = re, im
            x[i] = re * power[0, i] - im * power[1, i] + own_re
            x[size + i] = re * power[1, i] + im * power[0, i] + own_im
