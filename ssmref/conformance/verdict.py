"""The measure: how far an output is from golden, and what is said of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases.case import Case
from .precision import eps_and_tiny, wide
from .truth import Truth

# One limit for every op and dtype; it is never raised to make something pass.
LIMIT = 30.0

PASSED, FAILED, NOT_PROVIDED = "passed", "failed", "not provided"
# A failure that a file of expected failures names, and a pass that it does not expect.
EXPECTED, UNEXPECTED = "expected failure", "unexpected pass"


@dataclass(frozen=True)
class Finding:
    """What is said of one output: its worst element, or why there is none.

    `wrong` of its `size` elements are beyond the limit.
    """

    output: str
    passed: bool
    ratio: float = float("inf")
    index: tuple[int, ...] = ()
    got: Any = None
    expected: Any = None
    wrong: int = 0
    size: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is said of an implementation on a case.

    `seconds` is how long the call took; `diagnosis` says, in sentences, what a failure
    looks like.
    """

    case: Case
    dtype: str
    status: str
    findings: tuple[Finding, ...] = ()
    message: str = ""
    seconds: float = 0.0
    diagnosis: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """The worst ratio over all outputs; infinite where one has none."""
        return max((f.ratio for f in self.findings), default=float("inf"))


def judge(case: Case, truth: Truth, outputs: dict[str, np.ndarray]) -> Verdict:
    """Compare every output of a case with golden.

    ``ratio = max |y - y*| / (eps scale + tiny)`` over all elements, eps and tiny of the
    dtype of the arguments; passed iff ``ratio <= 30``, so that NaN fails. The term tiny
    allows results below the smallest normal number to be flushed to zero.
    """
    findings = tuple(
        judge_output(name, outputs[name], truth.outputs[name], scale, truth.dtype)
        for name, scale in truth.scales.items()
    )
    status = PASSED if all(f.passed for f in findings) else FAILED
    return Verdict(case, str(truth.dtype), status, findings)


def judge_output(
    name: str,
    got: np.ndarray,
    expected: np.ndarray,
    scale: np.ndarray,
    dtype: np.dtype,
) -> Finding:
    """Judge one output; a wrong shape or dtype has no ratio and fails."""
    needed = dtype if name == "y" else wide(dtype)
    if expected.dtype.kind == "c":
        needed = np.result_type(needed, np.complex64)
    for what, is_, should in (
        ("shape", got.shape, expected.shape),
        ("dtype", got.dtype, needed),
    ):
        if is_ != should:
            return Finding(name, False, problem=f"{what} {is_}, needed is {should}")
    if got.size == 0:
        return Finding(name, True, 0.0)
    ratios = _distance(name, got, expected) / _allowance(scale, dtype)
    ratios = np.where(np.isnan(ratios), np.inf, ratios)
    index = np.unravel_index(np.argmax(ratios), ratios.shape)
    ratio = float(ratios[index])
    return Finding(
        name,
        passed=ratio <= LIMIT,
        ratio=ratio,
        index=tuple(int(i) for i in index),
        got=got[index],
        expected=expected[index],
        wrong=int(np.sum(~(ratios <= LIMIT))),
        size=got.size,
    )


def _distance(name: str, got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    wide = got.astype(expected.dtype)
    with np.errstate(invalid="ignore"):
        if name.endswith(".angle"):  # only sines and cosines of angles are used
            return np.abs(np.angle(np.exp(1j * (wide - expected))))
        return np.abs(wide - expected)


def _allowance(scale: np.ndarray, dtype: np.dtype) -> np.ndarray:
    eps, tiny = eps_and_tiny(dtype)
    return eps * scale + tiny
