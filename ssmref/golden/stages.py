"""What chunked algorithms compute on the way to y: stages to bisect a port with.

The first stage that is wrong is where the bug is. Layouts are those of the official
kernels; a stage is defined by what it means, not by how a kernel gets it.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ._contract import at_least, checked, expand_groups
from ._mamba3_parts import Mamba3State, outer, plus, rotate, start_siso
from ._types import Real
from .layers import pi, segsum, sigmoid
from .mamba1 import _step_size as step_size
from .mamba1 import selective_scan
from .mamba2 import _in_chunks as in_chunks
from .mamba2 import _step_size as limited_step_size
from .mamba2 import ssd, ssd_chunked
from .mamba3 import siso, siso_chunked
from .scan import linear_scan, linear_scan_blelloch

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
    """The stages of SSD, in their order.

    `dt` is what the recurrence uses, `log_decay` the sum of dt A from the start of a
    chunk, inclusive (dA_cumsum of the official code). `chunk_states` is what the
    tokens of a chunk alone leave at its end, `entering_states` the state before its
    first token.
    """

    dt: Chunks
    log_decay: Chunks
    chunk_states: ChunkStates
    entering_states: ChunkStates
    y: Heads
    final_state: State


class ScanStages(NamedTuple):
    """The stages of the selective scan: ``h[t] = decay[t] h[t-1] + drive[t]``."""

    dt: Channels
    decay: States
    drive: States
    states: States
    y: Channels
    final_state: Real[np.ndarray, "batch channels state"]


class SisoStages(NamedTuple):
    """The stages of Mamba-3 with one input per head, in their order.

    `turn` is how far each token turns the angles, `gamma` the weight of a token in its
    own output, `scale` its weight from then on, `q` and `k` are rotated with their
    biases and k is scaled. `log_decay` starts anew with each chunk; `entering_states`
    contain the token before the chunk with its full weight.
    """

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
    """Return the stages of SSD in chunks.

    ::

        dt = clip(softplus(dt + dt_bias), dt_limit)
        log_decay[i] = (dt[0] + ... + dt[i]) A             within the chunk
        chunk_states = final state of ssd over the chunk, from zeros
        entering_states = final state of ssd over all tokens before the chunk

    Mamba-2 (arXiv 2405.21060, section 6); official ``_chunk_cumsum_fwd``,
    ``_chunk_state_fwd`` and ``_state_passing_fwd``. A ragged last chunk is filled up:
    dt is 0 there and log_decay stays. Without the skip D and the gate z, which come
    after. Raises ValueError for a chunk_size below 1.
    """
    at_least("chunk_size", chunk_size, 1)
    dt = limited_step_size(dt, dt_bias, dt_softplus, dt_limit)
    whole = partial(ssd, dt_limit=dt_limit, initial_state=initial_state)
    y, final = whole(x, dt, A, B, C)
    starts = range(0, x.shape[1], chunk_size)
    own = np.zeros_like(x, shape=(len(x), len(starts), *final.shape[1:]))
    entering = np.zeros_like(own)
    for c, first in enumerate(starts):
        before, now = slice(first), slice(first, first + chunk_size)
        x_now, dt_now, B_now, C_now = (v[:, now] for v in (x, dt, B, C))
        _, own[:, c] = ssd(x_now, dt_now, A, B_now, C_now, dt_limit=dt_limit)
        x_old, dt_old, B_old, C_old = (v[:, before] for v in (x, dt, B, C))
        _, entering[:, c] = whole(x_old, dt_old, A, B_old, C_old)
    dt, log_decay = _in_chunks(dt, A, chunk_size)
    return SSDStages(dt, log_decay, own, entering, y, final)


@checked
def ssd_stages_passing(
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
    """`ssd_stages` as kernels get them: weighted sums, then states passed on."""
    at_least("chunk_size", chunk_size, 1)
    dt = limited_step_size(dt, dt_bias, dt_softplus, dt_limit)
    chunked = partial(ssd_chunked, dt_limit=dt_limit, chunk_size=chunk_size)
    y, final = chunked(x, dt, A, B, C, initial_state=initial_state)
    dt, log_decay = _in_chunks(dt, A, chunk_size)
    B = in_chunks(expand_groups("B", B, x.shape[2], axis=2), chunk_size)
    weights = np.exp(segsum(dt * A[:, None, None])[..., -1, :]) * dt
    own = np.einsum("bhcs,bcshp,bcshn->bchpn", weights, in_chunks(x, chunk_size), B)
    kept = np.swapaxes(np.exp(log_decay[..., -1]), 1, 2)[..., None, None]
    kept = np.broadcast_to(kept, own.shape)
    passed = linear_scan(kept, own, initial_state=initial_state)
    first = np.zeros_like(final) if initial_state is None else initial_state
    entering = np.concatenate([first[:, None], passed], axis=1)[:, :-1]
    return SSDStages(dt, log_decay, own, entering, y, final)


def _in_chunks(dt, A, chunk_size) -> tuple[np.ndarray, np.ndarray]:
    """Return dt and the sums of dt A within chunks, heads before chunks."""
    dt = np.moveaxis(in_chunks(dt, chunk_size), 3, 1)
    return dt, np.cumsum(dt * A[:, None, None], axis=-1)


@checked
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
    """Return the stages of the selective scan.

    ::

        dt = softplus(dt + dt_bias)
        decay[t], drive[t] = exp(dt[t] A), dt[t] B[t] u[t]
        states[t] = decay[t] states[t-1] + drive[t]
        y[t] = C[t] states[t]

    Mamba section 3.2, algorithm 2 (arXiv 2312.00752), of real A, without the skip D and
    the gate z, which come after.
    """
    options = {"dt_bias": dt_bias, "dt_softplus": dt_softplus}
    y, final = selective_scan(u, dt, A, B, C, **options, initial_state=initial_state)
    dt, decay, drive = _discretised(u, dt, A, B, dt_bias, dt_softplus)
    states = linear_scan(decay, drive, initial_state=initial_state)
    return ScanStages(dt, decay, drive, states, y, final)


@checked
def selective_scan_stages_blelloch(
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
    """`selective_scan_stages` with the states of Blelloch's scan."""
    dt, decay, drive = _discretised(u, dt, A, B, dt_bias, dt_softplus)
    start = np.zeros_like(decay, shape=(len(u), *A.shape))
    start = start if initial_state is None else initial_state
    states = linear_scan_blelloch(decay, drive, initial_state=start)
    y = np.einsum("btdn,btdn->btd", _per_channel("C", C, u), states)
    final = np.concatenate([start[:, None], states], axis=1)[:, -1]
    return ScanStages(dt, decay, drive, states, y, final)


