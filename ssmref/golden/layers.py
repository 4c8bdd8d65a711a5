"""What surrounds a state space model: activations, convolution, rotary, norms."""

import numpy as np

from ._contract import at_least, checked, choose, in_slots, separately
from ._types import Integer, Real


def pi(dtype: np.dtype) -> np.floating:
    """Return pi in the precision of `dtype` (``np.pi`` stops at float64)."""
    real = np.finfo(dtype).dtype.type
    return np.arctan2(real(0), real(-1))


@checked
def softplus(
    x: Real[np.ndarray, "*shape"], *, threshold: float | None = 20.0
) -> Real[np.ndarray, "*shape"]:
    """Return the softplus of x.

    ::

        softplus(x) = x               x > threshold
                      log(1 + e^x)    otherwise, as max(x, 0) + log1p(e^-|x|)

    The threshold 20 (exclusive) is that of the official CUDA scan and of
    ``torch.nn.functional.softplus``; None is the exact function.
    """
    smooth = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return smooth if threshold is None else np.where(x > threshold, x, smooth)


@checked
def softplus_inverse(y: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """Return x with softplus(x) = y for y > 0: ``y + log(-expm1(-y))``.

    The initialisation of dt_bias in the official Mamba modules. NaN where y <= 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(y > 0, y + np.log(-np.expm1(-y)), np.nan).astype(y.dtype)


@checked
def sigmoid(x: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """Return ``1 / (1 + e^-x)``, by e^-|x| so that nothing overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


@checked
def silu(x: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """Return ``x sigmoid(x)``, the gate of every Mamba."""
    return x * sigmoid(x)


@checked
def heavy_tail(x: Real[np.ndarray, "*shape"]) -> Real[np.ndarray, "*shape"]:
    """Return the activation of A in Mamba-3: positive, slope 1 at 0.

    ::

        f(x) = 1 + x          x >= 0
               1 / (1 - x)    x < 0

    Official code since pull request 962 of state-spaces/mamba; softplus before.
    """
    return np.maximum(x, 0) + 1 / (1 - np.minimum(x, 0))


@checked
def segsum(
    a: Real[np.ndarray, "*batch length"],
) -> Real[np.ndarray, "*batch length length"]:
    """Return the sums of a over all segments; ``exp(segsum(a))`` is the decay matrix.

    ::

        S[i, j] = a[j+1] + ... + a[i]    i > j
                  0                      i = j
                  -inf                   i < j

    Mamba-2 (arXiv 2405.21060), listing 1: masked before the cumulative sum, so that
    no large numbers are subtracted.
    """
    length = a.shape[-1]
    later = np.tri(length, k=-1, dtype=bool)
    terms = np.where(later, a[..., :, None], 0)
    sums = np.cumsum(terms, axis=-2)
    return np.where(np.tri(length, dtype=bool), sums, -np.inf).astype(a.dtype)


@checked
def rotary(
    v: Real[np.ndarray, "*batch state"],
    theta: Real[np.ndarray, "*batch angles"],
    *,
    pairing: str = "pairwise",
) -> Real[np.ndarray, "*batch state"]:
    """Rotate pairs of coordinates of v by the angles theta (radians).

    ::

        a' = a cos(theta) - b sin(theta)
        b' = a sin(theta) + b cos(theta)

    Pair i is (a, b) = (v[2i], v[2i+1]) where `pairing` is ``"pairwise"`` (Mamba-3
    SISO) and (v[i], v[i + state/2]) where it is ``"halved"`` (Mamba-3 MIMO).
    Coordinates beyond the given angles pass through. Raises ValueError for an odd
    state or more angles than pairs.
    """
    first, second = pairs(v.shape[-1], theta.shape[-1], pairing)
    a, b, cos, sin = v[..., first], v[..., second], np.cos(theta), np.sin(theta)
    rotated = v.copy()
    rotated[..., first] = a * cos - b * sin
    rotated[..., second] = a * sin + b * cos
    return rotated


def pairs(state: int, angles: int, pairing: str) -> tuple[slice, slice]:
    """Return where the first and second coordinates of rotary pairs lie."""
    choose("pairing", pairing, "pairwise", "halved")
    if state % 2 or angles > state // 2:
        raise ValueError(
            f"theta has {angles} angles for a state of {state}; the state needs to be "
            "even and have two coordinates per angle"
        )
    if pairing == "pairwise":
        return slice(0, 2 * angles, 2), slice(1, 2 * angles, 2)
    return slice(0, angles), slice(state // 2, state // 2 + angles)


@checked
def rotary_attention(
    x: Real[np.ndarray, "batch length heads headdim"],
    positions: Integer[np.ndarray, " length"] | Integer[np.ndarray, "batch length"],
    *,
    dim: int,
    base: float = 10000.0,
    interleaved: bool = False,
) -> Real[np.ndarray, "batch length heads headdim"]:
    """Rotate queries or keys of attention by their position (RoPE).

    ::

        theta[t, i] = positions[t] base^(-2i / dim)        i < dim / 2

    Pairs lie inside the first `dim` coordinates, (i, i + dim/2) as in GPT-NeoX and
    LLaMA or (2i, 2i+1) if `interleaved`; the rest passes. Su et al. 2021
    (arXiv 2104.09864), equation 34. This differs from the halved pairing of Mamba-3,
    which pairs across the whole state. Raises ValueError for a dim that is odd,
    negative or beyond headdim.
    """
    at_least("dim", dim, 0)
    if dim % 2 or dim > x.shape[-1]:
        raise ValueError(
            f"dim is {dim}; it needs to be even and at most headdim = {x.shape[-1]}"
        )
    exponent = -np.arange(0, dim, 2).astype(x.dtype) / max(dim, 1)
    theta = positions[..., None].astype(x.dtype) * x.dtype.type(base) ** exponent
    theta = np.broadcast_to(theta[..., None, :], (*x.shape[:3], dim // 2))
    pairing = "pairwise" if interleaved else "halved"
    rotated = rotary(x[..., :dim], theta, pairing=pairing)
    return np.concatenate([rotated, x[..., dim:]], axis=-1)


def _width(weight: np.ndarray) -> int:
    at_least("the width of weight", weight.shape[1], 1)
    return weight.shape[1]


def _activate(y: np.ndarray, activation: str | None) -> np.ndarray:
    choose("activation", activation, None, "silu")
    return y if activation is None else silu(y)


@checked
def causal_conv1d(
    x: Real[np.ndarray, "batch length channels"],
    weight: Real[np.ndarray, "channels width"],
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    activation: str | None = None,
    initial_state: Real[np.ndarray, "sequences width-1 channels"] | None = None,
    cu_seqlens: Integer[np.ndarray, " bounds"] | None = None,
) -> tuple[
    Real[np.ndarray, "batch length channels"],
    Real[np.ndarray, "sequences width-1 channels"],
]:
    """Convolve each channel with its own short causal filter.

    ::

        y[t] = act(bias + sum_k weight[k] x[t - (width-1) + k])

    A cross-correlation: the last tap meets the current input. Inputs before the first
    come from `initial_state` (oldest first, raw; zeros where None); the final state
    is the last width-1 raw inputs. `activation` is None or ``"silu"``.

    Official ``causal_conv1d_ref`` of Dao-AILab/causal-conv1d, with time before channels
    and cu_seqlens instead of seq_idx, so that packs have states too. Raises ValueError
    for a width of 0 or another activation.
    """
    if cu_seqlens is not None:
        return separately(causal_conv1d, locals())
    batch, length, channels = x.shape
    width = _width(weight)
    if initial_state is None:
        initial_state = np.zeros((batch, width - 1, channels), x.dtype)
    padded = np.concatenate([initial_state, x], axis=1)
    y = np.empty_like(x)
    for t in range(length):
        y[:, t] = np.einsum("bkd,dk->bd", padded[:, t : t + width], weight)
    y = y if bias is None else y + bias
    return _activate(y, activation), padded[:, length:]


@checked
def causal_conv1d_fft(
    x: Real[np.ndarray, "batch length channels"],
    weight: Real[np.ndarray, "channels width"],
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    activation: str | None = None,
    initial_state: Real[np.ndarray, "sequences width-1 channels"] | None = None,
    cu_seqlens: Integer[np.ndarray, " bounds"] | None = None,
) -> tuple[
    Real[np.ndarray, "batch length channels"],
    Real[np.ndarray, "sequences width-1 channels"],
]:
    """`causal_conv1d` as a product of spectra: the convolution theorem."""
    if cu_seqlens is not None:
        return separately(causal_conv1d_fft, locals())
    batch, length, channels = x.shape
    width = _width(weight)
    if initial_state is None:
        initial_state = np.zeros((batch, width - 1, channels), x.dtype)
    padded = np.concatenate([initial_state, x], axis=1)
    n = padded.shape[1] + width
    spectrum = np.fft.rfft(padded, n, axis=1) * np.fft.rfft(weight.T[::-1], n, axis=0)
    y = np.fft.irfft(spectrum, n, axis=1)[:, width - 1 : width - 1 + length]
    y = y if bias is None else y + bias
    return _activate(y, activation), padded[:, length:]


@checked
def causal_conv1d_step(
    x: Real[np.ndarray, "batch channels"] | Real[np.ndarray, "batch length channels"],
    weight: Real[np.ndarray, "channels width"],
    state: Real[np.ndarray, "slots window channels"],
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    activation: str | None = None,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Real[np.ndarray, "batch *rest"], Real[np.ndarray, "slots window channels"]]:
    """Convolve one or several new tokens against a linear buffer of earlier ones.

    The state holds the newest raw inputs, oldest first; it may be longer than
    width-1 (peers keep width). Dao-AILab/causal-conv1d, ``causal_conv1d_update_ref``.
    Raises ValueError where the buffer is shorter than width-1.
    """
    if slots is not None:
        return in_slots(causal_conv1d_step, locals())
    window, width = state.shape[1], _width(weight)
    at_least("the window of state", window, width - 1)
    tokens = x if x.ndim == 3 else x[:, None]
    y = np.empty_like(tokens)
    for t in range(tokens.shape[1]):
        state = np.concatenate([state, tokens[:, t : t + 1]], axis=1)
        taps = state[:, state.shape[1] - width :]
        y[:, t] = np.einsum("bkd,dk->bd", taps, weight)
        state = state[:, 1:]
    y = y if bias is None else y + bias
    return _activate(y, activation).reshape(x.shape), state


@checked
def causal_conv1d_step_circular(
    x: Real[np.ndarray, "batch channels"] | Real[np.ndarray, "batch length channels"],
    weight: Real[np.ndarray, "channels width"],
    state: Real[np.ndarray, "slots window channels"],
    position: Integer[np.ndarray, " batch"],
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    activation: str | None = None,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Real[np.ndarray, "batch *rest"], Real[np.ndarray, "slots window channels"]]:
    """`causal_conv1d_step` on a circular buffer: token p lies at ``p mod window``.

    `position` counts the tokens that each row has seen before (``cache_seqlens`` of
    Dao-AILab/causal-conv1d). Raises ValueError where the buffer is shorter than
    width-1 or a position is negative.
    """
    if slots is not None:
        return in_slots(causal_conv1d_step_circular, locals())
    window, width = state.shape[1], _width(weight)
    at_least("the window of state", window, max(width - 1, 1))
    at_least("position", min(position.tolist(), default=0), 0)
    tokens = x if x.ndim == 3 else x[:, None]
    rows, y, state = np.arange(x.shape[0]), np.empty_like(tokens), state.copy()
    for t in range(tokens.shape[1]):
        earlier = position[:, None] + t + np.arange(1 - width, 0)
        past = state[rows[:, None], earlier % window]
        taps = np.concatenate([past, tokens[:, t : t + 1]], axis=1)
        y[:, t] = np.einsum("bkd,dk->bd", taps, weight)
        state[rows, (position + t) % window] = tokens[:, t]
    y = y if bias is None else y + bias
    return _activate(y, activation).reshape(x.shape), state


@checked
def rms_norm(
    x: Real[np.ndarray, "*batch channels"],
    weight: Real[np.ndarray, " channels"] | None = None,
    *,
    eps: float = 1e-5,
) -> Real[np.ndarray, "*batch channels"]:
    """Divide by the root mean square: ``y = x / sqrt(mean(x^2) + eps) weight``.

    Zhang & Sennrich 2019 (arXiv 1910.07467), equation 4, with eps inside the root as
    in the official Mamba code. Raises ValueError for a negative eps.
    """
    at_least("eps", eps, 0)
    y = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(eps))
    return y if weight is None else y * weight


@checked
def rms_norm_gated(
    x: Real[np.ndarray, "*batch channels"],
    weight: Real[np.ndarray, " channels"] | None = None,
    z: Real[np.ndarray, "*batch channels"] | None = None,
    *,
    eps: float = 1e-5,
    group_size: int | None = None,
    norm_before_gate: bool = False,
) -> Real[np.ndarray, "*batch channels"]:
    """Normalise in groups and gate by SiLU, in either order.

    ::

        norm_before_gate:      y = rms(x) weight silu(z)
        otherwise (Mamba-2):   y = rms(x silu(z)) weight

    The mean square is taken over consecutive blocks of `group_size` channels (one
    group where None). Without z a plain grouped norm. Official
    ``mamba_ssm/ops/triton/layernorm_gated.py``. Raises ValueError where group_size
    does not divide the channels.
    """
    channels = x.shape[-1]
    size = channels if group_size is None else group_size
    if size < 1 or channels % size:
        raise ValueError(f"group_size is {size}; it needs to divide {channels}")
    if z is not None and not norm_before_gate:
        x = x * silu(z)
    groups = x.reshape(*x.shape[:-1], channels // size, size)
    y = rms_norm(groups, eps=eps).reshape(x.shape)
    y = y if weight is None else y * weight
    return y * silu(z) if z is not None and norm_before_gate else y


@checked
def layer_norm(
    x: Real[np.ndarray, "*batch channels"],
    weight: Real[np.ndarray, " channels"] | None = None,
    bias: Real[np.ndarray, " channels"] | None = None,
    *,
    eps: float = 1e-5,
) -> Real[np.ndarray, "*batch channels"]:
    """Subtract the mean and divide by the standard deviation (biased variance).

    ``y = (x - m) / sqrt(var + eps) weight + bias``. Ba et al. 2016 (arXiv 1607.06450).
    torch's eps is 1e-5, Flax's 1e-6. Raises ValueError for a negative eps.
    """
    at_least("eps", eps, 0)
    centred = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    y = centred / np.sqrt(variance + x.dtype.type(eps))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias
