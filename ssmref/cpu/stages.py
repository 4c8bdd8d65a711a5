"""Stages of chunked algorithms on the CPU: see `ssmref.golden.stages`."""

import math
from typing import Any, NamedTuple

import numpy as np

from ..contract import at_least
from ._arguments import checked, flat_tokens, map_state
from ._state_passing import carry, steps_of
from ._types import Real
from .layers import sigmoid
from .mamba1 import selective_scan
from .mamba2 import ssd
from .mamba3 import Mamba3State, siso

Channels = Real[np.ndarray, "batch length channels"]
States = Real[np.ndarray, "batch length channels state"]
Projection = (
    Real[np.ndarray, "batch length state"]
    | Real[np.ndarray, "batch length groups state"]
)
Heads = Real[np.ndarray, "batch length heads headdim"]
Groups = Real[np.ndarray, "batch length groups state"]
Keys = Real[np.ndarray, "batch length heads state"]
PerToken = Real[np.ndarray, "batch length heads"]
Angles = Real[np.ndarray, "batch length heads angles"]
HeadsFirst = Real[np.ndarray, "batch heads length"]
PerHead = Real[np.ndarray, " heads"]
Bias = Real[np.ndarray, "heads state"]
State = Real[np.ndarray, "sequences heads headdim state"]
Chunks = Real[np.ndarray, "batch heads chunks chunk"]
ChunkStates = Real[np.ndarray, "batch chunks heads headdim state"]


class SSDStages(NamedTuple):
    """The stages of SSD, in their order."""

    dt: Chunks
    log_decay: Chunks
    chunk_states: ChunkStates
    entering_states: ChunkStates
    y: Heads
    final_state: State


class ScanStages(NamedTuple):
    """The stages of the selective scan, in their order."""

    dt: Channels
    decay: States
    drive: States
    states: States
    y: Channels
    final_state: Real[np.ndarray, "batch channels state"]


class SisoStages(NamedTuple):
    """The stages of Mamba-3 with one input per head, in their order."""

    turn: Angles
    gamma: HeadsFirst
    scale: HeadsFirst
    q: Keys
    k: Keys
    log_decay: HeadsFirst
    entering_states: ChunkStates
    y: Heads
    final_state: Mamba3State


@checked
@np.errstate(all="ignore")
def ssd_stages(
    x: Heads,
    dt: PerToken,
    A: PerHead,
    B: Groups,
    C: Groups,
    *,
    chunk_size: int,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: State | None = None,
) -> SSDStages:
    """`golden.stages.ssd_stages`: chunks as sequences, then their states passed on."""
    at_least("chunk_size", chunk_size, 1)
    dt = steps_of(dt, dt_bias, dt_softplus, dt_limit)
    options: dict[str, Any] = {"dt_limit": dt_limit}
    y, final = ssd(x, dt, A, B, C, **options, initial_state=initial_state)
    own = _alone(x, dt, A, B, C, chunk_size, options)
    dt = np.moveaxis(_in_chunks(dt, chunk_size), 3, 1)
    log_decay = np.cumsum(dt * A[:, None, None], axis=3, dtype=np.float64)
    entering = _entering(own, np.swapaxes(log_decay[..., -1], 1, 2), initial_state)
    return SSDStages(dt, log_decay.astype(x.dtype), own, entering, y, final)


def _alone(x, dt, A, B, C, chunk_size: int, options: dict) -> np.ndarray:
    """Return what each chunk leaves if it starts from zeros: (batch, chunks, ...)."""
    batch, length, heads, headdim = x.shape
    starts = np.arange(0, length, chunk_size)
    shape = (batch, len(starts), heads, headdim, B.shape[3])
    if not batch * length:
        return np.zeros(shape, x.dtype)
    rows = np.arange(batch)[:, None] * length
    bounds = np.append(rows + starts, batch * length)
    x, dt, B, C = (flat_tokens(v)[None] for v in (x, dt, B, C))
    return ssd(x, dt, A, B, C, **options, cu_seqlens=bounds)[1].reshape(shape)


def _entering(
    own: np.ndarray, exponents: np.ndarray, start: np.ndarray | None
) -> np.ndarray:
    """Return the states before chunks from what each leaves by itself.

    Over a chunk, a state decays by e to the `exponents` (batch, chunks, heads).
    """
    batch, chunks = own.shape[:2]
    start = (
        np.zeros_like(own, shape=(batch, *own.shape[2:])) if start is None else start
    )
    kept = np.exp(exponents).astype(own.dtype)
    states = own.reshape(batch * chunks, *own.shape[2:]).copy()
    kept = kept.reshape(batch * chunks, own.shape[2])
    carry(states, kept, start, np.arange(batch + 1) * chunks)
    states = states.reshape(own.shape)
    return np.concatenate([start[:, None], states], axis=1)[:, :-1]


