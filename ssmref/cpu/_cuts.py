"""Sequences cut in time: where parts begin and how states get from part to part."""

import numpy as np

from ._diagonal_setup import raise_to
from ._lanes import kernel
from ._threads import segments


def parts_of(rows, bounds, first_pass, shortest):
    """Return into how many parts to cut each of the sequences."""
    length = (bounds[-1] - bounds[0]) // max(len(bounds) - 1, 1)
    if rows == 0:
        return 1
    return segments(rows, int(length), first_pass=first_pass, shortest=shortest)


@kernel
def cut(bounds, cuts, part):
    """Return the first token of a part and the one after its last."""
    s, k = part // cuts, part % cuts
    length = bounds[s + 1] - bounds[s]
    return bounds[s] + length * k // cuts, bounds[s] + length * (k + 1) // cuts


@kernel
def carry(bounds, cuts, sequence, x, decay, starts, block):
    """Replace the states that parts end with by those that they begin with, x first."""
    size = decay.shape[1]
    power = np.zeros((2, size))
    for part in range(sequence * cuts, (sequence + 1) * cuts):
        first, last = cut(bounds, cuts, part)
        own = starts[part, block]
        if part % cuts < cuts - 1:
            raise_to(decay, last - first, power)
        for i in range(size):
            re, im, own_re, own_im = x[i], x[size + i], own[i], own[size + i]
            own[i], own[size + i] = re, im
            x[i] = re * power[0, i] - im * power[1, i] + own_re
            x[size + i] = re * power[1, i] + im * power[0, i] + own_im
