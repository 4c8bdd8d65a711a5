"""Attention as in textbooks: one matrix of all scores, which is what nobody should use.

It is measured for the growth of its memory, and because figures of others are about it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from .contender import Contender

NUMPY = "numpy"


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the outputs (batch, length, heads, headdim); the matrix is there once."""
    queries, keys, values = (a.swapaxes(1, 2) for a in (q, k, v))
    scores = queries @ keys.swapaxes(-1, -2)
    scores *= scores.dtype.type(q.shape[3] ** -0.5)
    hidden = ~np.tri(q.shape[1], dtype=bool)
    np.copyto(scores, -np.inf, where=hidden)
    scores -= np.max(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.sum(scores, axis=-1, keepdims=True)
    return (scores @ values).swapaxes(1, 2)


def _workspace(*, batch: int, length: int, heads: int, **_: int) -> float:
    return batch * heads * length**2


def _prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    return partial(attention, *(arguments[name] for name in "qkv"))


CONTENDER = Contender(
    *(NUMPY, "attention.naive", _prepare, lambda y: {"y": y}, _workspace),
    note="scores written out once, products by BLAS",
)
