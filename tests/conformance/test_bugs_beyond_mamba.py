"""Plausible bugs of convolution caches, norms, S4, S4D, S5, H3 and attention."""

import numpy as np
import pytest

from ssmref.conformance.candidates import Candidate
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.run import verify
from ssmref.conformance.verdict import FAILED, PASSED
from ssmref.golden import attention, h3, layers, s4, s4d, s5

F32 = np.dtype(np.float32)


def without(function, *names):
    def wrong(*inputs, **options):
        return function(*inputs, **{k: v for k, v in options.items() if k not in names})

    return wrong


def at(function, position, change):
    """Change one input, by its position, before the function sees it."""

    def wrong(*inputs, **options):
        inputs = list(inputs)
        inputs[position] = change(inputs[position])
        return function(*inputs, **options)

    return wrong


def halved(function):
    """Forget the conjugates that are not stored: no factor 2."""

    def wrong(*inputs, D=None, **options):
        y, state = function(*inputs, **options)
        y = y / 2
        return (y if D is None else y + D * inputs[0]).astype(y.dtype), state

    return wrong


def cancelling(function):
    """Zero-order hold by (e^x - 1) / x: the input matrix that results is the same."""

    def wrong(u, dt, A, B, *rest, method="zoh", **options):
        with np.errstate(invalid="ignore", divide="ignore"):
            x = dt[..., None] * A if A.ndim == 2 else dt * A
            naive, right = (np.exp(x) - 1) / x, np.expm1(x) / x
            factor = naive / right if method == "zoh" else np.ones_like(x)
        B = B * (factor if A.ndim == 2 else factor[:, None])
        return function(u, dt, A, B, *rest, method=method, **options)

    return wrong


def other_method(function, default):
    other = {"zoh": "bilinear", "bilinear": "zoh"}

    def wrong(*inputs, method=default, **options):
        return function(*inputs, method=other[method], **options)

    return wrong


def one_direction(*inputs, C_backward=None, **options):
    """The backward direction is not flipped: it sees the past too."""
    if C_backward is not None:
        inputs = (*inputs[:4], inputs[4] + C_backward)
    return s5.s5(*inputs, **options)


def heads_fast(q, k, v, *rest, head_dim=1, **options):
    """The index inside a head runs slowest in y, as on a path of the official code."""
    y, state = h3.h3(q, k, v, *rest, head_dim=head_dim, **options)
    split = y.reshape(*y.shape[:2], -1, head_dim)
    return np.ascontiguousarray(split.swapaxes(2, 3)).reshape(y.shape), state


def tiled_keys(q, k, v, **options):
    times = q.shape[2] // k.shape[2]
    _, state = attention.attention(q, k, v, **options)
    k, v = (np.tile(X, (1, 1, times, 1)) for X in (k, v))
    if (cache := options.get("initial_state")) is not None:
        tiled = (np.tile(X, (1, 1, times, 1)) for X in cache)
        options["initial_state"] = type(cache)(*tiled)
    return attention.attention(q, k, v, **options)[0], state


