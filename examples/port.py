"""A port of SSD as a kernel author might write it: chunked, in the input's dtype.

ssmref verify examples.port --op mamba2.ssd
"""

import math
from itertools import pairwise

import numpy as np

CHUNK = 32


def ssd(
    x, dt, A, B, C, *, D=None, z=None, dt_bias=None, dt_softplus=False,
    dt_limit=(0.0, math.inf), initial_state=None, cu_seqlens=None,
):  # fmt: skip
    """Return y (batch, length, heads, headdim) and one final state per sequence."""
    batch, length, heads, headdim = x.shape
    dt = dt if dt_bias is None else dt + dt_bias
    if dt_softplus:
        dt = np.where(dt > 20, dt, np.logaddexp(dt, 0))
    dt = np.clip(dt, *dt_limit).astype(x.dtype)
    B = np.repeat(B, heads // B.shape[2], axis=2)
    C = np.repeat(C, heads // C.shape[2], axis=2)
    packed = cu_seqlens is not None
    bounds = list(cu_seqlens) if packed else [0, length]
    rows = len(bounds) - 1 if packed else batch
    state = np.zeros((rows, heads, headdim, B.shape[-1]), x.dtype)
    if initial_state is not None:
        state += initial_state
    y = np.empty_like(x)
    for i, (start, stop) in enumerate(pairwise(bounds)):
        h = state[i : i + 1] if packed else state
        for a in range(start, stop, CHUNK):
            t = slice(a, min(a + CHUNK, stop))
            y[:, t], h[:] = chunk(x[:, t], dt[:, t], A, B[:, t], C[:, t], h)
    if D is not None:
        y += (D if D.ndim == 2 else D[:, None]) * x
    return (y if z is None else y * silu(z)), state


def silu(z):
    """Return z sigmoid(z), without an exp that overflows."""
    return z * np.exp(np.minimum(z, 0)) / (1 + np.exp(-np.abs(z)))


def chunk(x, dt, A, B, C, h):
    """Return y of one chunk and the state after it, from the state before it."""
    total = np.cumsum(dt * A, axis=1)
    # Rounding may make a difference of huge sums positive, and exp of it infinite.
    span = np.minimum(total[:, :, None] - total[:, None], 0)
    past = np.tri(x.shape[1], dtype=bool)[:, :, None]
    decay = np.where(past, np.exp(np.where(past, span, 0)), 0)
    inside = np.einsum("bthn,bshn,btsh->btsh", C, B, decay)
    y = np.einsum("btsh,bsh,bshp->bthp", inside, dt, x)
    y += np.einsum("bth,bthn,bhpn->bthp", np.exp(total), C, h)
    left = np.exp(np.minimum(total[:, -1:] - total, 0)) * dt
    h = np.exp(total[:, -1])[..., None, None] * h
    return y, h + np.einsum("bsh,bshp,bshn->bhpn", left, x, B)
