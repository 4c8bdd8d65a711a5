"""Bugs that only ends of a range show: large numbers, wide axes, empty sequences."""

from dataclasses import replace
from typing import Any

import numpy as np

from ...golden.layers import softplus
from .bug import Arguments, Bug, after, before, changed, on_state, without
from .drive import MAMBA3, SELECTIVE
from .gates import gated_by
from .recurrence import Recurrence, opened, recurrent
from .states import SEQUENCES
from .time_step import MAMBA1, MAMBA2, STEPPED, raw, with_dt
from .tokens import is_step, lengths, map_state, sequences
from .when import both, differs, given

# exp overflows beyond 88.7 in float32; MIMO's projections multiply z.
LARGE = 30.0
# Where log(1 + e^x) is still told from x.
EARLY = 5.0
TILE, FLOOR = 8, -20.0


def _overflowing(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return z * np.exp(z) / (1 + np.exp(z))


def _nan_beyond(x: np.ndarray) -> np.ndarray:
    """Return x with what infinity over infinity makes of it."""
    return np.where(x > LARGE, x.dtype.type(np.nan), x)


def _linear_early(dt: np.ndarray, bias: np.ndarray, use: bool) -> np.ndarray:
    x = dt + bias
    return np.where(x > EARLY, x, softplus(x)) if use else x


def _bias_needs_softplus(arguments: Arguments) -> Arguments:
    soft = arguments.get("dt_softplus", False)
    return arguments if soft else {n: v for n, v in arguments.items() if n != "dt_bias"}


def _tiled(A: np.ndarray) -> np.ndarray:
    return A[np.arange(len(A)) % TILE]


def _floored(r: Recurrence) -> Recurrence:
    exponent = np.maximum(np.real(r.exponent), FLOOR)
    if np.iscomplexobj(r.exponent):
        exponent = exponent + 1j * np.imag(r.exponent)
    return replace(r, exponent=exponent.astype(r.exponent.dtype))


def _below_floor(arguments: Arguments) -> bool:
    rows = list(sequences(arguments))
    return any(bool(np.any(np.real(opened(a).exponent) < FLOOR)) for a in rows)


def _ends_empty(arguments: Arguments) -> bool:
    packed = arguments.get("cu_seqlens") is not None
    given_state = arguments.get("initial_state") is not None
    return packed and given_state and lengths(arguments)[-1] == 0


def _last_forgotten(state: Any, arguments: Arguments) -> Any:
    """Return the states without those of the empty sequences that end a pack."""
    if not _ends_empty(arguments):
        return state
    used = max((i for i, n in enumerate(lengths(arguments)) if n), default=-1) + 1

    def forget(part: np.ndarray) -> np.ndarray:
        return np.concatenate([part[:used], np.zeros_like(part[used:])])

    return map_state(forget, state)


def _short(arguments: Arguments) -> bool:
    width = arguments["weight"].shape[1]
    fresh = arguments.get("initial_state") is None
    return fresh and any(0 < n < width - 1 for n in lengths(arguments))


def _zeros_behind(result: Any, arguments: Arguments) -> Any:
    y, state = result
    if not _short(arguments):
        return result
    state, rows = state.copy(), state.shape[0]
    for row in range(rows):
        counts = lengths(arguments)
        tokens = counts[row if len(counts) == rows else 0]
        if 0 < tokens < state.shape[1]:
            state[row] = np.roll(state[row], tokens, axis=0)
    return y, state


def _norm_needs_gate(arguments: Arguments) -> Arguments:
    if arguments.get("z") is not None:
        return arguments
    return {n: v for n, v in arguments.items() if n != "norm_weight"}


def _large(*names: str):
    def condition(arguments: Arguments) -> bool:
        found = [arguments[n] for n in names if arguments.get(n) is not None]
        return any(bool(np.any(x > LARGE)) for x in found)

    return condition


def _zero_is_default(arguments: Arguments) -> Arguments:
    return arguments | {"scale": arguments.get("scale") or None}


SIGMOID = "Take exp of -|x| only: sigmoid is 1 / (1 + e^-x) or e^x / (1 + e^x) by sign."
RANGES = (
    Bug(
        "gate-overflow",
        SELECTIVE,
        "The gate is z e^z / (1 + e^z): infinity over infinity for large z.",
        SIGMOID,
        "a large z",
        _large("z"),
        gated_by(_overflowing),
    ),
    Bug(
        "dt-softplus-linear-early",
        STEPPED,
        "softplus is its argument above 5 already.",
        "The threshold is 20: below it log1p(e^x) is not x.",
        "raw dt above 5",
        lambda a: bool(a.get("dt_softplus")) and bool(np.any(raw(a) > EARLY)),
        with_dt(_linear_early),
    ),
    Bug(
        "dt-bias-needs-softplus",
        STEPPED,
        "dt_bias is added where softplus is asked for, and not otherwise.",
        "Add the bias in both cases.",
        "a bias without softplus",
        both(given("dt_bias"), lambda a: not a.get("dt_softplus", False)),
        before(_bias_needs_softplus),
    ),
    Bug(
        "a-tile-of-8",
        (*MAMBA1, *MAMBA2),
        "Heads or channels beyond 8 use the rates of the first 8.",
        "Add the start of the block to the index of the head.",
        "more than 8 heads or channels whose rates differ",
        both(differs("A", _tiled), given("A")),
        changed(A=_tiled),
    ),
    Bug(
        "decay-floor",
        ("mamba1.selective_scan", "mamba2.ssd"),
        "Exponents are clamped from below: a state is never wiped.",
        "exp of a very negative number is 0: leave it alone.",
        "an exponent below -20",
        _below_floor,
        recurrent(_floored),
    ),
    Bug(
        "final-state-last-empty",
        SEQUENCES,
        "Empty sequences at the end of a pack lose the state that came in.",
        "Start the final states as copies of the initial ones.",
        "a pack that ends with an empty sequence, and initial states",
        _ends_empty,
        on_state(_last_forgotten),
    ),
    Bug(
        "conv-short-state-behind",
        ("layers.causal_conv1d",),
        "Fewer tokens than width - 1 stand first in the state, zeros behind them.",
        "Zeros are older than all tokens: they come first.",
        "a sequence shorter than width - 1 without a state",
        _short,
        after(_zeros_behind),
    ),
    Bug(
        "m3-logit-overflow",
        MAMBA3,
        "The sigmoid of trap or the tanh of angles is infinity over infinity.",
        SIGMOID,
        "a large logit or angle",
        _large("trap", "angles"),
        changed(trap=_nan_beyond, angles=_nan_beyond),
    ),
    Bug(
        "m3-norm-eps-ignored",
        MAMBA3,
        "The eps of the norm is 1e-5 whatever was asked for.",
        "Pass norm_eps on.",
        "another eps, and a norm",
        both(given("norm_eps"), given("norm_weight")),
        without("norm_eps"),
    ),
    Bug(
        "m3-norm-needs-gate",
        MAMBA3,
        "Without z there is no norm either.",
        "Normalise where norm_weight is given.",
        "a norm weight without z",
        both(given("norm_weight"), lambda a: a.get("z") is None),
        before(_norm_needs_gate),
    ),
    Bug(
        "attention-scale-falsy",
        ("attention.attention", "attention.attention_step"),
        "A scale of 0 is taken for none: `scale or default`.",
        "Ask whether the scale is None.",
        "a scale of 0",
        lambda a: a.get("scale") == 0 and (is_step(a) or a["q"].shape[1] > 1),
        before(_zero_is_default),
    ),
)
