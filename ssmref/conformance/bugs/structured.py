"""Bugs of S4, S4D, S5 and H3."""

from typing import Any

import numpy as np

from ...golden.convolution import fft_convolution
from ...golden.s4 import s4_kernel, s4_kernel_from_tilde
from .bug import Arguments, Bug, Function, around, before, changed, on_y, without
from .states import DIAGONAL, H3
from .tokens import per_sequence, tokens
from .when import any_token, both, differs, given

S4 = ("s4.s4", "s4.s4_step")
PAIRED = (*DIAGONAL, *H3)
METHODS = ("s4d.s4d", "s4d.s4d_step", "s5.s5", "s5.s5_step", *H3)
OTHER = {"zoh": "bilinear", "bilinear": "zoh"}
S4_REPOSITORY = "https://github.com/state-spaces/s4"


def _other_method(default: str):
    return lambda a: a | {"method": OTHER[a.get("method", default)]}


def _half(arguments: Arguments) -> Arguments:
    if not arguments.get("conj_sym", True):
        return arguments
    names = [n for n in ("C", "C_backward") if arguments.get(n) is not None]
    return arguments | {n: arguments[n] / 2 for n in names}


def paired(arguments: Arguments) -> bool:
    """Return whether one of each conjugate pair is stored."""
    return any_token(arguments) and arguments.get("conj_sym", True)


def _input_without_step(arguments: Arguments) -> Arguments:
    dt = arguments["dt"][:, None]
    return arguments | {"B": (arguments["B"] / dt).astype(arguments["B"].dtype)}


def _untruncated(function: Function, arguments: Arguments) -> Any:
    """Add what the kernel of C instead of C~ has too much."""
    y, state = function(**arguments)
    a, length = arguments, tokens(arguments)
    if length == 0:
        return y, state
    parts = (a["dt"], a["A"], a["B"], a["C"], a["P"], length)
    extra = s4_kernel_from_tilde(*parts) - s4_kernel(*parts)
    return (y + fft_convolution(a["u"], extra)).astype(y.dtype), state


def _no_backward_flip(function: Function, arguments: Arguments) -> Any:
    """Read the forward state by both projections."""
    both_ways = arguments.get("C_backward")
    if both_ways is None:
        return function(**arguments)
    rest = {n: v for n, v in arguments.items() if n != "C_backward"}
    summed = arguments["C"] + both_ways
    if arguments.get("initial_state") is None:
        return function(**(rest | {"C": summed}))
    y, state = function(**rest)
    fresh = {n: v for n, v in rest.items() if n not in ("initial_state", "D")}
    return y + function(**(fresh | {"C": both_ways}))[0], state


def _by_i_then_head(y: np.ndarray, arguments: Arguments) -> np.ndarray:
    size = arguments.get("head_dim", 1)
    heads = y.shape[-1] // size
    split = y.reshape(*y.shape[:-1], heads, size)
    return np.swapaxes(split, -1, -2).reshape(y.shape)


STRUCTURED = (
    Bug(
        "s4-c-conjugated",
        PAIRED,
        "C is conjugated, as in a complex inner product.",
        "Do not conjugate C: y = Re(C x), twice for stored pairs.",
        "any token",
        both(any_token, differs("C", np.conj)),
        changed(C=np.conj, C_backward=np.conj),
    ),
    Bug(
        "s4-factor-two",
        PAIRED,
        "The real part is not doubled.",
        "One of each conjugate pair is stored: y = 2 Re(C x).",
        "conjugate pairs",
        paired,
        before(_half),
        (f"{S4_REPOSITORY}/issues/120",),
    ),
    Bug(
        "s4-low-rank-dropped",
        S4,
        "The low-rank term is left out: S4 turns into S4D.",
        "The matrix is diag(A) - P P*.",
        "P",
        both(any_token, differs("P", np.zeros_like)),
        changed(P=np.zeros_like),
    ),
    Bug(
        "s4-dt-missing-in-drive",
        PAIRED,
        "The input is not multiplied by the step.",
        "B is discretised too: about dt B.",
        "any token",
        any_token,
        before(_input_without_step),
    ),
    Bug(
        "s4-other-rule",
        METHODS,
        "The other rule is used: bilinear instead of zero-order hold, or the reverse.",
        "S4D and S5 hold by default, H3 is bilinear; obey method.",
        "any token",
        any_token,
        around(lambda f, a: f(**_other_method("bilinear" if "q" in a else "zoh")(a))),
    ),
    Bug(
        "s4-c-tilde",
        ("s4.s4",),
        "The generating function uses C instead of C~ = (I - A^L)^T C: the kernel "
        "wraps "
        "around.",
        "Truncate: multiply C by I - A_bar^L once, for the length of the kernel.",
        "any token",
        any_token,
        per_sequence(_untruncated),
    ),
    Bug(
        "s4-a-sign",
        PAIRED,
        "The imaginary part of A has the other sign while B and C keep theirs.",
        "Store consistent members of each pair.",
        "more than one token or a state",
        any_token,
        changed(A=np.conj),
    ),
    Bug(
        "s4-backward-not-flipped",
        ("s5.s5",),
        "The backward direction runs forward.",
        "Flip the input before and the output after the backward scan.",
        "a second direction",
        given("C_backward"),
        around(_no_backward_flip),
        (
            "https://github.com/kyegomez/VisionMamba/issues/40",
            "https://github.com/kyegomez/VisionMamba/issues/3",
        ),
        ("bidir-not-flipped",),
    ),
    Bug(
        "h3-shift-reversed",
        H3,
        "The taps of the shift system are reversed.",
        "Tap 0 meets the current key.",
        "more than one tap",
        lambda a: any_token(a) and a["shift_C"].shape[-1] > 1,
        changed(shift_C=lambda v: v[:, ::-1].copy()),
    ),
    Bug(
        "h3-shift-skip-dropped",
        H3,
        "shift_D k is not added.",
        "The shift system has a skip of its own.",
        "shift_D",
        given("shift_D"),
        without("shift_D"),
    ),
    Bug(
        "h3-skip-dropped",
        H3,
        "D k v is not added.",
        "The diagonal system has a skip: D times the product of key and value.",
        "D",
        given("D"),
        without("D"),
    ),
    Bug(
        "h3-q-v-swapped",
        H3,
        "q and v are exchanged.",
        "The shifted key meets v; q multiplies the result.",
        "any token",
        any_token,
        before(lambda a: a | {"q": a["v"], "v": a["q"]}),
    ),
    Bug(
        "h3-heads-inside-out",
        H3,
        "Outputs are ordered by index inside the head first.",
        "Channels are (head, i), i running fastest.",
        "several heads of more than one dimension",
        lambda a: any_token(a) and 1 < a.get("head_dim", 1) < a["q"].shape[-1],
        on_y(_by_i_then_head),
    ),
)