def no_maximum(q, k, v, *, scale=None):
    """Softmax without its largest score subtracted."""
    y, state = attention.attention(q, k, v, scale=scale)
    factor = q.shape[3] ** -0.5 if scale is None else scale
    keys, values = (np.repeat(X, q.shape[2] // k.shape[2], axis=2) for X in (k, v))
    with np.errstate(over="ignore", invalid="ignore"):
        scores = np.exp(np.einsum("bthp,bshp->bhts", q, keys) * q.dtype.type(factor))
        scores = scores * np.tri(q.shape[1], dtype=q.dtype)
        y = np.einsum("bhts,bshp->bthp", scores, values)
        y = y / np.einsum("bhts->bth", scores)[..., None]
    return y.astype(q.dtype), state


def from_zero(q, k, v, state, *, rotary_dim=0, **options):
    """The new token is at position 0, whatever is in the cache."""
    _, right = attention.attention_step(
        q, k, v, state, rotary_dim=rotary_dim, **options
    )
    y, _ = attention.attention_step(q, k, v, state, **without_rotation(options))
    return y, right


def without_rotation(options):
    return {k: v for k, v in options.items() if k not in ("rotary_base", "interleaved")}


def scale_of_values(q, k, v, *, scale=None, **options):
    scale = v.shape[3] ** -0.5 if scale is None else scale
    return attention.attention(q, k, v, scale=scale, **options)


def eps_outside(x, weight=None, *, eps=1e-5):
    y = x / (np.sqrt(np.mean(x * x, axis=-1, keepdims=True)) + x.dtype.type(eps))
    return y if weight is None else y * weight


def one_pass(x, weight=None, bias=None, *, eps=1e-5):
    """The variance as the mean of squares less the square of the mean."""
    mean = np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(x * x, axis=-1, keepdims=True) - mean * mean
    y = (x - mean) / np.sqrt(np.maximum(variance, 0) + x.dtype.type(eps))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def unbiased(x, weight=None, bias=None, *, eps=1e-5):
    centred = x - np.mean(x, axis=-1, keepdims=True)
    count = max(x.shape[-1] - 1, 1)
    variance = np.sum(centred * centred, axis=-1, keepdims=True) / x.dtype.type(count)
    y = centred / np.sqrt(variance + x.dtype.type(eps))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def other_order(*inputs, norm_before_gate=False, **options):
    return layers.rms_norm_gated(
        *inputs, norm_before_gate=not norm_before_gate, **options
    )


CIRCULAR = layers.causal_conv1d_step_circular


def from_position_zero(x, weight, state, position, **options):
    return CIRCULAR(x, weight, state, np.zeros_like(position), **options)


def in_32_bits(x, weight, state, position, **options):
    wrapped = np.abs(position.astype(np.int32).astype(np.int64))
    return CIRCULAR(x, weight, state, wrapped, **options)


# op, wrong implementation, families that must fail, families that must still pass
BUGS = {
    "position ignored": ("layers.causal_conv1d_step_circular", from_position_zero,
                         ["plain", "every-phase", "slots"], ["start", "smallest"]),
    "position in 32 bits": ("layers.causal_conv1d_step_circular", in_32_bits,
                            ["far-position"], ["plain", "every-phase"]),
    "eps outside the root": ("layers.rms_norm", eps_outside,
                             ["eps-rules", "other-eps"], ["no-eps"]),
    "variance in one pass": ("layers.layer_norm", one_pass, ["far-mean"],
                             ["plain", "bias", "many-channels"]),
    "unbiased variance": ("layers.layer_norm", unbiased, ["plain", "many-channels"],
                          ["one-channel"]),
    "norm over all channels": ("layers.rms_norm_gated",
                               without(layers.rms_norm_gated, "group_size"),
                               ["groups", "groups-before-gate", "groups-no-gate"],
                               ["plain", "norm-before-gate"]),
    "norm on the other side": ("layers.rms_norm_gated", other_order,
                               ["plain", "norm-before-gate", "groups"],
                               ["no-gate", "groups-no-gate"]),
    "no low rank": ("s4.s4", at(s4.s4, 5, np.zeros_like),
                    ["plain", "two-ranks", "low-rank-strong"], ["low-rank-off"]),
    "first rank only": ("s4.s4", at(s4.s4, 5, lambda P: P[:1]),
                        ["two-ranks", "three-ranks"], ["plain"]),
    "low rank not conjugated": ("s4.s4_step", at(s4.s4_step, 5, np.conj),
                                ["plain", "two-ranks"], ["low-rank-off"]),
    "C conjugated": ("s4d.s4d", at(s4d.s4d, 4, np.conj), ["plain", "stiff"], []),
    "no conjugates": ("s4d.s4d_step", halved(s4d.s4d_step), ["plain", "skip"], []),
    "other rule": ("s4d.s4d", other_method(s4d.s4d, "zoh"),
                   ["plain", "bilinear", "stiff"], []),
    "cancellation": ("s4d.s4d", cancelling(s4d.s4d), ["near-zero", "no-decay"],
                     ["stiff"]),
    "cancellation in S5": ("s5.s5", cancelling(s5.s5), ["near-zero", "no-decay"],
                           ["stiff"]),
    "initial state ignored": ("s4d.s4d", without(s4d.s4d, "initial_state"),
                              ["initial-state", "one-token", "packed", "empty"],
                              ["plain", "packed-zero"]),
    "not flipped": ("s5.s5", one_direction, ["bidirectional", "bidirectional-packed"],
                    ["plain"]),
    "always a factor 2": ("s5.s5", without(s5.s5, "conj_sym"), ["conj-sym-off"],
                          ["plain"]),
    "taps reversed": ("h3.h3", at(h3.h3, 7, lambda C: C[:, ::-1].copy()),
                      ["plain", "two-taps", "one-token"], ["smallest"]),
    "heads run fast": ("h3.h3", heads_fast, ["head-dim", "everything"], ["plain"]),
    "rule of S4D": ("h3.h3_step", other_method(h3.h3_step, "bilinear"),
                    ["plain", "zoh"], []),
    "skip of keys ignored": ("h3.h3", without(h3.h3, "shift_D"),
                             ["shift-skip", "everything"], ["skip"]),
    "keys tiled": ("attention.attention", tiled_keys, ["groups-inner"],
                   ["plain", "kv-head-per-head"]),
    "no maximum": ("attention.attention", no_maximum, ["sharp"], ["scale"]),
    "scale of values": ("attention.attention", scale_of_values,
                        ["narrow-values", "plain"], ["scale", "groups-inner"]),
    "position 0 behind a cache": ("attention.attention_step", from_zero,
                                  ["rotary", "rotary-partial", "everything"],
                                  ["plain", "empty-cache"]),
    "packing ignored": ("attention.attention",
                        without(attention.attention, "cu_seqlens"),
                        ["packed", "packed-rotary"], ["plain"]),
    "other rotary pairs": ("attention.attention",
                           without(attention.attention, "interleaved"),
                           ["rotary-interleaved", "everything"], ["rotary"]),
    "rotary base ignored": ("attention.attention",
                            without(attention.attention, "rotary_base"),
                            ["rotary-base"], ["rotary"]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("name", BUGS)
def test_bug_fails_where_it_shows_and_only_there(name):
    op, wrong, exposing, blind = BUGS[name]
    cases = [case for case in cases_of(op) if case.family in (*exposing, *blind)]
    verdicts = verify(Candidate("wrong", {op: wrong}), cases, F32)
    status = {v.case.family: v.status for v in verdicts}
    for family in exposing:
        assert status[family] == FAILED, family
    for family in blind:
        assert status[family] == PASSED, family
