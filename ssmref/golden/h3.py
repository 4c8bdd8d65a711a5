"""H3: two state space models between three projections, in the place of attention.

Fu et al. 2022 (arXiv 2212.14052), section 3. A shift system remembers the latest keys,
a diagonal system (S4D) the products of keys and values. Here is what lies between the
linear layers: q, k and v go in, the argument of the output layer comes out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ._contract import at_least, checked, in_slots, separately
from ._types import Complex, Integer, Real
from .convolution import fft_convolution
from .discretize import discretize
from .layers import causal_conv1d
from .s4d import s4d_blelloch, s4d_convolution

Sequence = Real[np.ndarray, "batch length channels"]
Token = Real[np.ndarray, "batch channels"]
PerHead = Real[np.ndarray, " heads"]
PerChannel = Real[np.ndarray, " channels"]
Diagonal = Complex[np.ndarray, "heads state"]
Taps = Real[np.ndarray, "channels taps"]
Bounds = Integer[np.ndarray, " bounds"]


class H3State(NamedTuple):
    """The latest keys, newest first, and the state of each key-value pair of a head."""

    shift: Real[np.ndarray, "rows channels taps"]
    ssm: Complex[np.ndarray, "rows heads headdim headdim state"]


@checked
def h3(
    q: Sequence,
    k: Sequence,
    v: Sequence,
    dt: PerHead,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    shift_C: Taps,
    *,
    shift_D: PerChannel | None = None,
    D: PerHead | None = None,
    head_dim: int = 1,
    method: str = "bilinear",
    initial_state: H3State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, H3State]:
    """Run both recurrences one token at a time.

    ::

        s[t] = (k[t], s[t-1] without its oldest)
        k'[t] = shift_C s[t] + shift_D k[t]                 tap 0 meets k[t]
        kv[t, i, j] = k'[t, i] v[t, j]                      inside each head
        x[t, i, j] = A_bar x[t-1, i, j] + B_bar kv[t, i, j]
        o[t, i, j] = 2 Re(C x[t, i, j]) + D kv[t, i, j]
        y[t, j] = sum_i q[t, i] o[t, i, j]

    Channels are (head, i): the index inside a head runs fastest, also in y. The
    official reference path returns (i, head), against its own fast path; they agree for
    head_dim 1 only. A, B and C hold one of each conjugate pair; `method` is
    ``"bilinear"`` (H3's default, unlike S4D's) or ``"zoh"``. The official kernel is
    cut at l_max and its shift system has a B, which is (1, 0, ...) and not learned.

    H3, section 3.1 and algorithm 1; official ``H3.forward``. Raises ValueError where
    heads times head_dim are not the channels.
    """
    if cu_seqlens is not None:
        return separately(h3, locals())
    split = _splitter(q, dt, head_dim)
    A_bar, B_bar = discretize(A, B, dt, method=method)
    shift, x = _start(initial_state, split(q), A, shift_C)
    y = np.empty_like(q)
    for t in range(q.shape[1]):
        shift = np.concatenate([k[:, t, :, None], shift[..., :-1]], axis=-1)
        key = np.einsum("bdk,dk->bd", shift, shift_C)
        key = key if shift_D is None else key + shift_D * k[:, t]
        kv = np.einsum("bhi,bhj->bhij", split(key), split(v[:, t]))
        drive = np.einsum("hn,bhij->bhijn", B_bar, kv)
        x = np.einsum("hn,bhijn->bhijn", A_bar, x) + drive
        o = 2 * np.real(np.einsum("hn,bhijn->bhij", C, x))
        o = o if D is None else o + D[:, None, None] * kv
        y[:, t] = np.einsum("bhi,bhij->bhj", split(q[:, t]), o).reshape(y[:, t].shape)
    return y, H3State(shift, x)


@checked
def h3_step(
    q: Token,
    k: Token,
    v: Token,
    dt: PerHead,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    shift_C: Taps,
    state: H3State,
    *,
    shift_D: PerChannel | None = None,
    D: PerHead | None = None,
    head_dim: int = 1,
    method: str = "bilinear",
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Token, H3State]:
    """Advance `h3` by one token: a sequence of length 1."""
    if slots is not None:
        return in_slots(h3_step, locals())
    arguments = {**locals(), "initial_state": state}
    del arguments["state"], arguments["slots"]
    y, state = h3(**{**arguments, **{n: arguments[n][:, None] for n in "qkv"}})
    return y[:, 0], state


@checked
def h3_convolution(
    q: Sequence,
    k: Sequence,
    v: Sequence,
    dt: PerHead,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    shift_C: Taps,
    *,
    shift_D: PerChannel | None = None,
    D: PerHead | None = None,
    head_dim: int = 1,
    method: str = "bilinear",
    initial_state: H3State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, H3State]:
    """`h3` as two long convolutions: how the official code trains."""
    if cu_seqlens is not None:
        return separately(h3_convolution, locals())

    def shifted(padded):
        return fft_convolution(padded, shift_C)[:, shift_C.shape[1] :]

    return _by_parts(shifted, s4d_convolution, locals())


@checked
def h3_blelloch(
    q: Sequence,
    k: Sequence,
    v: Sequence,
    dt: PerHead,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    shift_C: Taps,
    *,
    shift_D: PerChannel | None = None,
    D: PerHead | None = None,
    head_dim: int = 1,
    method: str = "bilinear",
    initial_state: H3State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, H3State]:
    """`h3` by a short causal convolution and a parallel scan."""
    if cu_seqlens is not None:
        return separately(h3_blelloch, locals())

    def shifted(padded):
        return causal_conv1d(padded, shift_C[:, ::-1])[0][:, shift_C.shape[1] :]

    return _by_parts(shifted, s4d_blelloch, locals())


def _by_parts(shifted: Callable, s4d: Callable, arguments: dict):
    """Run the shift and the diagonal system over all tokens, one after the other."""
    q, k, v, dt, A, B, C = (arguments[n] for n in ("q", "k", "v", "dt", *"ABC"))
    shift_D, D, head_dim = (arguments[n] for n in ("shift_D", "D", "head_dim"))
    split, shift_C = _splitter(q, dt, head_dim), arguments["shift_C"]
    shift, x = _start(arguments["initial_state"], split(q), A, shift_C)
    padded = np.concatenate([shift[..., ::-1].swapaxes(1, 2), k], axis=1)
    key = shifted(padded) + (0 if shift_D is None else shift_D * k)
    kv = np.einsum("bthi,bthj->bthij", split(key), split(v))
    flat = kv.reshape(*kv.shape[:2], len(dt) * head_dim**2)
    dt, A, B, C = (np.repeat(X, head_dim**2, axis=0) for X in (dt, A, B, C))
    o, x = s4d(
        flat,
        *(dt, A, B, C),
        D=None if D is None else np.repeat(D, head_dim**2),
        method=arguments["method"],
        initial_state=x.reshape(len(x), *A.shape),
    )
    y = np.einsum("bthi,bthij->bthj", split(q), o.reshape(kv.shape)).reshape(q.shape)
    shift = padded[:, k.shape[1] :][:, ::-1].swapaxes(1, 2)
    return y, H3State(shift, x.reshape(len(x), *kv.shape[2:], A.shape[1]))


def _splitter(q, dt, head_dim: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that splits channels into (heads, head_dim)."""
    heads, channels = len(dt), q.shape[-1]
    at_least("head_dim", head_dim, 1)
    if heads * head_dim != channels:
        raise ValueError(
            f"head_dim is {head_dim} with {heads} heads from dt; together they need "
            f"to be the {channels} channels"
        )
    return lambda array: array.reshape(*array.shape[:-1], heads, head_dim)


def _start(initial_state, q, A, shift_C) -> tuple[np.ndarray, np.ndarray]:
    """Return the initial shift and diagonal states, for q split into heads."""
    at_least("the taps of shift_C", shift_C.shape[1], 1)
    batch, _, heads, head_dim = q.shape
    if initial_state is not None:
        if initial_state.ssm.shape[2] != head_dim:
            raise ValueError(
                f"initial_state.ssm has headdim {initial_state.ssm.shape[2]}; "
                f"it needs the head_dim {head_dim}"
            )
        return initial_state
    shift = np.zeros((batch, *shift_C.shape), q.dtype)
    ssm = np.zeros((batch, heads, head_dim, head_dim, A.shape[1]), A.dtype)
    return H3State(shift, ssm)
