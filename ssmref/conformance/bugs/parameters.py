"""Bugs of parameters and projections on their way into an op."""

from typing import Any

import numpy as np

from ...golden.layers import heavy_tail, rms_norm, softplus
from .bug import Arguments, Bug, Function, after, around, before, changed
from .serving import VLLM
from .time_step import CLAMP_FIX, CLAMP_LINKS, HF, MAMBA, MLX, to_bfloat16


def _without_norms(function: Function, a: Arguments) -> Any:
    del function
    return np.einsum("btr,dr->btd", a["dt"], a["weight"]), a["B"], a["C"]


def _norm_after_projection(function: Function, a: Arguments) -> Any:
    _, B, C = function(**a)
    dt = np.einsum("btr,dr->btd", a["dt"], a["weight"])
    return rms_norm(dt, eps=a.get("eps", 1e-6)), B, C


def _no_clamp_order(A: np.ndarray, a: Arguments) -> np.ndarray:
    f = (softplus if a.get("activation") == "softplus" else heavy_tail)(a["a"])
    return -np.minimum(f, -A.dtype.type(a.get("floor", 1e-4)))


def _other_activation(a: Arguments) -> Arguments:
    names = {"softplus": "heavy_tail", "heavy_tail": "softplus"}
    return a | {"activation": names[a.get("activation", "heavy_tail")]}


PARAMETERS = (
    Bug(
        "rate-double-exp",
        ("parameters.mamba_rate",),
        "A, already negative, is taken for A_log: the rate becomes -exp(-exp(A_log)).",
        "Apply -exp once: GGUF files store A itself.",
        "any value",
        lambda a: a["A_log"].size > 0,
        after(lambda A, _: -np.exp(A)),
        (
            "https://github.com/1bit-MONSTER/1bit-MONSTER/issues/1460",
            "https://github.com/lucasjinreal/Crane/pull/99",
        ),
        ("a-log-double-exp",),
    ),
    Bug(
        "rate-lowprec-exp",
        ("parameters.mamba_rate",),
        "exp is evaluated in bfloat16.",
        "Compute in float32, whatever the dtype of the model is.",
        "values that bfloat16 cannot hold",
        lambda a: a["A_log"].size > 0,
        around(lambda f, a: to_bfloat16(f(A_log=to_bfloat16(a["A_log"])))),
        (f"{MLX}/pull/1028", f"{MAMBA}/pull/923"),
        ("a-log-lowprec-exp",),
    ),
    Bug(
        "rate-softplus",
        ("parameters.mamba_rate",),
        "A is -softplus(A_log).",
        "A is -exp(A_log).",
        "any value",
        lambda a: a["A_log"].size > 0,
        around(lambda _, a: -softplus(a["A_log"])),
    ),
    Bug(
        "step-size-init-range",
        ("parameters.mamba2_step_size",),
        "dt is clamped to [time_step_min, time_step_max].",
        CLAMP_FIX,
        "dt below 0.001 or above 0.1",
        lambda a: a["dt"].size > 0,
        after(lambda dt, _: np.clip(dt, 1e-3, 0.1)),
        CLAMP_LINKS,
        ("dt-clamp-init-range",),
    ),
    Bug(
        "step-size-init-floor",
        ("parameters.mamba2_step_size",),
        "dt is clamped from below by time_step_min.",
        CLAMP_FIX,
        "dt below 0.001",
        lambda a: a["dt"].size > 0,
        after(lambda dt, _: np.maximum(dt, dt.dtype.type(1e-3))),
        CLAMP_LINKS,
        ("dt-clamp-init-range",),
    ),
    Bug(
        "rate3-clamp-precedence",
        ("parameters.mamba3_rate",),
        "The sign is applied after the clamp: A is the floor, positive.",
        "A = min(-f(a), -floor).",
        "any value",
        lambda a: a["a"].size > 0,
        after(_no_clamp_order),
        ("https://github.com/fla-org/flash-linear-attention/pull/1012",),
        ("m3-decay-precedence",),
    ),
    Bug(
        "rate3-activation-drift",
        ("parameters.mamba3_rate",),
        "The other activation is used: softplus instead of the heavy tail, or the "
        "reverse.",
        "Ask which one the weights were trained with.",
        "any value",
        lambda a: a["a"].size > 0,
        before(_other_activation),
        (f"{MAMBA}/pull/962",),
        ("m3-decay-activation-drift",),
    ),
    Bug(
        "bcdt-norm-missing",
        ("parameters.falcon_mamba_projections",),
        "The norms of B, C and dt are left out; having no weights, they do not show "
        "in a "
        "checkpoint.",
        "Normalise all three.",
        "any token",
        lambda a: a["dt"].size > 0,
        around(_without_norms),
        (
            f"{HF}/pull/33195",
            f"{VLLM}/pull/10456",
            "https://github.com/lablup/mlxcel/pull/1574",
        ),
        ("bcdt-norm-missing",),
    ),
    Bug(
        "bcdt-norm-after-projection",
        ("parameters.falcon_mamba_projections",),
        "dt is normalised after its projection.",
        "Normalise dt before dt_proj.",
        "any token",
        lambda a: a["dt"].size > 0,
        around(_norm_after_projection),
        (f"{HF}/pull/33195",),
    ),
    Bug(
        "mup-multipliers-missing",
        ("parameters.falcon_h1_projections",),
        "The multipliers of z, x, B, C and dt are left out.",
        "Multiply each slice of the projection by its own factor.",
        "multipliers other than 1",
        lambda a: a["projected"].size > 0,
        changed(multipliers=np.ones_like),
        (f"{HF}/pull/38320",),
        ("mup-multipliers-missing",),
    ),
    Bug(
        "mup-multipliers-order",
        ("parameters.falcon_h1_projections",),
        "The multipliers of z and x are exchanged.",
        "The order is z, x, B, C, dt.",
        "different multipliers of z and x",
        lambda a: a["projected"].size > 0,
        changed(multipliers=lambda m: m[[1, 0, 2, 3, 4]]),
    ),
)
