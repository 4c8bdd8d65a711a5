"""Bugs of the stages of chunked algorithms: each begins in one stage."""

import math
from typing import Any

import ml_dtypes
import numpy as np

from ...golden._mamba3_parts import rotate
from ...golden.layers import pi
from .bug import Arguments, Bug, Function, after, around
from .chunk_parts import padding_counts, rounding
from .chunks import TRTLLM, VLLM
from .mamba3 import biased_turning, no_dt, raw_angles, turning
from .stage_parts import (
    Change,
    after_each,
    before_each,
    carried_late,
    carried_rounded,
    chunked,
    exclusive,
    filled_steps,
    following_in_chunk,
    heads_first,
    longer_than_a_chunk,
    running_on,
    scanned,
    several_in_a_chunk,
    summed_over_targets,
    trapezoidal,
)
from .time_step import HF, MAMBA
from .trapezoid import rates
from .when import any_token, either, given, has_start, longer_than

SSD = ("stages.ssd_stages",)
SCAN = ("stages.selective_scan_stages",)
SISO = ("stages.siso_stages",)


def _raw_dt(result: Any, a: Arguments) -> Any:
    """Show dt as it came in, and go on with what it becomes."""
    size = a.get("chunk_size")
    return result._replace(dt=a["dt"] if size is None else heads_first(a["dt"], size))


def _summed(sums: Change):
    """Return the wrap that sums the exponents of SSD or SISO in another way."""
    ssd, siso = chunked(sums=sums), trapezoidal(sums=sums)

    def run(function: Function, a: Arguments) -> Any:
        return (siso if "trap" in a else ssd)(function)(**a)

    return around(run)


def _to_base_two(result: Any, _: Arguments) -> Any:
    return result._replace(log_decay=result.log_decay * math.log2(math.e))


def _no_start(function: Function, a: Arguments) -> Any:
    return function(**{n: v for n, v in a.items() if n != "initial_state"})


def _zero_order_hold(decay: np.ndarray, drive: np.ndarray, dt, a: Arguments):
    x = dt[..., None] * a["A"]
    safe = np.where(x == 0, 1, x)
    return decay, drive * np.where(x == 0, 1, np.expm1(safe) / safe)


def _without_dt(decay: np.ndarray, drive: np.ndarray, dt: np.ndarray, _: Arguments):
    return decay, drive / np.where(dt == 0, np.inf, dt)[..., None]


def _late(decay: np.ndarray, drive: np.ndarray, *_: Any):
    return np.concatenate([decay[:, :1], decay[:, :-1]], axis=1), drive


def _undecayed_start(decay: np.ndarray, drive: np.ndarray, start: np.ndarray):
    decay = decay.copy()
    decay[:, :1] = 1
    return after_each(decay, drive, start)


def _bias_last(X: np.ndarray, bias: Any, *how: Any) -> np.ndarray:
    turned = rotate(X, *how)
    return turned if bias is None else turned + bias


DT = (
    Bug(
        "stage-dt-raw",
        (*SSD, *SCAN),
        "The stage dt is what came in, before bias, softplus and limits.",
        "Store dt as the recurrence uses it.",
        "a bias, softplus or limits",
        given("dt_bias", "dt_softplus", "dt_limit"),
        after(_raw_dt),
    ),
    Bug(
        "stage-padding-decays",
        SSD,
        "Zeros that fill up the last chunk become steps by softplus, bias or limits: "
        "they decay the last state.",
        "Set dt to 0 beyond the end, after softplus.",
        "softplus, a bias or a lower limit, and a last chunk that is not full",
        lambda a: padding_counts(a["chunk_size"])(a),
        chunked(steps=filled_steps),
        (f"{HF}/issues/48256",),
    ),
)

