"""Bugs of Mamba-3: rotation, trapezoid, ranks, norm."""

from typing import Any

import numpy as np

from ...golden.layers import pi, sigmoid, softplus
from .bug import Arguments, Bug, Function, Wrap, around, before, changed
from .drive import MAMBA3
from .gates import is_mimo
from .time_step import MAMBA, to_bfloat16
from .tokens import map_state, per_sequence, sequences, stacked, tokens
from .trapezoid import earlier, rates, rotated, trapezoid, turned, weighted
from .when import any_token, both, differs, given, longer_than, packed, remembers

MIMO = ("mamba3.mimo", "mamba3.mimo_step")
SCANS = ("mamba3.siso", "mamba3.mimo")
SISO_STAGES = "stages.siso_stages"
STAGED = (*MAMBA3, SISO_STAGES)
OTHER = {"pairwise": "halved", "halved": "pairwise"}


def _other_pairing(arguments: Arguments) -> Arguments:
    default = "halved" if is_mimo(arguments) else "pairwise"
    return arguments | {"pairing": OTHER[arguments.get("pairing", default)]}


def turning(arguments: Arguments) -> bool:
    """Return whether coordinates are rotated."""
    return any_token(arguments) and arguments["angles"].shape[-1] > 0


def _ambiguous(arguments: Arguments) -> bool:
    """Return whether there are several pairs: with one, both pairings agree."""
    return turning(arguments) and arguments["B"].shape[-1] > 2


def _inside_rotary_part(v, theta, pairing, bias=0) -> np.ndarray:
    del pairing
    count = theta.shape[-1]
    return rotated(v + bias, theta, slice(0, count), slice(count, 2 * count))


def _unturned(v, theta, pairing, bias=0) -> np.ndarray:
    del theta, pairing
    return v + bias


def _bias_after(v, theta, pairing, bias=0) -> np.ndarray:
    return turned(v, theta, pairing) + bias


def _current_angle(K: np.ndarray, now: Any, first: np.ndarray) -> np.ndarray:
    """Rotate the previous key by the angle of the current token."""
    a, theta = now
    past = earlier(K, K, first)
    extra = np.diff(theta, axis=1)
    late = turned(past[:, 1:], extra, a["pairing"])
    return np.concatenate([past[:, :1], late], axis=1)


def _no_sum(v: np.ndarray, axis: int) -> np.ndarray:
    del axis
    return v


def raw_angles(a: Arguments) -> np.ndarray:
    """Return by how much angles would grow without tanh."""
    return pi(a["dt"].dtype) * a["angles"] * a["dt"][..., None]


def no_dt(a: Arguments) -> np.ndarray:
    """Return by how much angles would grow without dt."""
    return pi(a["dt"].dtype) * np.tanh(a["angles"])


def _beta_undecayed(a: Arguments):
    alpha, _, gamma = weighted(a, sigmoid(a["trap"]))
    return alpha, (1 - sigmoid(a["trap"])) * a["dt"], gamma


def _raw_weight(a: Arguments):
    return weighted(a, a["trap"])


def _first_token(A: np.ndarray) -> np.ndarray:
    """Return the rate of the first token for all."""
    return np.broadcast_to(A[:, :1], A.shape).copy()


def _old_activation(A: np.ndarray) -> np.ndarray:
    """Return -softplus(a) for A = -heavy_tail(a)."""
    with np.errstate(divide="ignore"):
        raw = np.where(A <= -1, -A - 1, 1 + 1 / np.where(A == 0, -np.inf, A))
    return -softplus(raw.astype(A.dtype))


def _shift_over_boundaries(function: Function, arguments: Arguments) -> Any:
    if arguments.get("cu_seqlens") is None:
        return function(**arguments)
    outputs, states, before_ = [], [], None
    for one in sequences(arguments):
        if before_ is not None and tokens(one):
            own = one.get("initial_state")
            own = map_state(np.zeros_like, before_) if own is None else own
            one = one | {"initial_state": own._replace(k=before_.k, v=before_.v)}
        y, state = function(**one)
        before_ = state if tokens(one) else before_
        outputs.append(y)
        states.append(state)
    return np.concatenate(outputs, axis=1), stacked(states)


def _key_of_state(change) -> Wrap:
    """Return the wrap that stores another last key."""

    def run(function: Function, arguments: Arguments) -> Any:
        y, state = function(**arguments)
        if tokens(arguments) == 0:
            return y, state
        return y, state._replace(k=change(function, arguments))

    return per_sequence(run)


