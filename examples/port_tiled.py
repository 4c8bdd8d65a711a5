"""The port with a real bug: heads take their groups in turn instead of in blocks.

Head h reads group ``h mod groups`` where it should read ``h // (heads / groups)``. With
one group, or one per head, nothing shows. The bug lived for months in the fallback path
of a well-known library (huggingface/transformers, pull requests 37533 and 38320).

    ssmref verify examples.port_tiled --op mamba2.ssd
"""

import numpy as np

from examples import port


def ssd(x, dt, A, B, C, **options):
    """Return what `port.ssd` does, with B and C tiled over the heads."""
    repeats = (1, 1, x.shape[2] // B.shape[2], 1)
    return port.ssd(x, dt, A, np.tile(B, repeats), np.tile(C, repeats), **options)