SUMS = (
    Bug(
        "stage-sums-exclusive",
        (*SSD, *SISO),
        "The sums of dt A leave out their own token: all decays are late by one.",
        "log_decay[i] contains dt[i] A[i].",
        "any token",
        any_token,
        _summed(exclusive),
    ),
    Bug(
        "stage-sums-run-on",
        (*SSD, *SISO),
        "The sums of dt A go on from chunk to chunk: states decay by all that was "
        "before.",
        "Start the sums anew with each chunk.",
        "more tokens than a chunk has",
        longer_than_a_chunk,
        _summed(running_on),
    ),
    Bug(
        "stage-sums-base-two",
        (*SSD, *SISO),
        "The sums of dt A are those for exp2, times log2(e), as a kernel keeps them.",
        "Divide by log2(e) to compare: log_decay is a natural logarithm.",
        "any token",
        any_token,
        after(_to_base_two),
        (f"{MAMBA}/blob/main/mamba_ssm/ops/triton/mamba3/mamba3_siso_fwd.py",),
    ),
)

CHUNK_STATES = (
    Bug(
        "chunk-states-not-decayed",
        SSD,
        "Tokens enter the state of their chunk without decay up to its end.",
        "Weigh token s by exp(log_decay[end] - log_decay[s]) dt[s].",
        "several tokens in a chunk",
        several_in_a_chunk,
        chunked(weights=lambda dt, _: dt),
    ),
    Bug(
        "chunk-states-from-start",
        SSD,
        "Tokens enter the state of their chunk with the decay from its start, not with "
        "that to its end.",
        "Weigh token s by exp(log_decay[end] - log_decay[s]) dt[s].",
        "any token",
        any_token,
        chunked(weights=lambda dt, sums: np.exp(sums) * dt),
    ),
    Bug(
        "chunk-states-without-dt",
        SSD,
        "The factor dt is left out of the states of chunks.",
        "Weigh token s by exp(log_decay[end] - log_decay[s]) dt[s].",
        "any token",
        any_token,
        chunked(weights=lambda _, sums: np.exp(sums[..., -1:] - sums)),
        (f"{MAMBA}/issues/551",),
    ),
    Bug(
        "chunk-states-overwritten",
        SSD,
        "States are passed on in place: what a chunk alone leaves is lost.",
        "Pass states on into a buffer of their own, or compare before.",
        "any token",
        any_token,
        after(lambda result, _: result._replace(chunk_states=result.entering_states)),
    ),
)

PASSED_ON = (
    Bug(
        "entering-states-one-late",
        SSD,
        "A chunk is entered by the state at its own end.",
        "Chunk c is entered by the state after chunk c - 1, the first by the initial "
        "one.",
        "any token",
        any_token,
        chunked(passed=carried_late),
    ),
    Bug(
        "entering-states-from-zeros",
        (*SSD, *SCAN, *SISO),
        "The initial state is not passed on: the first chunk starts from zeros.",
        "The first entering state is the initial one, as it is.",
        "an initial state",
        has_start,
        around(_no_start),
        ("https://github.com/tile-ai/TileOPs/pull/1557",),
        ("ssd-init-flag-drop",),
    ),
    Bug(
        "entering-states-axis",
        SSD,
        "States are summed over the target chunk, not over the source: they are "
        "rescaled instead of passed on.",
        "new[j] = sum_i decay[j, i] S[i]: reduce over the second index.",
        "more tokens than a chunk has, or an initial state",
        either(longer_than_a_chunk, has_start),
        chunked(passed=summed_over_targets),
        (f"{HF}/issues/34817", f"{HF}/pull/35154"),
        ("ssd-interchunk-axis",),
    ),
    Bug(
        "entering-states-bf16",
        SSD,
        "The states that pass from chunk to chunk are rounded to bfloat16.",
        "Keep states in float32.",
        "any token",
        any_token,
        chunked(passed=carried_rounded(rounding(ml_dtypes.bfloat16))),
        (f"{TRTLLM}/pull/14600", f"{VLLM}/pull/39032"),
        ("ssd-prefill-state-bf16",),
    ),
)