def _in_chunks(v: np.ndarray, size: int) -> np.ndarray:
    """Split time into (chunks, size), the last one filled up with zeros."""
    batch, length = v.shape[:2]
    chunks = -(-length // size)
    filled = np.zeros((batch, chunks * size, *v.shape[2:]), v.dtype)
    filled[:, :length] = v
    return filled.reshape(batch, chunks, size, *v.shape[2:])


@checked
@np.errstate(all="ignore")
def selective_scan_stages(
    u: Channels,
    dt: Channels,
    A: Real[np.ndarray, "channels state"],
    B: Projection,
    C: Projection,
    *,
    dt_bias: Real[np.ndarray, " channels"] | None = None,
    dt_softplus: bool = False,
    initial_state: Real[np.ndarray, "sequences channels state"] | None = None,
) -> ScanStages:
    """`golden.stages.selective_scan_stages`: all states of all tokens are kept."""
    options: dict[str, Any] = {"dt_bias": dt_bias, "dt_softplus": dt_softplus}
    y, final = selective_scan(u, dt, A, B, C, **options, initial_state=initial_state)
    dt = steps_of(dt, dt_bias, dt_softplus)
    batch, length = u.shape[:2]
    drive = _per_group(dt * u, B)
    decay = np.exp(dt[..., None] * A)
    states = drive.reshape(batch * length, *A.shape).copy()
    start = np.zeros((batch, *A.shape), u.dtype)
    start = start if initial_state is None else initial_state
    decays = decay.reshape(states.shape)
    carry(states, decays, start, np.arange(batch + 1) * length)
    return ScanStages(dt, decay, drive, states.reshape(drive.shape), y, final)


def _per_group(values: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return the products of the values of channels and the B of their groups."""
    batch, length, channels = values.shape
    B = B[:, :, None] if B.ndim == 3 else B
    groups, state = B.shape[2:]
    values = values.reshape(batch, length, groups, channels // groups, 1)
    products = values * B[:, :, :, None]
    return products.reshape(batch, length, channels, state)


@checked
@np.errstate(all="ignore")
def siso_stages(
    x: Heads,
    dt: PerToken,
    A: PerToken,
    B: Groups,
    C: Groups,
    trap: PerToken,
    angles: Angles,
    *,
    chunk_size: int,
    B_bias: Bias | None = None,
    C_bias: Bias | None = None,
    pairing: str = "pairwise",
    initial_state: Mamba3State | None = None,
) -> SisoStages:
    """`golden.stages.siso_stages`: sums over chunks by BLAS, then passed on.

    Angles are sums in float64.
    """
    at_least("chunk_size", chunk_size, 1)
    tokens = x, dt, A, B, C, trap, angles
    options: dict[str, Any] = {"B_bias": B_bias, "C_bias": C_bias, "pairing": pairing}
    y, final = siso(*tokens, **options, initial_state=initial_state)
    start = initial_state or map_state(np.zeros_like, final)
    gamma, early = sigmoid(trap) * dt, sigmoid(-trap) * dt
    # What the token after each gives it; 0 after the last.
    scale = gamma + np.pad(early, ((0, 0), (0, 1), (0, 0)))[:, 1:]
    turn = np.pi * np.tanh(angles, dtype=np.float64) * dt[..., None]
    theta = np.cumsum(turn, axis=1) + start.angle[:, None]
    q = _rotated(C, C_bias, theta, pairing)
    k = scale[..., None] * _rotated(B, B_bias, theta, pairing)
    exponents = _in_chunks(A * dt, chunk_size)
    own = _weighted_sums(
        exponents, _in_chunks(x, chunk_size), _in_chunks(k, chunk_size)
    )
    sums = np.cumsum(exponents, axis=2, dtype=np.float64)
    before = np.einsum("bth,bhp,bhn->bhpn", early[:, :1], start.v, start.k[:, 0])
    entering = _entering(own, sums[:, :, -1], start.ssm + before)
    log_decay = sums.reshape(len(x), -1, x.shape[2])[:, : x.shape[1]]
    first = (_heads_first(v) for v in (gamma, scale, log_decay.astype(x.dtype)))
    gamma, scale, log_decay = first
    turn = turn.astype(x.dtype)
    return SisoStages(turn, gamma, scale, q, k, log_decay, entering, y, final)


def _heads_first(v: np.ndarray) -> np.ndarray:
    return np.swapaxes(v, 1, 2)


def _rotated(
    X: np.ndarray, bias: np.ndarray | None, theta: np.ndarray, pairing: str
) -> np.ndarray:
    """Return X per head, with its bias, rotated by the angles theta."""
    heads, (angles, state) = theta.shape[2], (theta.shape[3], X.shape[3])
    rotated = np.repeat(X, heads // X.shape[2], axis=2)
    rotated = rotated if bias is None else rotated + bias
    if pairing == "pairwise":
        first, second = slice(0, 2 * angles, 2), slice(1, 2 * angles, 2)
    else:
        first, second = slice(0, angles), slice(state // 2, state // 2 + angles)
    cos, sin = (f(theta).astype(X.dtype) for f in (np.cos, np.sin))
    a, b = rotated[..., first].copy(), rotated[..., second].copy()
    rotated[..., first] = a * cos - b * sin
    rotated[..., second] = a * sin + b * cos
    return rotated


def _weighted_sums(exponents: np.ndarray, x: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return what each chunk leaves if it starts from zeros: (batch, chunks, ...).

    Tokens count by their decay to the end of the chunk: its exponents are summed from
    there, as differences of sums lose digits and make NaN of infinity.
    """
    later = np.cumsum(exponents[:, :, :0:-1], axis=2, dtype=np.float64)[:, :, ::-1]
    weights = np.pad(np.exp(later), ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=1)
    x = weights[..., None].astype(x.dtype) * x
    return np.moveaxis(x, 2, 4) @ np.swapaxes(k, 2, 3)
