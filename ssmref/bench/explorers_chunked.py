"""Chunked forms whose chunk length can be chosen: who has one, and our own in NumPy."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ..conformance.outputs import flatten
from ..ops import OPS
from .contender import Contender, UnavailableError
from .op_bytes import state_numbers

NUMPY = "numpy"
# Where `ssmref.cpu` keeps the length of its chunks: a constant that is not for users.
_PRIVATE = {
    "mamba2.ssd": ("_mamba2_pieces", "CHUNK"),
    "mamba3.siso": ("_mamba3_pieces", "ROWS"),
}

# Of `ssmref.cpu`: bytes of states that a thread computes together, in float32; rows of
# scores that it weighs at a time; numbers of each row in Mamba-3, such as decays.
_STATES, _ROWS, _VECTORS = 1 << 18, 6, 10


def contender(name: str, op: str, chunk: int) -> Contender:
    """Return an op in chunks of so many tokens, or raise UnavailableError."""
    held = _nothing
    if name == NUMPY:
        call: Callable[..., Any] = partial(ssd, chunk_size=chunk)
        note, held = "products by BLAS, all chunks at once", _held
    elif name == "ssmref.cpu":
        call, note = _private(op, chunk), "its private constant set to this length"
    else:
        call, note = _form(name, op, chunk), ""

    def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
        return partial(call, **arguments)

    outputs = partial(flatten, OPS[op])
    return Contender(name, op, prepare, outputs, held, note)


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


def _nothing(**_: int) -> float:
    return 0.0


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


def workspace(op: str, threads: int, **sizes: int) -> int:
    """Return the numbers that `ssmref.cpu` holds: per thread a chunk and some states.

    A chunk of q tokens has a table of scores, some rows of weights, keys, values and
    outputs. Mamba-3 also has keys and queries before and after their rotation, and for
    all heads the states that the sequences begin with.
    """
    chunk, heads, state = sizes["chunk"], sizes["heads"], sizes["state"]
    headdim, one = sizes["headdim"], sizes["headdim"] * state
    if op == "mamba2.ssd":
        own = min(max(_STATES // (4 * one), 1), -(-heads // threads))
        room = chunk * (chunk + _ROWS + state + 2 * headdim + 2 * own)
        return threads * (room + own * one)
    room = chunk * (chunk + _ROWS + _VECTORS + 3 * state + 2 * headdim)
    room += max(2 * chunk * state, one)
    return threads * (room + min(4, heads) * one) + state_numbers(op, **sizes)
