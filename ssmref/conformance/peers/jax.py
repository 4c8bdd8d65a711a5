"""Selective scans by ``jax.lax.associative_scan`` under the names of golden.

JAX itself has no state space models. Under judgement are its associative scan and the
functions of ``jax.numpy`` and ``jax.nn`` on the CPU, in the way that they are put
together in most ports to JAX. In half precision everything between the inputs and the
outputs is float32.
"""

# pyright: reportAttributeAccessIssue=false
# Where JAX is not installed, pyright takes this file for it.

import math
from typing import Any

import numpy as np

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise ImportError(
        "the adapter for jax needs the package jax; "
        "install it by: pip install 'ssmref[peers]'"
    ) from error


def selective_scan(
    u: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    *,
    D: np.ndarray | None = None,
    z: np.ndarray | None = None,
    dt_bias: np.ndarray | None = None,
    dt_softplus: bool = False,
    initial_state: np.ndarray | None = None,
    cu_seqlens: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.mamba1.selective_scan`."""
    with jax.enable_x64(True):
        x, step = _array(u), _step_size(dt, dt_bias, dt_softplus)
        B_, C_ = (_per_channel(_array(X), u.shape) for X in (B, C))
        decay = jnp.exp(step[..., None] * _array(A))
        drive = (step * x)[..., None] * B_
        h, final = _states(decay, drive, initial_state, cu_seqlens)
        y = (C_ * h).sum(axis=-1)
        y = 2 * y.real if jnp.iscomplexobj(y) else y
        return _numpy(_skip_and_gate(y, x, D, z), u), np.asarray(final)


def ssd(
    x: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    *,
    D: np.ndarray | None = None,
    z: np.ndarray | None = None,
    dt_bias: np.ndarray | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: np.ndarray | None = None,
    cu_seqlens: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.mamba2.ssd`."""
    heads = x.shape[2]
    with jax.enable_x64(True):
        inputs = _array(x)
        step = jnp.clip(_step_size(dt, dt_bias, dt_softplus), *dt_limit)
        B_, C_ = (jnp.repeat(_array(X), heads // X.shape[2], axis=2) for X in (B, C))
        drive = jnp.einsum("bth,bthp,bthn->bthpn", step, inputs, B_)
        decay = jnp.exp(step * _array(A))[..., None, None]
        decay = jnp.broadcast_to(decay, drive.shape)
        h, final = _states(decay, drive, initial_state, cu_seqlens)
        y = jnp.einsum("bthpn,bthn->bthp", h, C_)
        skip = D if D is None or D.ndim == 2 else D[:, None]
        return _numpy(_skip_and_gate(y, inputs, skip, z), x), np.asarray(final)


def _states(
    decay: Any,
    drive: Any,
    initial_state: np.ndarray | None,
    cu_seqlens: np.ndarray | None,
) -> tuple[Any, Any]:
    """Return all states, and the last one of each sequence.

    The initial state is part of a sequence's first drive. Packed sequences are one
    scan: nothing decays into the first token of a sequence.
    """
    rows, first, last = _bounds(drive.shape, cu_seqlens)
    shape = (len(rows), *drive.shape[2:])
    dtype = jnp.result_type(decay, drive)
    start = jnp.zeros(shape, dtype) if initial_state is None else _array(initial_state)
    filled = np.flatnonzero(last >= first)
    if not filled.size:
        return drive.astype(dtype), start
    rows, first, last = rows[filled], first[filled], last[filled]
    entering = decay[rows, first] * start[filled]
    drive = drive.astype(dtype).at[rows, first].add(entering)
    decay = decay.at[rows, first].set(0)
    _, h = jax.lax.associative_scan(_compose, (decay, drive), axis=1)
    return h, start.astype(dtype).at[filled].set(h[rows, last])


def _bounds(
    shape: tuple[int, ...], cu_seqlens: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the row, the first and the last token of each sequence."""
    if cu_seqlens is None:
        rows = np.arange(shape[0])
        return rows, np.zeros_like(rows), np.full_like(rows, shape[1] - 1)
    return np.zeros(len(cu_seqlens) - 1, int), cu_seqlens[:-1], cu_seqlens[1:] - 1


def _compose(first: Any, second: Any) -> tuple[Any, Any]:
    """Compose two affine steps, `first` before `second`."""
    return first[0] * second[0], second[0] * first[1] + second[1]


def _step_size(dt: np.ndarray, bias: np.ndarray | None, softplus: bool) -> Any:
    step = _array(dt) if bias is None else _array(dt) + _array(bias)
    if not softplus:
        return step
    # With the threshold of the official code: in float64 the difference shows.
    return jnp.where(step > 20, step, jax.nn.softplus(step))


def _per_channel(X: Any, shape: tuple[int, ...]) -> Any:
    """Return B or C of Mamba-1 as (batch, length, channels, state)."""
    if X.ndim == 2:
        return jnp.broadcast_to(X, (*shape, X.shape[1]))
    X = X[:, :, None] if X.ndim == 3 else X
    return jnp.repeat(X, shape[2] // X.shape[2], axis=2)


def _skip_and_gate(y: Any, x: Any, D: np.ndarray | None, z: np.ndarray | None) -> Any:
    y = y if D is None else y + _array(D) * x
    return y if z is None else y * jax.nn.silu(_array(z))


def _array(array: np.ndarray) -> Any:
    """Return an array of JAX, half precision as float32."""
    half = array.dtype.name in ("bfloat16", "float16")
    return jnp.asarray(array.astype(np.float32) if half else array)


def _numpy(array: Any, like: np.ndarray) -> np.ndarray:
    """Return y in the dtype of the input."""
    return np.asarray(array).astype(like.dtype)
