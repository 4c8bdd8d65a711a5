"""Bugs of one token of the recurrence: what decays, what enters, what is read."""

from dataclasses import replace

import numpy as np

from .bug import Bug, Wrap, around, before, changed
from .recurrence import Recurrence, groups, per_head, previous, recurrent
from .time_step import HF, MAMBA1, STEPPED
from .tokens import has_tokens, map_state
from .when import any_token, both, longer_than, remembers

MAMBA3 = ("mamba3.siso", "mamba3.siso_step", "mamba3.mimo", "mamba3.mimo_step")
SELECTIVE = (*STEPPED, *MAMBA3)
STAGES = ("stages.ssd_stages", "stages.selective_scan_stages", "stages.siso_stages")
SCANS = ("mamba1.selective_scan", "mamba2.ssd", "mamba3.siso", "mamba3.mimo")


def _scaled(factor) -> Wrap:
    def change(r: Recurrence) -> Recurrence:
        drive = (r.drive * factor(r)).astype(r.drive.dtype)
        return replace(r, drive=drive)

    return recurrent(change)


def _zero_order_hold(r: Recurrence) -> np.ndarray:
    safe = np.where(r.exponent == 0, 1, r.exponent)
    return np.where(r.exponent == 0, 1, np.expm1(safe) / safe)


def _without_dt(r: Recurrence) -> np.ndarray:
    dt = r.dt[..., None, None]
    return 1 / np.where(dt == 0, np.inf, dt)


def _late_decay(r: Recurrence) -> Recurrence:
    kept = r.exponent[:, :1], r.exponent[:, :-1]
    return replace(r, exponent=np.concatenate(kept, axis=1))


def _undecayed_start(r: Recurrence) -> Recurrence:
    if not r.drive.shape[1]:
        return r
    drive = r.drive.copy()
    drive[:, 0] += r.start
    return replace(r, drive=drive, start=np.zeros_like(r.start))


def regrouped(index) -> Wrap:
    """Return the wrap in which head h takes the group ``index(groups, heads)[h]``."""

    def change(arguments):
        count, heads = groups(arguments)
        if count == 1:
            return arguments
        chosen = index(count, heads)
        return arguments | {n: arguments[n][..., chosen, :] for n in "BC"}

    return before(change)


def _reversed(function, arguments):
    def flip(v: np.ndarray) -> np.ndarray:
        return v[:, ::-1].copy()

    flipped = {n: flip(v) for n, v in arguments.items() if has_tokens(n, v)}
    if (bounds := arguments.get("cu_seqlens")) is not None:
        flipped["cu_seqlens"] = (bounds[-1] - bounds)[::-1].copy()
    if bounds is not None and arguments.get("initial_state") is not None:
        start = arguments["initial_state"]
        flipped["initial_state"] = map_state(lambda s: s[::-1].copy(), start)
    y, state = function(**(arguments | flipped))
    state = state if bounds is None else map_state(lambda s: s[::-1], state)
    return flip(y), state


def _raced(arguments):
    """Read B and C of the next token at every third, in every other channel."""
    B, C = per_head(arguments, "B").copy(), per_head(arguments, "C").copy()
    for X in (B, C):
        X[:, 1:-1:3, ::2] = X[:, 2::3, ::2][:, : len(range(1, X.shape[1] - 1, 3))]
    return arguments | {"B": B, "C": C}


def _conditions(name: str):
    """Return conditions on the number of groups and heads."""
    tests = {
        "inner": lambda g, h: 1 < g < h,
        "several": lambda g, _: g > 1,
        "uneven": lambda g, h: g > 1 and h // g != g,
    }
    return both(any_token, lambda a: tests[name](*groups(a)))


