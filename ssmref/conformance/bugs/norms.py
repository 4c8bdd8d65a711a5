"""Bugs of the norms and of the gate beside them."""

from typing import Any

import numpy as np

from ...golden.layers import sigmoid, silu
from .bug import Arguments, Bug, Wrap, around, before, changed, instead, without
from .time_step import HF, MAMBA
from .when import Condition

GATED, RMS, LAYER = "layers.rms_norm_gated", "layers.rms_norm", "layers.layer_norm"
FLA = "https://github.com/fla-org/flash-linear-attention"


def anything(arguments: Arguments) -> bool:
    """Return whether there is anything to normalise."""
    return arguments["x"].size > 0


def wide(arguments: Arguments) -> bool:
    """Return whether there is more than one channel."""
    return anything(arguments) and arguments["x"].shape[-1] > 1


def has(*names: str) -> Condition:
    """Return the condition that one of these is given and x is not empty."""
    return lambda a: anything(a) and any(a.get(name) is not None for name in names)


def grouped(arguments: Arguments) -> bool:
    """Return whether there are several groups."""
    size = arguments.get("group_size")
    return anything(arguments) and size not in (None, arguments["x"].shape[-1])


def _other_order(arguments: Arguments) -> Arguments:
    return arguments | {
        "norm_before_gate": not arguments.get("norm_before_gate", False)
    }


