"""The measure: how far an output is from golden, and what is said of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops import OPS
from .cases.case import Case
from .outputs import axes
from .precision import eps_and_tiny, name_of, wide
from .truth import Truth

# One limit for every op and dtype; it is never raised to make something pass.
LIMIT = 30.0

# So many points of a profile are drawn; more tokens share them.
POINTS = 256

# Grades say how good a pass is; they decide nothing. A: as good as rounding allows; B:
# an ordinary order of sums; C: digits are lost, as by differences of long sums; F:
# failed. What has no ratio (not provided) has the grade "-".
GRADES = {"A": 1.0, "B": 4.0, "C": LIMIT}

PASSED, FAILED, NOT_PROVIDED = "passed", "failed", "not provided"
# A failure that a file of expected failures names, and a pass that it does not expect.
EXPECTED, UNEXPECTED = "expected failure", "unexpected pass"


# How the message of a verdict begins where arguments were written to.
MODIFIED = "modified its input"


@dataclass(frozen=True)
class Finding:
    """What is said of one output: its worst element, or why there is none.

    `wrong` of its `size` elements are beyond the limit. `profile` is the worst ratio at
    each of its `tokens`, or of each run of them where there are more than fit in a
    plot; empty where the output has no tokens.
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
    profile: tuple[float, ...] = ()
    tokens: int = 0


@dataclass(frozen=True)
class Verdict:
    """What is said of an implementation on a case.

    `seconds` is how long the call took; `diagnosis` says, in sentences, what a failure
    looks like; `resembles` are the bugs of the zoo that give the same outputs, by id,
    most likely first: each is one bug, or two together.
    """

    case: Case
    dtype: str
    status: str
    findings: tuple[Finding, ...] = ()
    message: str = ""
    seconds: float = 0.0
    diagnosis: tuple[str, ...] = ()
    resembles: tuple[tuple[str, ...], ...] = ()

    @property
    def ratio(self) -> float:
        """The worst ratio over all outputs; infinite where one has none."""
        return max((f.ratio for f in self.findings), default=float("inf"))

    @property
    def grade(self) -> str:
        """How accurate a result is, from the worst ratio; see `GRADES`."""
        if self.status in (FAILED, EXPECTED):
            return "F"
        return next((g for g, limit in GRADES.items() if self.ratio <= limit), "-")


def judge(case: Case, truth: Truth, outputs: dict[str, np.ndarray]) -> Verdict:
    """Compare every output of a case with golden.

    ``ratio = max |y - y*| / (eps scale + tiny)`` over all elements, eps and tiny of the
    dtype of the arguments; passed iff ``ratio <= 30``, so that NaN fails. The term tiny
    allows results below the smallest normal number to be flushed to zero. Where golden
    is NaN, because the inputs are, NaN is needed: there and only there.
    """
    words = axes(OPS[case.op])
    findings = tuple(
        judge_output(
            name, outputs[name], truth.outputs[name], scale, truth.dtype, words[name]
        )
        for name, scale in truth.scales.items()
    )
    status = PASSED if all(f.passed for f in findings) else FAILED
    return Verdict(case, name_of(truth.dtype), status, findings)


def judge_output(
    name: str,
    got: np.ndarray,
    expected: np.ndarray,
    scale: np.ndarray,
    dtype: np.dtype,
    words: tuple[str, ...] = (),
) -> Finding:
    """Judge one output; a wrong shape or dtype has no ratio and fails.

    `words` are the names of its axes; the one of tokens gives the finding a profile.
    """
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
    ratios = ratios_of(name, got, expected, scale, dtype)
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
        profile=_profile(ratios, words),
        tokens=_tokens(ratios, words),
    )


def ratios_of(
    name: str,
    got: np.ndarray,
    expected: np.ndarray,
    scale: np.ndarray,
    dtype: np.dtype,
) -> np.ndarray:
    """Return the ratio of every element: infinite where only one side is NaN.

    NaN is right where golden and, because inputs are NaN, its scale are NaN too.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ratios = _distance(name, got, expected) / _allowance(scale, dtype)
    ratios = np.where(np.isnan(ratios), np.inf, ratios)
    needed = np.isnan(expected) & np.isnan(scale)
    return np.where(np.isnan(got) & needed, 0.0, ratios)


def _tokens(ratios: np.ndarray, words: tuple[str, ...]) -> int:
    """Return how many tokens an output has, 0 where it has no axis of them."""
    named = dict(zip(words, ratios.shape, strict=False))
    return named.get("length", 0) if len(words) == ratios.ndim else 0


def _profile(ratios: np.ndarray, words: tuple[str, ...]) -> tuple[float, ...]:
    """Return the worst ratio of each token, or of each of `POINTS` runs of tokens."""
    tokens = _tokens(ratios, words)
    if not tokens:
        return ()
    axis = words.index("length")
    worst = ratios.max(tuple(i for i in range(ratios.ndim) if i != axis))
    runs = np.array_split(worst, min(tokens, POINTS))
    return tuple(float(run.max()) for run in runs)


def _distance(name: str, got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    wide = got.astype(expected.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        if name.endswith(".angle"):  # only sines and cosines of angles are used
            return np.abs(np.angle(np.exp(1j * (wide - expected))))
        return np.abs(wide - expected)


def _allowance(scale: np.ndarray, dtype: np.dtype) -> np.ndarray:
    eps, tiny = eps_and_tiny(dtype)
    return eps * scale + tiny
