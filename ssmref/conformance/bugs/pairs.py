"""Bugs that lose an option where another one is given, or where it is missing."""

from collections.abc import Callable

from .bug import Arguments, Bug, Wrap, before
from .drive import MAMBA3, SELECTIVE
from .mamba3_output import MIMO
from .time_step import CACHES, MAMBA1, MAMBA2, SSD_STAGES, STAGES, STEPPED
from .when import both, given, packed

Condition = Callable[[Arguments], bool]
NORMS = ("layers.rms_norm", "layers.rms_norm_gated", "layers.layer_norm")
SKIPPED = (MAMBA1[0], MAMBA2[0], MAMBA3[0], MAMBA3[2], "s4.s4", "s4d.s4d", "s5.s5")
RULES = ("s4d.s4d", "s5.s5", "h3.h3")
OUTSIDE = "Ask for each option by itself, outside the branches of others."
DRIVER = "Hand all options on where sequences are taken out of a pack."


def missing(*names: str) -> Condition:
    """Return the condition that none of these options is given."""
    return lambda a: all(a.get(name) is None for name in names)


def _one_rank(arguments: Arguments) -> bool:
    return arguments["B"].shape[-3] == 1


def _linear(arguments: Arguments) -> bool:
    return not arguments.get("dt_softplus", False)


def _unturned(arguments: Arguments) -> bool:
    return arguments["angles"].shape[-1] == 0


def _soft(arguments: Arguments) -> bool:
    return not _linear(arguments)


def _not_both_biases(arguments: Arguments) -> bool:
    return missing("B_bias")(arguments) or missing("C_bias")(arguments)


def _lost(where: Condition, *names: str) -> Wrap:
    """Return the wrap that ignores these options where the condition holds."""

    def change(arguments: Arguments) -> Arguments:
        if not where(arguments):
            return arguments
        return {n: v for n, v in arguments.items() if n not in names}

    return before(change)


def _bug(
    name: str,
    ops: tuple[str, ...],
    wrong: str,
    where: Condition,
    names: tuple[str, ...],
    words: str,
    *more: Condition,
) -> Bug:
    """Return the bug that ignores `names` in `ops` where a condition holds.

    It shows where one of them is given too, and `more` says what else that needs.
    """
    exposes = both(where, given(*names), *more)
    fix = DRIVER if where is packed else OUTSIDE
    return Bug(name, ops, wrong, fix, words, exposes, _lost(where, *names))


PAIRS = (
    _bug(
        "gate-needs-skip",
        SELECTIVE,
        "Without D there is no gate either.",
        missing("D"),
        ("z",),
        "z without D",
    ),
    _bug(
        "dt-softplus-needs-bias",
        (*STEPPED, *CACHES, *STAGES),
        "softplus is taken where a bias is added, and not otherwise.",
        missing("dt_bias"),
        ("dt_softplus",),
        "softplus without a bias",
        _soft,
    ),
    _bug(
        "dt-limit-needs-softplus",
        (*MAMBA2, *CACHES, SSD_STAGES),
        "dt is clamped where softplus is asked for, and not otherwise.",
        _linear,
        ("dt_limit",),
        "limits without softplus",
    ),
    _bug(
        "packed-step-sizes-raw",
        (MAMBA1[0], MAMBA2[0]),
        "In a pack dt is used as it comes: no bias, no softplus, no limits.",
        packed,
        ("dt_bias", "dt_softplus", "dt_limit"),
        "a pack, and something that changes dt",
        lambda a: _soft(a) or not missing("dt_bias", "dt_limit")(a),
    ),
    _bug(
        "packed-skip-dropped",
        SKIPPED,
        "In a pack D x is not added.",
        packed,
        ("D",),
        "a pack, and D",
    ),
    _bug(
        "packed-gate-dropped",
        (MAMBA1[0], MAMBA2[0], MAMBA3[0], MAMBA3[2]),
        "In a pack z is ignored.",
        packed,
        ("z",),
        "a pack, and z",
    ),
    _bug(
        "packed-rule-default",
        RULES,
        "In a pack the discretisation is the default, whatever was asked for.",
        packed,
        ("method",),
        "a pack, and another rule than the default",
    ),
    _bug(
        "norm-eps-needs-weight",
        NORMS,
        "Without a weight the eps is the default, whatever was asked for.",
        missing("weight"),
        ("eps",),
        "an eps without a weight",
    ),
    _bug(
        "m3-bias-needs-both",
        (*MAMBA3, "stages.siso_stages"),
        "Biases are added where both are given, and not otherwise.",
        _not_both_biases,
        ("B_bias", "C_bias"),
        "one bias without the other",
    ),
    _bug(
        "m3-bias-needs-rotation",
        MAMBA3,
        "Biases belong to the rotation: without angles they are not added.",
        _unturned,
        ("B_bias", "C_bias"),
        "biases without angles",
    ),
    _bug(
        "m3-norm-eps-needs-gate",
        MAMBA3,
        "Without z the eps of the norm is the default, whatever was asked for.",
        missing("z"),
        ("norm_eps",),
        "an eps and a norm weight without z",
        given("norm_weight"),
    ),
    _bug(
        "m3-mimo-z-needs-x",
        MIMO,
        "Without mimo_x there is no mimo_z either.",
        missing("mimo_x"),
        ("mimo_z",),
        "mimo_z and z without mimo_x",
        given("z"),
    ),
    _bug(
        "m3-mimo-o-needs-x",
        MIMO,
        "Without mimo_x there is no mimo_o either.",
        missing("mimo_x"),
        ("mimo_o",),
        "mimo_o without mimo_x",
    ),
    _bug(
        "m3-one-rank-as-siso",
        MIMO,
        "A single rank without mimo_x is taken for SISO: no mimo_z, no mimo_o.",
        both(_one_rank, missing("mimo_x")),
        ("mimo_z", "mimo_o"),
        "one rank and another projection than mimo_x",
        lambda a: not missing("mimo_o")(a) or not missing("z")(a),
    ),
)
