"""Mamba-3 in two other forms, chunked and rotating.

SISO is MIMO with one rank here; the definitions in `mamba3` keep them apart.
"""

from typing import Any, NamedTuple

import numpy as np

from ._contract import at_least, expand_groups
from ._mamba3_parts import (
    Mamba3State,
    check_one_rank,
    from_ranks,
    plus_ranked,
    rotate,
    skip_norm_gate,
    start,
    to_ranks,
)
from .layers import pi, segsum, sigmoid


class Tokens(NamedTuple):
    """The tokens of a call, in ranks, and the state before them."""

    a: np.ndarray
    before: np.ndarray
    gamma: np.ndarray
    turn: np.ndarray
    K: np.ndarray
    Q: np.ndarray
    V: np.ndarray
    state: Mamba3State


def chunked(
    arguments: dict[str, Any], chunk_size: int
) -> tuple[np.ndarray, Mamba3State]:
    """Attention inside chunks, states between them.

    A key counts with gamma at its own token and, from the next token on, also with
    what the trapezoid gives it there::

        scale[t] = gamma[t] + (1 - lambda[t+1]) dt[t+1]     the last one: gamma[t]
        H[t] = alpha[t] H[t-1] + scale[t] v[t] k[t]^T

    Official ``mamba3_siso_fwd`` and ``mamba_mimo_forward``.
    """
    at_least("chunk_size", chunk_size, 1)
    s, pairing = _tokens(arguments), arguments["pairing"]
    theta, h, k, v = s.state
    thetas = theta[:, None] + np.cumsum(s.turn, axis=1)
    K, Q = (rotate(X, thetas[:, :, None], pairing) for X in (s.K, s.Q))
    # Entry t is the weight of token t-1 as the one before; none follows the last.
    before = np.pad(s.before, ((0, 0), (0, 1), (0, 0)))
    scale = s.gamma + before[:, 1:]
    v_ranks = to_ranks(v, arguments["mimo_x"], K.shape[2])
    h = h + np.einsum("bh,brhp,brhn->bhpn", before[:, 0], v_ranks, k)
    y = np.empty_like(s.V)
    for first in range(0, y.shape[1], chunk_size):
        now = slice(first, first + chunk_size)
        one = (X[:, now] for X in (s.a, scale, s.gamma, K, Q, s.V))
        y[:, now], h = _chunk(h, *one)
    angle = _last(theta, thetas) % (2 * pi(y.dtype))
    state = Mamba3State(angle, h, _last(k, K), _last(v, arguments["x"]))
    return _output(arguments, y, s.V), state


def _chunk(h, a, scale, gamma, K, Q, V) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs of one chunk and the state after it, from that before it."""
    a, scale, gamma = (np.swapaxes(v, 1, 2) for v in (a, scale, gamma))
    decay = np.exp(segsum(a))
    same = np.eye(a.shape[2], dtype=bool)
    mask = np.where(same, gamma[:, :, None], decay * scale[:, :, None])
    scores = np.einsum("btrhn,bsuhn,bhts->bhtrsu", Q, K, mask)
    y = np.einsum("bhtrsu,bsuhp->btrhp", scores, V)
    kept = np.exp(np.cumsum(a, axis=2))
    y += np.einsum("bht,btrhn,bhpn->btrhp", kept, Q, h)
    added = np.einsum("bhs,bsuhp,bsuhn->bhpn", decay[:, :, -1] * scale, V, K)
    return y, kept[:, :, -1, None, None] * h + added


def rotating(arguments: dict[str, Any]) -> tuple[np.ndarray, Mamba3State]:
    """A recurrence whose state rotates instead of keys and queries.

    With k, q not rotated and turn[t] = pi tanh(angles[t]) dt[t]::

        g[t] = rotary(alpha g[t-1] + beta v[t-1] k[t-1]^T, -turn[t]) + gamma v[t] k[t]^T
        y[t] = g[t] q[t]

    The complex state matrix of which the rotary form is the real one; g is h rotated
    back by theta, which occurs only where states come in and go out.
    """
    s, pairing, x = _tokens(arguments), arguments["pairing"], arguments["x"]
    theta, h, k, v = s.state
    g, k = rotate(h, -theta[:, :, None], pairing), rotate(k, -theta[:, None], pairing)
    v_ranks = to_ranks(v, arguments["mimo_x"], k.shape[1])
    y = np.empty_like(s.V)
    for t in range(y.shape[1]):
        alpha = np.exp(s.a[:, t, :, None, None])
        early = np.einsum("bh,brhp,brhn->bhpn", s.before[:, t], v_ranks, k)
        new = np.einsum("bh,brhp,brhn->bhpn", s.gamma[:, t], s.V[:, t], s.K[:, t])
        g = rotate(alpha * (g + early), -s.turn[:, t, :, None], pairing) + new
        y[:, t] = np.einsum("bhpn,brhn->brhp", g, s.Q[:, t])
        k, v_ranks = s.K[:, t], s.V[:, t]
    theta = theta + np.sum(s.turn, axis=1)
    h, k = rotate(g, theta[:, :, None], pairing), rotate(k, theta[:, None], pairing)
    angle = theta % (2 * pi(y.dtype))
    return _output(arguments, y, s.V), Mamba3State(angle, h, k, _last(v, x))


def as_mimo(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of SISO as those of MIMO with one rank."""
    check_one_rank(arguments["initial_state"])
    ranked = {name: arguments[name][:, :, None] for name in ("B", "C")}
    for name in ("B_bias", "C_bias"):
        bias = arguments[name]
        ranked[name] = None if bias is None else bias[:, None]
    return {**arguments, **ranked, "mimo_x": None, "mimo_z": None, "mimo_o": None}


def _tokens(arguments: dict[str, Any]) -> Tokens:
    x, dt, A, B, C, trap, angles = (
        arguments[n] for n in ("x", "dt", "A", "B", "C", "trap", "angles")
    )
    B, C = (expand_groups(n, X, x.shape[2], axis=3) for n, X in (("B", B), ("C", C)))
    weight = sigmoid(trap)
    return Tokens(
        a=A * dt,
        before=(1 - weight) * dt,
        gamma=weight * dt,
        turn=pi(x.dtype) * np.tanh(angles) * dt[..., None],
        K=plus_ranked(B, arguments["B_bias"]),
        Q=plus_ranked(C, arguments["C_bias"]),
        V=to_ranks(x, arguments["mimo_x"], B.shape[2]),
        state=start(arguments["initial_state"], x, angles, B.shape[2], B.shape[4]),
    )


def _output(arguments: dict[str, Any], y: np.ndarray, V: np.ndarray) -> np.ndarray:
    D, z, mimo_z = (arguments[n] for n in ("D", "z", "mimo_z"))
    z = None if z is None else to_ranks(z, mimo_z, y.shape[2])
    y = skip_norm_gate(y, V, D, z, arguments["norm_weight"], arguments["norm_eps"])
    return from_ranks(y, arguments["mimo_o"])


def _last(before: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return the last token, or what was before where there is none."""
    return np.concatenate([before[:, None], tokens], axis=1)[:, -1]