def _discretised(u, dt, A, B, dt_bias, dt_softplus) -> tuple[np.ndarray, ...]:
    """Return dt, and decay and drive of every token, channel and state."""
    dt = step_size(dt, dt_bias, dt_softplus)
    return dt, np.exp(dt[..., None] * A), (dt * u)[..., None] * _per_channel("B", B, u)


def _per_channel(name: str, X: np.ndarray, u: np.ndarray) -> np.ndarray:
    grouped = X if X.ndim == 4 else X[:, :, None]
    return expand_groups(name, grouped, u.shape[2], axis=2)


@checked
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
    """Return the stages of Mamba-3 with one input per head in chunks.

    ::

        turn[t] = pi tanh(angles[t]) dt[t]
        theta[t] = theta[t-1] + turn[t]
        gamma[t] = lambda[t] dt[t]                          lambda = sigmoid(trap)
        next[t] = (1 - lambda[t+1]) dt[t+1]                 0 after the last token
        scale[t] = gamma[t] + next[t]
        q[t], k[t] = rotary(C[t], theta[t]), scale[t] rotary(B[t], theta[t])
        log_decay[i] = A[0] dt[0] + ... + A[i] dt[i]        within the chunk
        entering_states = h[t] + next[t] x[t] rotary(B[t], theta[t])^T

    B and C with their biases, t the token before the chunk, h as in `siso`. Official
    ``mamba3_siso_fwd``, which stores log_decay times log2(e), has k, q and states in
    the dtype of x and takes theta for angles. Without D, norm and gate, which come
    after. Raises ValueError for a chunk_size below 1.
    """
    at_least("chunk_size", chunk_size, 1)
    arguments = locals()
    y, final = _siso(siso, arguments, x.shape[1])
    turn, gamma, early, q, k = _of_tokens(arguments)
    scale = gamma + _next(early)
    starts = range(0, x.shape[1], chunk_size)
    entering = np.zeros_like(x, shape=(len(x), len(starts), *final.ssm.shape[1:]))
    for c, first in enumerate(starts):
        _, state = _siso(siso, arguments, first)
        before = outer(state.v, state.k[:, 0])
        entering[:, c] = state.ssm + early[:, first, :, None, None] * before
    sums = _sums_in_chunks(A * dt, chunk_size)
    k, gamma, scale = scale[..., None] * k, _heads_first(gamma), _heads_first(scale)
    return SisoStages(turn, gamma, scale, q, k, sums, entering, y, final)