DRIVE = (
    Bug(
        "zoh-for-b",
        STEPPED,
        "The input is discretised by zero-order hold, (e^(dt A) - 1)/A B.",
        "Use dt B: the official code follows Euler's rule, not the paper.",
        "any input; the more, the larger dt A is",
        any_token,
        _scaled(_zero_order_hold),
        ("https://github.com/johnma2006/mamba-minimal/issues/2",),
    ),
    Bug(
        "dt-missing-in-drive",
        STEPPED,
        "The input is B x without the factor dt.",
        "The input is dt B x; dt occurs twice, in the decay and here.",
        "any input",
        any_token,
        _scaled(_without_dt),
        ("https://github.com/state-spaces/mamba/issues/551",),
    ),
    Bug(
        "dt-twice-in-drive",
        STEPPED,
        "The input is multiplied by dt twice, before and inside the kernel.",
        "Multiply x or B by dt once.",
        "any input",
        any_token,
        _scaled(lambda r: r.dt[..., None, None]),
    ),
    Bug(
        "decay-on-input",
        STEPPED,
        "The new input decays together with the old state: e^(dt A) (h + dt B x).",
        "Decay the old state only, then add the input.",
        "any input",
        any_token,
        _scaled(lambda r: np.exp(r.exponent)),
    ),
    Bug(
        "decay-one-token-late",
        ("mamba1.selective_scan", "mamba2.ssd"),
        "The state decays by the dt of the previous token.",
        "Decay by e^(dt[t] A) before adding the input of the same token t.",
        "a sequence of more than one token",
        longer_than(1),
        recurrent(_late_decay),
    ),
    Bug(
        "initial-state-not-decayed",
        ("mamba1.selective_scan", "mamba2.ssd"),
        "The state that comes in is added to the first token without decay.",
        "The first token decays the state that comes in, too.",
        "a state that comes in",
        remembers,
        recurrent(_undecayed_start),
    ),
    Bug(
        "output-before-update",
        STEPPED,
        "The output reads the state before the token is taken in.",
        "Update the state first: y[t] = C[t] h[t].",
        "any input",
        any_token,
        recurrent(seen=previous),
    ),
    Bug(
        "b-c-swapped",
        SELECTIVE,
        "B and C are exchanged, as when a projection is split in the wrong order.",
        "Split in the order x, B, C.",
        "any input",
        any_token,
        before(lambda a: a | {"B": a["C"], "C": a["B"]}),
    ),
    Bug(
        "time-reversed",
        SCANS,
        "The scan runs from the last token to the first.",
        "Run from the first token; flip only for the backward half of a layer.",
        "more than one token",
        longer_than(1),
        around(_reversed),
    ),
    Bug(
        "groups-tile-hf",
        (*SELECTIVE, *STAGES),
        "Heads take groups cyclically (h mod G) instead of in blocks (h // (H/G)).",
        "Repeat each group for consecutive heads: repeat_interleave, not tile.",
        "more than one group and fewer groups than heads",
        _conditions("inner"),
        regrouped(lambda g, h: np.arange(h) % g),
        (
            f"{HF}/pull/37533",
            f"{HF}/pull/38320",
            "https://github.com/ggml-org/llama.cpp/pull/15625",
        ),
        ("groups-tile-hf", "groups-tile-ggml"),
    ),
    Bug(
        "groups-first-only",
        (*SELECTIVE, *STAGES),
        "All heads use the first group of B and C.",
        "Head h uses group h // (H/G).",
        "more than one group",
        _conditions("several"),
        regrouped(lambda _, h: np.zeros(h, int)),
    ),
    Bug(
        "groups-divided-by-groups",
        (*SELECTIVE, *STAGES),
        "Head h takes group h // G instead of h // (H/G).",
        "Divide by the number of heads per group, not by the number of groups.",
        "more than one group and not as many heads per group",
        _conditions("uneven"),
        regrouped(lambda g, h: np.minimum(np.arange(h) // g, g - 1)),
    ),
    Bug(
        "ggml-scan-smem-race",
        ("mamba1.selective_scan",),
        "Some channels of some tokens use B and C of the next token: a barrier between "
        "tokens is missing.",
        "Synchronise before overwriting what others still read.",
        "more than two tokens",
        both(longer_than(2), lambda a: max(a["B"].ndim, a["C"].ndim) > 2),
        before(_raced),
        (
            "https://github.com/ggml-org/ggml/issues/1498",
            "https://github.com/ggml-org/llama.cpp/pull/24360",
            "https://github.com/ggml-org/llama.cpp/pull/23983",
        ),
        ("ggml-scan-smem-race",),
    ),
    Bug(
        "complex-factor-two",
        MAMBA1,
        "With complex A the output is the real part, not twice the real part.",
        "One of each conjugate pair is stored: y = 2 Re(C h).",
        "complex A",
        lambda a: any_token(a) and np.iscomplexobj(a["A"]),
        changed(C=lambda C: C / 2 if np.iscomplexobj(C) else C),
        ("https://github.com/state-spaces/s4/issues/120",),
    ),
    Bug(
        "complex-c-conjugated",
        MAMBA1,
        "C is conjugated, as in a complex inner product.",
        "Do not conjugate C: y = 2 Re(sum C h).",
        "complex A",
        lambda a: any_token(a) and np.iscomplexobj(a["A"]),
        changed(C=np.conj),
    ),
    Bug(
        "complex-a-imaginary-dropped",
        MAMBA1,
        "The imaginary part of A is lost.",
        "Keep A complex up to exp(dt A).",
        "complex A and a state that must turn",
        both(remembers, lambda a: np.iscomplexobj(a["A"])),
        changed(A=lambda A: np.real(A).astype(A.dtype)),
    ),
)
