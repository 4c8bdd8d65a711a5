"""Bugs of the time step, its softplus and its limits, and of the rate A."""

import math

import ml_dtypes
import numpy as np

from ...golden.layers import softplus
from .bug import Arguments, Bug, Wrap, before, changed, without
from .recurrence import step_sizes
from .when import any_token, both, differs, given, remembers

MAMBA = "https://github.com/state-spaces/mamba"
HF = "https://github.com/huggingface/transformers"
MLX = "https://github.com/ml-explore/mlx-lm"

MAMBA1 = ("mamba1.selective_scan", "mamba1.selective_scan_step")
MAMBA2 = ("mamba2.ssd", "mamba2.ssd_step")
STEPPED = (*MAMBA1, *MAMBA2)
CACHES = ("caches.serve", "caches.snapshots")
SSD_STAGES = "stages.ssd_stages"
STAGES = ("stages.selective_scan_stages", SSD_STAGES)
# Where log(1 + e^x) loses no digits and does not overflow, in single precision.
SAFE_RAW = (-3.0, 80.0)


def with_dt(change) -> Wrap:
    """Return the wrap that turns (dt, bias, softplus?) into dt in another way."""

    def run(arguments: Arguments) -> Arguments:
        rest = {
            n: v for n, v in arguments.items() if n not in ("dt_bias", "dt_softplus")
        }
        bias, use = arguments.get("dt_bias"), arguments.get("dt_softplus", False)
        bias = np.zeros_like(arguments["dt"]) if bias is None else bias
        with np.errstate(over="ignore"):
            return rest | {"dt": change(arguments["dt"], bias, use)}

    return before(run)


def soft(x: np.ndarray, use: bool) -> np.ndarray:
    """Return softplus of x where it is asked for."""
    return softplus(x) if use else x


def naive(x: np.ndarray) -> np.ndarray:
    """Return softplus without guards: inf for large x, 0 for very negative x."""
    return np.log(1 + np.exp(x))


def guarded(x: np.ndarray) -> np.ndarray:
    """Return softplus with a guard for large x only."""
    return np.where(x > 20, x, naive(x))


def raw(arguments: Arguments) -> np.ndarray:
    """Return dt with its bias, before softplus."""
    bias = arguments.get("dt_bias")
    return arguments["dt"] if bias is None else arguments["dt"] + bias


def raw_beyond_safe(arguments: Arguments) -> bool:
    """Return whether raw dt lies where a naive softplus is wrong."""
    x, (low, high) = raw(arguments), SAFE_RAW
    return bool(arguments.get("dt_softplus")) and bool(np.any((x < low) | (x > high)))


def limited_first(arguments: Arguments) -> Arguments:
    """Clamp raw dt instead of the result of softplus."""
    if "dt_limit" not in arguments:
        return arguments
    low, high = arguments["dt_limit"]
    rest = {n: v for n, v in arguments.items() if n not in ("dt_limit", "dt_bias")}
    dt = np.clip(raw(arguments), np.float32(low), np.float32(high))
    return rest | {"dt": dt.astype(arguments["dt"].dtype)}


def clamped(low: float, high: float) -> Wrap:
    """Return the wrap that clamps dt to a range of initial values at run time."""
    return with_dt(lambda dt, bias, use: np.clip(soft(dt + bias, use), low, high))


def outside(low: float, high: float):
    """Return the condition that some effective dt lies outside a range."""

    def condition(arguments: Arguments) -> bool:
        dt = step_sizes({n: v for n, v in arguments.items() if n != "dt_limit"})
        return bool(np.any((dt < low) | (dt > high)))

    return condition


def no_upper(limits: tuple[float, float]) -> tuple[float, float]:
    """Return the limits without the upper one."""
    return limits[0], math.inf


def through(dtype: type, array: np.ndarray) -> np.ndarray:
    """Return numbers rounded to a lower dtype, in their own."""
    if np.iscomplexobj(array):
        return through(dtype, np.real(array)) + 1j * through(dtype, np.imag(array))
    return array.astype(dtype).astype(array.dtype)


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """Return numbers rounded to bfloat16, in their own dtype."""
    return through(ml_dtypes.bfloat16, array)