def _unrotated_key(function: Function, arguments: Arguments) -> np.ndarray:
    still = {"angles": np.zeros_like(arguments["angles"])}
    start = arguments.get("initial_state")
    if start is not None:
        still["initial_state"] = start._replace(angle=np.zeros_like(start.angle))
    return function(**(arguments | still))[1].k


def _unbiased_key(function: Function, arguments: Arguments) -> np.ndarray:
    return function(**{n: v for n, v in arguments.items() if n != "B_bias"})[1].k


def _writes_outside(function: Function, arguments: Arguments) -> Any:
    """Change a neighbouring parameter, as a write past the end of a tensor does."""
    result = function(**arguments)
    neighbour = arguments.get("D", arguments["A"])
    neighbour[...] = neighbour + 1
    return result


def biased_turning(arguments: Arguments) -> bool:
    """Return whether a bias is given and coordinates are rotated."""
    found = any(arguments.get(n) is not None for n in ("B_bias", "C_bias"))
    return found and turning(arguments)


ROTATION = (
    Bug(
        "m3-rope-pairing",
        STAGED,
        "The other coordinates are paired: i with i + state/2 instead of 2i with "
        "2i + 1, or the reverse.",
        "SISO rotates neighbours (pairwise), MIMO halves; the same in scan and step.",
        "more than one pair of coordinates and any angle",
        _ambiguous,
        before(_other_pairing),
        (f"{MAMBA}/issues/952",),
        ("m3-rope-pairing",),
    ),
    Bug(
        "m3-rope-partial-halves",
        MAMBA3,
        "With fewer angles than pairs, halves of the rotary part are paired.",
        "Pair as if all coordinates were rotated; those without an angle pass.",
        "more than one pair of coordinates",
        _ambiguous,
        trapezoid(turned=_inside_rotary_part),
        (f"{MAMBA}/issues/952",),
        ("m3-rope-pairing",),
    ),
    Bug(
        "m3-rotation-before-bias",
        MAMBA3,
        "Biases of B and C are added after the rotation.",
        "Add the bias, then rotate.",
        "a bias and any angle",
        biased_turning,
        trapezoid(turned=_bias_after),
    ),
    Bug(
        "m3-previous-key-angle",
        SCANS,
        "The previous key is rotated by the angle of the current token.",
        "Keep each key as it was rotated at its own token.",
        "more than one token and any angle",
        both(longer_than(1), turning),
        trapezoid(before=_current_angle),
    ),
    Bug(
        "m3-query-unrotated",
        MAMBA3,
        "Only keys are rotated.",
        "Rotate B and C by the same angle.",
        "any angle",
        turning,
        trapezoid(queries=_unturned),
    ),
    Bug(
        "m3-angle-no-tanh",
        MAMBA3,
        "Angles grow by pi a dt, without tanh.",
        "theta[t] = theta[t-1] + pi tanh(a) dt.",
        "any angle",
        turning,
        trapezoid(rates=raw_angles),
    ),
    Bug(
        "m3-angle-no-pi",
        MAMBA3,
        "Angles grow by tanh(a) dt, without pi.",
        "theta[t] = theta[t-1] + pi tanh(a) dt.",
        "any angle",
        turning,
        trapezoid(rates=lambda a: rates(a) / pi(a["dt"].dtype)),
    ),
    Bug(
        "m3-angle-no-dt",
        MAMBA3,
        "Angles grow by pi tanh(a), without dt.",
        "theta[t] = theta[t-1] + pi tanh(a) dt.",
        "any angle",
        turning,
        trapezoid(rates=no_dt),
    ),
    Bug(
        "m3-angle-sign",
        STAGED,
        "Rotations go the other way.",
        "(a, b) becomes (a cos - b sin, a sin + b cos).",
        "any angle",
        turning,
        changed(angles=np.negative),
    ),
    Bug(
        "m3-angle-not-summed",
        SCANS,
        "Each token is rotated by its own angle, not by the sum so far.",
        "Angles accumulate over tokens.",
        "more than one token and any angle",
        both(longer_than(1), turning),
        trapezoid(accumulate=_no_sum),
    ),
    Bug(
        "m3-angle-bf16",
        MAMBA3,
        "Angles are rounded to bfloat16.",
        "Keep the sums of angles in float32.",
        "any angle",
        turning,
        trapezoid(accumulate=lambda v, axis: to_bfloat16(np.cumsum(v, axis=axis))),
    ),
    Bug(
        "m3-angle-first-head",
        STAGED,
        "All heads turn with the angles of the first.",
        "Angles and dt differ by head.",
        "several heads and any angle",
        both(turning, differs("angles", lambda v: v[..., :1, :])),
        changed(angles=lambda v: np.broadcast_to(v[..., :1, :], v.shape).copy()),
    ),
)

