"""The first-order linear recurrence and its parallel forms.

Every state space model here is ``h[t] = a[t] h[t-1] + b[t]`` inside. Parallel forms
rest on one associative operator, the composition of two affine steps (the earlier one
on the left)::

    (a1, b1) o (a2, b2) = (a2 a1, a2 b1 + b2)
"""

import numpy as np

from ._contract import at_least, checked
from ._types import Number


@checked
def linear_scan(
    a: Number[np.ndarray, "batch length *rest"],
    b: Number[np.ndarray, "batch length *rest"],
    *,
    initial_state: Number[np.ndarray, "batch *rest"] | None = None,
) -> Number[np.ndarray, "batch length *rest"]:
    """Return every state of ``h[t] = a[t] h[t-1] + b[t]``, one step at a time."""
    a, b = _start(a, b, initial_state)
    h = b.copy()
    for t in range(1, b.shape[1]):
        h[:, t] = a[:, t] * h[:, t - 1] + b[:, t]
    return h


@checked
def linear_scan_hillis_steele(
    a: Number[np.ndarray, "batch length *rest"],
    b: Number[np.ndarray, "batch length *rest"],
    *,
    initial_state: Number[np.ndarray, "batch *rest"] | None = None,
) -> Number[np.ndarray, "batch length *rest"]:
    """`linear_scan` in log2(length) steps of length operations each.

    Hillis & Steele 1986, "Data parallel algorithms": after the step with distance d,
    element t holds the composition of the 2d elements that end at t.
    """
    a, b = _start(a, b, initial_state)
    distance = 1
    while distance < b.shape[1]:
        b = _after(b, b[:, distance:] + a[:, distance:] * b[:, :-distance])
        a = _after(a, a[:, distance:] * a[:, :-distance])
        distance *= 2
    return b


@checked
def linear_scan_blelloch(
    a: Number[np.ndarray, "batch length *rest"],
    b: Number[np.ndarray, "batch length *rest"],
    *,
    initial_state: Number[np.ndarray, "batch *rest"] | None = None,
) -> Number[np.ndarray, "batch length *rest"]:
    """`linear_scan` by a work-efficient up-sweep and down-sweep over a binary tree.

    Blelloch 1990, "Prefix sums and their applications", section 1.2.1: the up-sweep
    leaves in each right child the composition of its subtree, the down-sweep hands
    every node the composition of all that precedes it. The length is padded to a power
    of two with the identity (1, 0); the exclusive result is composed with the element.
    """
    a, b = _start(a, b, initial_state)
    length = b.shape[1]
    size = 1 << max(length - 1, 0).bit_length()
    P, S = _pad(a, size, 1), _pad(b, size, 0)
    strides = [1 << k for k in range(size.bit_length() - 1)]
    for d in strides:
        left, right = slice(d - 1, None, 2 * d), slice(2 * d - 1, None, 2 * d)
        S[:, right] += P[:, right] * S[:, left]
        P[:, right] *= P[:, left]
    P[:, -1:], S[:, -1:] = 1, 0
    for d in reversed(strides):
        left, right = slice(d - 1, None, 2 * d), slice(2 * d - 1, None, 2 * d)
        P_left, S_left = P[:, left].copy(), S[:, left].copy()
        P[:, left], S[:, left] = P[:, right], S[:, right]
        S[:, right] = P_left * S[:, right] + S_left
        P[:, right] *= P_left
    return a * S[:, :length] + b


@checked
def linear_scan_chunked(
    a: Number[np.ndarray, "batch length *rest"],
    b: Number[np.ndarray, "batch length *rest"],
    *,
    initial_state: Number[np.ndarray, "batch *rest"] | None = None,
    chunk_size: int = 16,
) -> Number[np.ndarray, "batch length *rest"]:
    """`linear_scan` in three phases: local scans, scan of the carries, fix-up.

    The form of multi-core and multi-block scans; padding is the identity (1, 0).
    """
    at_least("chunk_size", chunk_size, 1)
    a, b = _start(a, b, initial_state)
    batch, length = b.shape[:2]
    chunks = -(-length // chunk_size)
    split = (batch * chunks, chunk_size, *b.shape[2:])
    joined = (batch, chunks, chunk_size, *b.shape[2:])
    a_local = _pad(a, chunks * chunk_size, 1).reshape(split)
    b_local = _pad(b, chunks * chunk_size, 0).reshape(split)
    local = linear_scan(a_local, b_local).reshape(joined)
    product = np.cumprod(a_local, axis=1).reshape(joined)
    carry = linear_scan(product[:, :, -1], local[:, :, -1])
    local[:, 1:] += product[:, 1:] * carry[:, :-1, None]
    return local.reshape(batch, chunks * chunk_size, *b.shape[2:])[:, :length]


def _start(a, b, initial_state):
    """Fold the initial state into the first element."""
    b = b.astype(np.result_type(a, b))
    if initial_state is not None and b.shape[1]:
        b = b.astype(np.result_type(b, initial_state))
        b[:, 0] += a[:, 0] * initial_state
    return a.astype(b.dtype), b


def _after(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return `old` with its last elements along time replaced by `new`."""
    kept = old.shape[1] - new.shape[1]
    return np.concatenate([old[:, :kept], new], axis=1)


def _pad(x: np.ndarray, length: int, value: int) -> np.ndarray:
    padded = np.full((x.shape[0], length, *x.shape[2:]), value, x.dtype)
    padded[:, : x.shape[1]] = x
    return padded
