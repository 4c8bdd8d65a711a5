"""The inside of Mamba-3, laid open for bugs that sit there."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...golden._mamba3_parts import (
    Mamba3State,
    from_ranks,
    skip_norm_gate,
    start,
    to_ranks,
)
from ...golden.layers import pi, sigmoid
from ...golden.scan import linear_scan
from .bug import Arguments, Wrap, instead
from .gates import is_mimo
from .tokens import serving

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def rates(a: Arguments) -> np.ndarray:
    """Return by how much angles grow with each token."""
    return pi(a["dt"].dtype) * np.tanh(a["angles"]) * a["dt"][..., None]


def weights(a: Arguments) -> Parts:
    """Return alpha, beta and gamma of each token and head."""
    return weighted(a, sigmoid(a["trap"]))


def weighted(a: Arguments, weight: np.ndarray) -> Parts:
    """Return alpha, beta and gamma for weights of the current token."""
    alpha = np.exp(a["A"] * a["dt"])
    return alpha, (1 - weight) * a["dt"] * alpha, weight * a["dt"]


def turned(v: np.ndarray, theta: np.ndarray, pairing: str, bias: Any = 0) -> np.ndarray:
    """Return keys or queries (ranks before heads) with bias, rotated."""
    v, count = v + bias, theta.shape[-1]
    half = v.shape[-1] // 2
    one, two = slice(0, 2 * count, 2), slice(1, 2 * count, 2)
    if pairing == "halved":
        one, two = slice(0, count), slice(half, half + count)
    return rotated(v, theta, one, two)


def rotated(v: np.ndarray, theta: np.ndarray, one: slice, two: slice) -> np.ndarray:
    """Rotate these coordinates by angles that have no axis of ranks."""
    cos, sin = np.cos(theta)[..., None, :, :], np.sin(theta)[..., None, :, :]
    a, b, v = v[..., one], v[..., two], v.copy()
    v[..., one], v[..., two] = a * cos - b * sin, a * sin + b * cos
    return v


def earlier(K: np.ndarray, now: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the key (or value) before each token: that of the state, then K."""
    del now
    return np.concatenate([first[:, None], K], axis=1)[:, :-1]


def trapezoid(
    rates: Callable[[Arguments], np.ndarray] = rates,
    weights: Callable[[Arguments], Parts] = weights,
    turned: Callable[..., np.ndarray] = turned,
    queries: Callable[..., np.ndarray] | None = None,
    accumulate: Callable[..., np.ndarray] = np.cumsum,
    before: Callable[..., np.ndarray] = earlier,
) -> Wrap:
    """Return the wrap that computes Mamba-3 with one of its pieces replaced.

    `turned` rotates keys, and queries where `queries` is None. `before` sees the
    rotated keys, the arguments with the angles, and the key of the state.
    """

    def scan(**arguments: Any) -> tuple[np.ndarray, Mamba3State]:
        a = opened(arguments)
        x, pairing, heads = a["x"], a["pairing"], a["x"].shape[2]
        s = start(a["initial_state"], x, a["angles"], a["B"].shape[2], a["B"].shape[4])
        theta = s.angle[:, None] + accumulate(rates(a), axis=1)
        K, Q = (
            turn(np.repeat(a[n], heads // a[n].shape[3], axis=3), theta, pairing, b)
            for turn, n, b in (
                (turned, "B", a["K_bias"]),
                (queries or turned, "C", a["Q_bias"]),
            )
        )
        V, v = (to_ranks(part, a["mimo_x"], K.shape[2]) for part in (x, s.v))
        alpha, beta, gamma = (w[..., None, None] for w in weights(a))
        past = before(K, (a, theta), s.k)
        drive = beta * _outer(earlier(V, V, v), past) + gamma * _outer(V, K)
        h = linear_scan(np.broadcast_to(alpha, drive.shape), drive, initial_state=s.ssm)
        y = np.einsum("bthpn,btrhn->btrhp", h, Q)
        z = None if a["z"] is None else to_ranks(a["z"], a["mimo_z"], K.shape[2])
        y = skip_norm_gate(y, V, a["D"], z, a["norm_weight"], a["norm_eps"])
        angle = last(s.angle, theta) % (2 * pi(x.dtype))
        state = Mamba3State(angle, last(s.ssm, h), last(s.k, K), last(s.v, x))
        return from_ranks(y, a["mimo_o"]).astype(x.dtype), state

    return instead(serving(scan))


def _outer(v: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.einsum("btrhp,btrhn->bthpn", v, k)


def last(first: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return the last token, or what was before where there is none."""
    return np.concatenate([first[:, None], tokens], axis=1)[:, -1]


def opened(arguments: Arguments) -> Arguments:
    """Return the arguments as those of MIMO, with every option and summed biases."""
    names = ("D", "z", "norm_weight", "mimo_x", "mimo_z", "mimo_o", "initial_state")
    a: Arguments = {name: None for name in names} | {"norm_eps": 1e-5} | arguments
    mimo = is_mimo(arguments)
    a.setdefault("pairing", "halved" if mimo else "pairwise")
    for name, bias in (("K_bias", "B_bias"), ("Q_bias", "C_bias")):
        given = arguments.get(bias)
        given = given if given is None or mimo else given[:, None]
        a[name] = 0 if given is None else np.swapaxes(given, 0, 1)
    if not mimo:
        a |= {"B": a["B"][:, :, None], "C": a["C"][:, :, None]}
    return a
