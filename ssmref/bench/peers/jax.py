"""JAX: the selective scan by ``lax.scan`` and by ``lax.associative_scan``, compiled.

Compilation comes before and is outside of the time.
"""

# pyright: reportAttributeAccessIssue=false
# Where JAX is not installed, pyright takes this file for it.

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..contender import Contender, Outputs

_NAMES = ("u", "dt", "A", "B", "C", "D")


def _prepared(function: Callable) -> Callable[[Mapping[str, Any]], Callable[[], Any]]:
    def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
        with jax.enable_x64(True):
            arrays = [jnp.asarray(arguments[name]) for name in _NAMES]
            compiled = jax.jit(function).lower(*arrays).compile()
        return lambda: jax.block_until_ready(compiled(*arrays))

    return prepare


def scan(u, dt, A, B, C, D):
    """Token by token: the state is all that there is of h."""

    def token(h, now):
        u, dt, B, C = now
        h = jnp.exp(dt[..., None] * A) * h + (dt * u)[..., None] * B[:, None]
        return h, jnp.einsum("bdn,bn->bd", h, C)

    start = jnp.zeros((u.shape[0], *A.shape), u.dtype)
    times = [jnp.swapaxes(M, 0, 1) for M in (u, dt, B, C)]
    h, y = jax.lax.scan(token, start, times)
    return jnp.swapaxes(y, 0, 1) + D * u, h


def associative_scan(u, dt, A, B, C, D):
    """All states at once, by composing steps in a tree."""
    decay = jnp.exp(dt[..., None] * A)
    drive = (dt * u)[..., None] * B[:, :, None]
    _, h = jax.lax.associative_scan(_compose, (decay, drive), axis=1)
    return jnp.einsum("btdn,btn->btd", h, C) + D * u, h[:, -1]


def _compose(first: Any, second: Any) -> tuple[Any, Any]:
    return first[0] * second[0], second[0] * first[1] + second[1]


def _outputs(result: Any) -> Outputs:
    y, state = result
    return {"y": np.asarray(y), "final_state": np.asarray(state)}


def _all_states(*, batch: int, length: int, channels: int, state: int) -> float:
    """Both inputs, and of each level of the tree half as much, in and out."""
    return 6 * batch * length * channels * state


CONTENDERS = (
    Contender(
        *("peer:jax:scan", "mamba1.selective_scan", _prepared(scan), _outputs),
        note="compiled before",
    ),
    Contender(
        *("peer:jax:associative_scan", "mamba1.selective_scan"),
        *(_prepared(associative_scan), _outputs, _all_states),
        note="compiled before",
    ),
)