CLAMP_LINKS = (
    f"{HF}/pull/35154",
    f"{HF}/pull/47513",
    f"{MLX}/pull/988",
    f"{MLX}/pull/1026",
)
CLAMP_FIX = "Clamp dt only by time_step_limit, which is (0, inf) by default."

TIME_STEP = (
    Bug(
        "dt-softplus-no-guard",
        (*STEPPED, *STAGES),
        "softplus is log(1 + e^x) as it stands, inf for large x and 0 below -17.",
        "Return x itself above 20 and use log1p(e^x) below.",
        "raw dt beyond 88 or far below 0",
        raw_beyond_safe,
        with_dt(lambda dt, b, use: naive(dt + b) if use else dt + b),
        (f"{MAMBA}/commit/3854ad8",),
        ("dt-softplus-no-guard",),
    ),
    Bug(
        "dt-softplus-small-lost",
        (*STEPPED, *STAGES),
        "softplus is log(e^x + 1) below its threshold: the sum rounds to 1 where x is "
        "below -17 in float32, and such a token is ignored.",
        "Use log1p(e^x).",
        "raw dt far below 0",
        lambda a: bool(a.get("dt_softplus")) and bool(np.any(raw(a) < SAFE_RAW[0])),
        with_dt(lambda dt, b, use: guarded(dt + b) if use else dt + b),
        (f"{MAMBA}/blob/main/mamba_ssm/ops/triton/softplus.py",),
    ),
    Bug(
        "softplus-missing",
        (*STEPPED, *CACHES, *STAGES),
        "dt is used raw although softplus is asked for.",
        "Apply softplus to dt + dt_bias where dt_softplus is set.",
        "dt_softplus",
        given("dt_softplus"),
        without("dt_softplus"),
    ),
    Bug(
        "softplus-twice",
        (*STEPPED, *CACHES, *STAGES),
        "softplus is applied twice, once outside and once inside the kernel.",
        "Apply softplus once: in the caller or in the kernel.",
        "dt_softplus",
        given("dt_softplus"),
        with_dt(lambda dt, b, use: softplus(softplus(dt + b)) if use else dt + b),
    ),
    Bug(
        "dt-bias-dropped",
        (*STEPPED, *CACHES, *STAGES),
        "dt_bias is not added.",
        "Add dt_bias to dt before softplus.",
        "dt_bias",
        given("dt_bias"),
        without("dt_bias"),
    ),
    Bug(
        "dt-bias-twice",
        (*STEPPED, *CACHES, *STAGES),
        "dt_bias is added twice, by the projection and by the kernel.",
        "Add dt_bias once; call the projection without its bias.",
        "dt_bias",
        given("dt_bias"),
        changed(dt_bias=lambda b: 2 * b),
    ),
    Bug(
        "dt-bias-after-softplus",
        (*STEPPED, *CACHES, *STAGES),
        "dt_bias is added after softplus.",
        "Add dt_bias first: softplus(dt + dt_bias).",
        "dt_bias together with dt_softplus",
        both(given("dt_bias"), given("dt_softplus")),
        with_dt(lambda dt, b, use: soft(dt, use) + b),
    ),
    Bug(
        "dt-limit-ignored",
        (*MAMBA2, *CACHES, SSD_STAGES),
        "dt is not clamped to dt_limit.",
        "Clamp dt to dt_limit after softplus, in the scan and in the step.",
        "a dt_limit that some dt exceeds",
        given("dt_limit"),
        without("dt_limit"),
    ),
    Bug(
        "dt-limit-upper-ignored",
        (*MAMBA2, *CACHES, SSD_STAGES),
        "Only the lower end of dt_limit is enforced.",
        "Clamp dt from both sides.",
        "a dt_limit with a finite upper end",
        given("dt_limit"),
        changed(dt_limit=no_upper),
    ),
    Bug(
        "dt-limit-before-softplus",
        (*MAMBA2, *CACHES, SSD_STAGES),
        "Raw dt is clamped to dt_limit, before softplus.",
        "Clamp the result of softplus.",
        "a dt_limit together with dt_softplus",
        both(given("dt_limit"), given("dt_softplus")),
        before(limited_first),
    ),
    Bug(
        "dt-clamp-init-floor",
        (*STEPPED, "caches.serve", *STAGES),
        "dt is clamped from below by time_step_min, which is a range of initial "
        "values.",
        CLAMP_FIX,
        "dt below 0.001 after softplus",
        outside(1e-3, np.inf),
        clamped(1e-3, np.inf),
        CLAMP_LINKS,
        ("dt-clamp-init-range",),
    ),
    Bug(
        "dt-clamp-init-range",
        (*STEPPED, *CACHES, *STAGES),
        "dt is clamped to [time_step_min, time_step_max], the range of initial values.",
        CLAMP_FIX,
        "dt below 0.001 or above 0.1 after softplus",
        outside(1e-3, 0.1),
        clamped(1e-3, 0.1),
        CLAMP_LINKS,
        ("dt-clamp-init-range",),
    ),
    Bug(
        "a-log-double-exp",
        (*STEPPED, SSD_STAGES),
        "A, already negative, is taken for A_log: the rate becomes -exp(A).",
        "Apply -exp once: either store A_log or A.",
        "a state that must decay",
        remembers,
        changed(A=lambda A: -np.exp(A)),
        (
            "https://github.com/1bit-MONSTER/1bit-MONSTER/issues/1460",
            "https://github.com/lucasjinreal/Crane/pull/99",
        ),
        ("a-log-double-exp",),
    ),
    Bug(
        "a-log-softplus",
        (*STEPPED, SSD_STAGES),
        "A is computed as -softplus(A_log).",
        "A is -exp(A_log) in Mamba-1 and Mamba-2.",
        "a state that must decay",
        remembers,
        changed(A=lambda A: -np.log1p(-A)),
    ),
    Bug(
        "a-log-lowprec-exp",
        (*STEPPED, SSD_STAGES),
        "A is evaluated in bfloat16.",
        "Compute -exp(A_log) in float32, whatever the dtype of the model is.",
        "rates that bfloat16 cannot hold",
        both(remembers, differs("A", to_bfloat16)),
        changed(A=to_bfloat16),
        (f"{MLX}/pull/1028", f"{MAMBA}/pull/923"),
        ("a-log-lowprec-exp",),
    ),
    Bug(
        "a-sign",
        (*STEPPED, SSD_STAGES),
        "The minus sign of A is lost, so that the state grows.",
        "A is negative: -exp(A_log).",
        "a state that must decay",
        both(remembers, differs("A", np.negative)),
        changed(A=np.negative),
    ),
    Bug(
        "a-dropped",
        (*STEPPED, SSD_STAGES),
        "The state does not decay.",
        "Multiply the state by exp(dt A) at every token.",
        "a state that must decay",
        both(remembers, differs("A", np.zeros_like)),
        changed(A=np.zeros_like),
    ),
    Bug(
        "a-first-head",
        (*STEPPED, SSD_STAGES),
        "The rate of the first head or channel is used for all.",
        "Index A by head (by channel and state in Mamba-1).",
        "heads with different rates",
        both(remembers, differs("A", lambda A: A[:1])),
        changed(A=lambda A: np.broadcast_to(A[:1], A.shape).copy()),
    ),
    Bug(
        "a-exp2",
        (*STEPPED, SSD_STAGES),
        "The decay is 2^(dt A): exp2 is used without the factor log2(e).",
        "Scale A by log2(e) before exp2, or use exp.",
        "a state that must decay",
        both(remembers, differs("A", np.zeros_like)),
        changed(A=lambda A: (A * math.log(2)).astype(A.dtype)),
    ),
    Bug(
        "dt-first-head",
        (*STEPPED, *STAGES),
        "The first head's dt is used for all heads or channels.",
        "Index dt by head (by channel in Mamba-1).",
        "heads with different steps",
        any_token,
        changed(dt=lambda dt: np.broadcast_to(dt[..., :1], dt.shape).copy()),
    ),
)