def by_formula(divisor, gate=silu) -> Wrap:
    """Return the wrap that divides groups by ``divisor(x, eps)``, with `gate`."""

    def norm(x: np.ndarray, a: Arguments) -> np.ndarray:
        size = a.get("group_size") or x.shape[-1]
        groups = x.reshape(*x.shape[:-1], x.shape[-1] // size, size)
        y = (groups / divisor(groups, x.dtype.type(a.get("eps", 1e-5)))).reshape(
            x.shape
        )
        return y if a.get("weight") is None else y * a["weight"]

    def function(**a: Any) -> np.ndarray:
        x, z = a["x"], a.get("z")
        if z is None:
            return norm(x, a)
        return (
            norm(x, a) * gate(z) if a.get("norm_before_gate") else norm(x * gate(z), a)
        )

    return instead(function)


def _mean_square(x: np.ndarray) -> np.ndarray:
    return np.mean(x * x, axis=-1, keepdims=True)


def _root(x: np.ndarray, eps: Any) -> np.ndarray:
    return np.sqrt(_mean_square(x) + eps)


def _eps_outside(x: np.ndarray, eps: Any) -> np.ndarray:
    return np.sqrt(_mean_square(x)) + eps


def _sum(x: np.ndarray, eps: Any) -> np.ndarray:
    return np.sqrt(np.sum(x * x, axis=-1, keepdims=True) + eps)


def _deviation(x: np.ndarray, eps: Any) -> np.ndarray:
    return np.sqrt(np.var(x, axis=-1, keepdims=True) + eps)


def _unbiased(function, a: Arguments) -> np.ndarray:
    x, eps = a["x"], a["x"].dtype.type(a.get("eps", 1e-5))
    if x.shape[-1] < 2:
        return function(**a)
    variance = np.var(x, axis=-1, keepdims=True, ddof=1)
    y = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(variance + eps)
    y = y if a.get("weight") is None else y * a["weight"]
    return y if a.get("bias") is None else y + a["bias"]


def _uncentred(function, a: Arguments) -> np.ndarray:
    del function
    y = a["x"] / _root(a["x"], a["x"].dtype.type(a.get("eps", 1e-5)))
    y = y if a.get("weight") is None else y * a["weight"]
    return y if a.get("bias") is None else y + a["bias"]


def _eps_counts(arguments: Arguments) -> bool:
    """Return whether eps has digits beside the mean square."""
    if not anything(arguments):
        return False
    x = arguments["x"]
    if (z := arguments.get("z")) is not None and not arguments.get("norm_before_gate"):
        x = x * silu(z)
    size = arguments.get("group_size") or x.shape[-1]
    groups = x.reshape(*x.shape[:-1], x.shape[-1] // size, size).astype(np.float64)
    square = np.mean(groups * groups, axis=-1)
    return bool(np.any(square < 1e7 * arguments.get("eps", 1e-5)))


NORMS = (
    Bug(
        "norm-groups-ignored",
        (GATED,),
        "The mean square is taken over all channels instead of over each group.",
        "Normalise each block of group_size channels by itself.",
        "several groups",
        grouped,
        without("group_size"),
        (f"{HF}/pull/35943", f"{HF}/pull/40861", f"{MAMBA}/pull/910"),
        ("norm-groups-ignored",),
    ),
    Bug(
        "norm-gate-order",
        (GATED,),
        "Norm and gate are exchanged.",
        "Mamba-2 gates first, rms(x silu(z)); norm_before_gate says the reverse.",
        "a gate",
        has("z"),
        before(_other_order),
        (f"{FLA}/issues/63", f"{HF}/pull/32686"),
        ("norm-gate-order",),
    ),
    Bug(
        "norm-gate-dropped",
        (GATED,),
        "z is ignored.",
        "Multiply by silu(z), before or after the norm.",
        "a gate",
        has("z"),
        without("z"),
    ),
    Bug(
        "norm-gate-sigmoid",
        (GATED,),
        "The gate is sigmoid(z).",
        "The gate is silu(z) = z sigmoid(z).",
        "a gate",
        has("z"),
        by_formula(_root, sigmoid),
    ),
    Bug(
        "norm-weight-dropped",
        (GATED, RMS, LAYER),
        "The weight is ignored.",
        "Multiply the normalised values by weight.",
        "a weight",
        has("weight"),
        without("weight"),
    ),
    Bug(
        "norm-weight-plus-one",
        (GATED, RMS, LAYER),
        "The weight is 1 + weight, as in other families of models.",
        "Multiply by weight itself.",
        "a weight",
        has("weight"),
        changed(weight=lambda w: 1 + w),
    ),
    Bug(
        "norm-bias-dropped",
        (LAYER,),
        "The bias is ignored.",
        "Add bias after the weight.",
        "a bias",
        has("bias"),
        without("bias"),
    ),
    Bug(
        "norm-eps-outside",
        (GATED, RMS),
        "eps is added to the root instead of to the mean square.",
        "sqrt(mean(x^2) + eps).",
        "values that are not large against sqrt(eps)",
        _eps_counts,
        by_formula(_eps_outside),
    ),
    Bug(
        "norm-eps-default",
        (GATED, RMS, LAYER),
        "eps is 1e-5 whatever was asked for.",
        "Use the eps of the configuration.",
        "another eps",
        lambda a: anything(a) and a.get("eps", 1e-5) != 1e-5,
        without("eps"),
    ),
    Bug(
        "norm-sum-of-squares",
        (GATED, RMS),
        "The sum of squares is taken instead of their mean.",
        "Divide by the root of the mean square.",
        "more than one channel",
        wide,
        by_formula(_sum),
    ),
    Bug(
        "norm-by-deviation",
        (GATED, RMS),
        "Values are divided by their standard deviation.",
        "An RMS norm subtracts no mean, also not inside the variance.",
        "values whose mean is not 0",
        anything,
        by_formula(_deviation),
    ),
    Bug(
        "norm-unbiased-variance",
        (LAYER,),
        "The variance is divided by channels - 1.",
        "Divide by the number of channels.",
        "more than one channel",
        wide,
        around(_unbiased),
    ),
    Bug(
        "norm-mean-kept",
        (LAYER,),
        "The mean is not subtracted: an RMS norm.",
        "Subtract the mean first.",
        "values whose mean is not 0",
        anything,
        around(_uncentred),
    ),
)