STEPS = (
    Bug(
        "drive-zero-order-hold",
        SCAN,
        "The drive is that of zero-order hold, (e^(dt A) - 1)/A B u.",
        "The drive is dt B u, by Euler's rule.",
        "any token",
        any_token,
        scanned(_zero_order_hold),
        ("https://github.com/johnma2006/mamba-minimal/issues/2",),
    ),
    Bug(
        "drive-without-dt",
        SCAN,
        "The drive is B u without the factor dt.",
        "The drive is dt B u.",
        "any token",
        any_token,
        scanned(_without_dt),
        (f"{MAMBA}/issues/551",),
    ),
    Bug(
        "drive-decayed",
        SCAN,
        "The drive decays together with the old state.",
        "Decay the old state only.",
        "any token",
        any_token,
        scanned(lambda decay, drive, *_: (decay, drive * decay)),
    ),
    Bug(
        "decay-first-order",
        SCAN,
        "The decay is 1 + dt A.",
        "The decay is e^(dt A).",
        "any token",
        any_token,
        scanned(lambda _, drive, dt, a: (1 + dt[..., None] * a["A"], drive)),
    ),
    Bug(
        "decay-base-two",
        SCAN,
        "The decay is 2^(dt A): exp2 is used without the factor log2(e).",
        "Scale by log2(e) before exp2, or use exp.",
        "any token",
        any_token,
        scanned(lambda _, drive, dt, a: (np.exp2(dt[..., None] * a["A"]), drive)),
    ),
    Bug(
        "decay-of-token-before",
        SCAN,
        "The decay of a token is made of the dt of the token before.",
        "Token t decays the state by e^(dt[t] A), then enters.",
        "more than one token",
        longer_than(1),
        scanned(_late),
    ),
    Bug(
        "states-before-tokens",
        SCAN,
        "The states are those before each token, and outputs read them.",
        "Add a token before its output is read.",
        "any token",
        any_token,
        scanned(seen=before_each),
    ),
    Bug(
        "states-start-undecayed",
        SCAN,
        "The first token does not decay the initial state.",
        "The first token decays the state that comes in, too.",
        "an initial state",
        has_start,
        scanned(run=_undecayed_start),
    ),
)

ROTATED = (
    Bug(
        "turn-no-tanh",
        SISO,
        "Angles turn by pi a dt, without tanh.",
        "turn = pi tanh(a) dt.",
        "any angle",
        turning,
        trapezoidal(turns=raw_angles),
    ),
    Bug(
        "turn-no-pi",
        SISO,
        "Angles turn by tanh(a) dt, without pi.",
        "turn = pi tanh(a) dt.",
        "any angle",
        turning,
        trapezoidal(turns=lambda a: rates(a) / pi(a["dt"].dtype)),
    ),
    Bug(
        "turn-no-dt",
        SISO,
        "Angles turn by pi tanh(a), without dt.",
        "turn = pi tanh(a) dt.",
        "any angle",
        turning,
        trapezoidal(turns=no_dt),
    ),
    Bug(
        "rotation-before-bias",
        SISO,
        "Biases are added to q and k after the rotation.",
        "Add the bias, then rotate.",
        "a bias and any angle",
        biased_turning,
        trapezoidal(rotate=_bias_last),
    ),
)

SCALES = (
    Bug(
        "scale-of-own-token",
        SISO,
        "scale is dt: it has the second weight of its own token, not of the next.",
        "scale[t] = lambda[t] dt[t] + (1 - lambda[t+1]) dt[t+1].",
        "any token",
        any_token,
        trapezoidal(gives=lambda early, _: early),
    ),
    Bug(
        "scale-ends-with-chunk",
        SISO,
        "The last token of each chunk gets no weight from the next one.",
        "scale reaches over the end of a chunk; only the last token of all gets none.",
        "more tokens than a chunk has",
        longer_than_a_chunk,
        trapezoidal(gives=following_in_chunk),
    ),
    Bug(
        "scale-dropped",
        SISO,
        "Keys enter the states unscaled.",
        "Multiply keys by scale after the rotation.",
        "any token",
        any_token,
        trapezoidal(scaled=lambda k, _: k),
    ),
)

STAGES = (*DT, *SUMS, *CHUNK_STATES, *PASSED_ON, *STEPS, *ROTATED, *SCALES)