@checked
def siso_stages_scaled(
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
    """`siso_stages` as kernels get them: one recurrence over scaled keys."""
    at_least("chunk_size", chunk_size, 1)
    arguments = locals()
    turn, gamma, early, q, k = _of_tokens(arguments)
    y, final = _siso(siso_chunked, arguments, x.shape[1])
    scale = gamma + _next(early)
    k = scale[..., None] * k
    _, h, k_before, v_before = start_siso(initial_state, x, angles, B.shape[3])
    h = h + np.einsum("bth,bhp,bhn->bhpn", early[:, :1], v_before, k_before)
    decay, drive = np.exp(A * dt)[..., None, None], outer(x, k)
    states = linear_scan(np.broadcast_to(decay, drive.shape), drive, initial_state=h)
    before = np.concatenate([h[:, None], states], axis=1)[:, :-1]
    sums = _sums_in_chunks(A * dt, chunk_size)
    entering, gamma, scale = before[:, ::chunk_size], *map(_heads_first, (gamma, scale))
    return SisoStages(turn, gamma, scale, q, k, sums, entering, y, final)


def _siso(form: Callable, a: Mapping[str, Any], stop: int) -> tuple:
    """Run a form of SISO on the first tokens."""
    tokens = {n: a[n][:, :stop] for n in ("x", "dt", "B", "C", "A", "trap", "angles")}
    names = ("B_bias", "C_bias", "pairing", "initial_state")
    return form(**tokens, **{name: a[name] for name in names})


def _of_tokens(a: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    """Return turn, gamma, the weight of the token before, and rotated q and k."""
    dt, weight, heads = a["dt"], sigmoid(a["trap"]), a["x"].shape[2]
    turn = pi(dt.dtype) * np.tanh(a["angles"]) * dt[..., None]
    theta = np.cumsum(turn, axis=1)
    if a["initial_state"] is not None:
        theta = theta + a["initial_state"].angle[:, None]
    B, C = (expand_groups(name, a[name], heads, axis=2) for name in "BC")
    q = rotate(plus(C, a["C_bias"]), theta, a["pairing"])
    k = rotate(plus(B, a["B_bias"]), theta, a["pairing"])
    return turn, weight * dt, (1 - weight) * dt, q, k


def _next(early: np.ndarray) -> np.ndarray:
    """Return what the token after each gives it; 0 after the last."""
    return np.pad(early, ((0, 0), (0, 1), (0, 0)))[:, 1:]


def _sums_in_chunks(a: np.ndarray, chunk_size: int) -> np.ndarray:
    sums = np.cumsum(in_chunks(a, chunk_size), axis=2)
    return _heads_first(sums.reshape(len(a), -1, a.shape[2])[:, : a.shape[1]])


def _heads_first(v: np.ndarray) -> np.ndarray:
    return np.swapaxes(v, 1, 2)
