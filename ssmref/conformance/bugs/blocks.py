"""Bugs in the wiring of blocks, around the ops that they hold."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...golden.layers import rms_norm, sigmoid, silu
from ...golden.s4d import s4d, s4d_step
from .bug import Arguments, Bug, Function, Wrap, after, around, changed
from .structured import S4_REPOSITORY
from .time_step import MAMBA
from .tokens import is_step, live
from .when import any_token, both, differs

MLP = "blocks.mlp_block"
SCAN, STEP = "blocks.s4_block", "blocks.s4_block_step"
Activation = Callable[[np.ndarray], np.ndarray]


def _gated(x: np.ndarray, a: Arguments) -> np.ndarray:
    up, gate = np.split(x @ a["fc1"].T, 2, axis=-1)
    return (up * silu(gate)) @ a["fc2"].T


def _normed(x: np.ndarray, a: Arguments) -> np.ndarray:
    return rms_norm(x, a["norm_weight"], eps=a.get("eps", 1e-5))


def _overwritten(_: Function, a: Arguments) -> Any:
    """Store the norm under the wrong name: the MLP gets what it got before."""
    return _gated(a["hidden"], a), _normed(a["hidden"] + a["residual"], a)


def _hidden_alone(_: Function, a: Arguments) -> Any:
    return _gated(_normed(a["hidden"], a), a), a["hidden"] + a["residual"]


def _activated(activation: Activation) -> Wrap:
    """Return the wrap with another activation between S4D and the output layer."""

    def run(_: Function, a: Arguments) -> Any:
        inner = {n: v for n, v in a.items() if n not in ("weight", "bias")}
        y, state = (s4d_step if is_step(a) else s4d)(**inner)
        both_halves = activation(y) @ a["weight"].T + a["bias"]
        value, gate = np.split(both_halves, 2, axis=-1)
        rows, mixed = live(a) if is_step(a) else slice(None), np.zeros_like(y)
        mixed[rows] = (value * sigmoid(gate))[rows]
        return mixed, state

    return around(run)


def _tanh_gelu(x: np.ndarray) -> np.ndarray:
    """Return GELU by a tanh: Hendrycks & Gimpel 2016, section 2."""
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x * x * x)
    return (x * (1 + np.tanh(inner)) / 2).astype(x.dtype)


def _swapped(stacked: np.ndarray) -> np.ndarray:
    return np.roll(stacked, len(stacked) // 2, axis=0)


BLOCKS = (
    Bug(
        "mlp-residual-overwrite",
        (MLP,),
        "The norm before the MLP is stored as the residual: the MLP gets the output "
        "of the mixer as it is, and the residual stream is normalised.",
        "Normalise a copy: hidden = norm2(residual), and hand on the sum itself.",
        "any token",
        any_token,
        around(_overwritten),
        (f"{MAMBA}/commit/49ddf83",),
        ("mlp-residual-overwrite",),
    ),
    Bug(
        "mlp-residual-without-hidden",
        (MLP,),
        "The residual is handed on as it came: the output of the mixer is lost.",
        "Hand on the sum of hidden and residual.",
        "any token",
        both(any_token, differs("hidden", np.zeros_like)),
        after(lambda result, a: (result[0], a["residual"].copy())),
    ),
    Bug(
        "mlp-norm-of-hidden",
        (MLP,),
        "The norm is taken of hidden alone, not of its sum with the residual.",
        "Add first, then normalise.",
        "a residual",
        both(any_token, differs("residual", np.zeros_like)),
        around(_hidden_alone),
    ),
    Bug(
        "mlp-gate-first",
        (MLP,),
        "The first half of fc1 is taken for the gate.",
        "The second half is: y = up silu(gate) with [up, gate] = fc1 x.",
        "any token",
        any_token,
        changed(fc1=_swapped),
    ),
    Bug(
        "s4-step-no-activation",
        (STEP,),
        "The step leaves out the activation between the kernel and the output layer.",
        "Apply GELU in the step as in the forward pass.",
        "any token",
        any_token,
        _activated(lambda y: y),
        (f"{S4_REPOSITORY}/commit/35cc242",),
        ("s4-step-no-activation",),
    ),
    Bug(
        "s4-activation-dropped",
        (SCAN,),
        "The activation between the kernel and the output layer is left out.",
        "Apply GELU before the linear layer, the gate behind it.",
        "any token",
        any_token,
        _activated(lambda y: y),
    ),
    Bug(
        "gelu-tanh",
        (SCAN, STEP),
        "GELU is approximated by a tanh.",
        "Official models use erf: approximate='none', in JAX approximate=False.",
        "any token",
        any_token,
        _activated(_tanh_gelu),
    ),
    Bug(
        "glu-gate-first",
        (SCAN, STEP),
        "The first half of the output layer is taken for the gate.",
        "The second half is: y = a sigmoid(b) with [a, b] = weight x + bias.",
        "any token",
        any_token,
        changed(weight=_swapped, bias=_swapped),
    ),
    Bug(
        "glu-bias-dropped",
        (SCAN, STEP),
        "The bias of the output layer is left out.",
        "Add it to both halves, before the gate.",
        "a bias",
        both(any_token, differs("bias", np.zeros_like)),
        changed(bias=np.zeros_like),
    ),
)