TRAPEZOID = (
    Bug(
        "m3-beta-without-alpha",
        MAMBA3,
        "The previous token enters undecayed: beta = (1 - lambda) dt.",
        "beta = (1 - lambda) dt alpha.",
        "a previous token",
        remembers,
        trapezoid(weights=_beta_undecayed),
    ),
    Bug(
        "m3-trap-not-sigmoided",
        MAMBA3,
        "trap is taken for lambda itself.",
        "lambda = sigmoid(trap); the official step takes it, the scan the logit.",
        "any token",
        any_token,
        trapezoid(weights=_raw_weight),
    ),
    Bug(
        "m3-trap-sigmoid-twice",
        STAGED,
        "The sigmoid of trap is taken twice.",
        "Pass the logit, or the sigmoid to a kernel that expects it.",
        "any token",
        any_token,
        changed(trap=sigmoid),
    ),
    Bug(
        "m3-trap-flipped",
        STAGED,
        "lambda and 1 - lambda are exchanged.",
        "lambda weighs the current token, 1 - lambda the previous one.",
        "any token",
        any_token,
        changed(trap=np.negative),
    ),
    Bug(
        "m3-euler",
        STAGED,
        "The previous token is left out: Euler's rule of Mamba-2.",
        "Use both taps: beta v[t-1] k[t-1] + gamma v[t] k[t].",
        "any token",
        any_token,
        changed(trap=lambda v: np.full_like(v, 80)),
    ),
    Bug(
        "m3-decay-precedence",
        STAGED,
        "The sign is applied after the clamp, A = -min(f, -floor): a constant near 0, "
        "no decay.",
        "A = min(-f, -floor).",
        "any previous token",
        remembers,
        changed(A=lambda A: np.full_like(A, 1e-4)),
        ("https://github.com/fla-org/flash-linear-attention/pull/1012",),
        ("m3-decay-precedence",),
    ),
    Bug(
        "m3-decay-activation-drift",
        STAGED,
        "A is -softplus(a), the definition before June 2026.",
        "A is -f(a), f = 1 + a above 0 and 1/(1 - a) below; ask which one the weights "
        "need.",
        "any previous token",
        remembers,
        changed(A=_old_activation),
        (f"{MAMBA}/pull/962",),
        ("m3-decay-activation-drift",),
    ),
    Bug(
        "m3-static-a",
        (*SCANS, SISO_STAGES),
        "The rate of the first token is used for all.",
        "A depends on the token in Mamba-3.",
        "more than one token",
        longer_than(1),
        changed(A=_first_token),
    ),
    Bug(
        "m3-shift-over-boundary",
        SCANS,
        "The previous key and value are those of the sequence before.",
        "Reset the shifted terms where a packed sequence begins.",
        "packed sequences",
        packed,
        around(_shift_over_boundaries),
    ),
    Bug(
        "m3-key-unrotated-in-state",
        SCANS,
        "The key of the final state is not rotated.",
        "Store the last key with its bias, rotated.",
        "any angle",
        turning,
        _key_of_state(_unrotated_key),
    ),
    Bug(
        "m3-key-unbiased-in-state",
        SCANS,
        "The key of the final state lacks its bias.",
        "Store the last key with its bias, rotated.",
        "a bias of B",
        given("B_bias"),
        _key_of_state(_unbiased_key),
    ),
    Bug(
        "m3-step-tile-oob",
        ("mamba3.siso_step",),
        "The step writes rows of a tile that the tensors do not have: neighbouring "
        "parameters change.",
        "Mask loads and stores by headdim.",
        "a headdim that is no multiple of 64",
        lambda a: a["x"].shape[-1] % 64 != 0,
        around(_writes_outside),
        (f"{MAMBA}/issues/1024", f"{MAMBA}/pull/1046"),
        ("m3-step-tile-oob",),
        modifies=True,
    ),
)

MAMBA3_BUGS = (*ROTATION, *TRAPEZOID)
