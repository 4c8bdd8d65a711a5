"""Chunked forms whose chunk length can be chosen: who has one, and our own in NumPy."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ..conformance.outputs import flatten
from ..ops import OPS
from .contender import Contender, UnavailableError

NUMPY = "numpy"
# Where `ssmref.cpu` keeps the length of its chunks: a constant that is not for users.
_PRIVATE = {
    "mamba2.ssd": ("_mamba2_pieces", "CHUNK"),
    "mamba3.siso": ("_mamba3_pieces", "ROWS"),
}

# Of `ssmref.cpu`: bytes of states that a thread computes together, in float32, and rows
# of scores that it weighs at a time.
_STATES, _ROWS = 1 << 18, 6


def contender(name: str, op: str, chunk: int) -> Contender:
    """Return an op in chunks of so many tokens, or raise UnavailableError."""
    own = {}
    if name == NUMPY:
        call: Callable[..., Any] = partial(ssd, chunk_size=chunk)
        note, own = "products by BLAS, all chunks at once", {"workspace": _held}
    elif name == "ssmref.cpu":
        call, note = _private(op, chunk), "its private constant set to this length"
    else:
        call, note = _form(name, op, chunk), ""

    def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
        return partial(call, **arguments)

    return Contender(name, op, prepare, partial(flatten, OPS[op]), note=note, **own)


def _form(package: str, op: str, chunk: int) -> Callable[..., Any]:
    module, function = op.split(".")
    try:
        found = getattr(import_module(f"{package}.{module}"), f"{function}_chunked")
    except (ImportError, AttributeError) as error:
        raise UnavailableError(f"{package} does not offer {op}_chunked") from error
    return partial(found, chunk_size=chunk)


def _private(op: str, chunk: int) -> Callable[..., Any]:
    own, name = op.split(".")
    module, constant = _PRIVATE[op]
    try:
        function = getattr(import_module(f"ssmref.cpu.{own}"), name)
        pieces = import_module(f"ssmref.cpu.{module}")
        getattr(pieces, constant)
    except (ImportError, AttributeError) as error:
        raise UnavailableError(f"ssmref.cpu has no chunks of {op}: {error}") from error

    def call(**arguments: Any) -> Any:
        usual = getattr(pieces, constant)
        setattr(pieces, constant, chunk)
        try:
            return function(**arguments)
        finally:
            setattr(pieces, constant, usual)

    return call


def ssd(
    x: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    *,
    D: np.ndarray,
    chunk_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """SSD as of arXiv 2405.21060, section 6, by matrix products over all chunks.

    A ragged last chunk is filled up with dt = 0, which changes no state.
    """
    batch, length, heads, headdim = x.shape
    a = _chunks(dt * A, chunk_size)  # (batch, heads, chunks, tokens)
    drive, B, C = (_chunks(v, chunk_size) for v in (dt[..., None] * x, B, C))
    share = heads // B.shape[1]
    B, C = (np.repeat(v, share, axis=1) for v in (B, C))
    total = np.cumsum(a, axis=-1)
    later = np.tri(chunk_size, dtype=bool)
    gaps = np.where(later, total[..., :, None] - total[..., None, :], -np.inf)
    y = (np.exp(gaps) * (C @ B.swapaxes(-1, -2))) @ drive
    leave = np.exp(total[..., -1:] - total)[..., None]
    added = (leave * drive).swapaxes(-1, -2) @ B
    entering, state = _passed(added, np.exp(total[..., -1]))
    y += np.exp(total)[..., None] * (C @ entering.swapaxes(-1, -2))
    y = y.reshape(batch, heads, -1, headdim)[:, :, :length].swapaxes(1, 2)
    return y + D[:, None] * x, state


def _passed(added: np.ndarray, decay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the states that chunks begin with, and the last one."""
    entering, state = np.empty_like(added), np.zeros_like(added[:, :, 0])
    for chunk in range(added.shape[2]):
        entering[:, :, chunk] = state
        state = decay[:, :, chunk, None, None] * state + added[:, :, chunk]
    return entering, state


def _chunks(v: np.ndarray, size: int) -> np.ndarray:
    """Return tokens as (batch, heads, chunks, size, ...), filled up with zeros."""
    missing = -v.shape[1] % size
    padded = np.pad(v, [(0, 0), (0, missing), *[(0, 0)] * (v.ndim - 2)])
    split = padded.reshape(len(v), -1, size, *v.shape[2:])
    return np.ascontiguousarray(np.moveaxis(split, 3, 1))


def _held(
    *,
    batch: int,
    length: int,
    heads: int,
    headdim: int,
    state: int,
    chunk: int,
    **_: int,
) -> float:
    """Predict the numbers that `ssd` holds: tables, B and C per head, x, states."""
    per_row = 3 * chunk + 2 * state + 3 * headdim + 2 * headdim * state / chunk
    return batch * heads * length * per_row


def workspace(
    op: str,
    threads: int,
    *,
    heads: int,
    headdim: int,
    state: int,
    chunk: int,
    **_: int,
) -> int:
    """Return the numbers that `ssmref.cpu` holds: per thread a chunk and some states.

    A chunk of q tokens has a table of scores, keys, values and outputs, some rows of
    weights, and for each head step sizes and exponents.
    """
    most = min(_STATES // (4 * headdim * state) or 1, -(-heads // threads))
    own = most if op == "mamba2.ssd" else min(4, heads)
    room = chunk * (chunk + _ROWS + state + 2 * headdim + 2 * own)
    return threads * (room + own * headdim * state)
