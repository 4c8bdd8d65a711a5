"""Whether every op is right: the cases of the suite, level by level."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from ssmref.conformance.candidates import load
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.precision import MULTIPLYING, TF32, judged_as
from ssmref.conformance.run import verify_case
from ssmref.conformance.vectors.export import fits
from ssmref.conformance.verdict import NOT_PROVIDED, PASSED

from .. import precision
from .guard import Progress

DTYPES = ("float32", "bfloat16", "float16", TF32)
PACKAGE = "ssmref.gpu"
NOWHERE = Progress()


@dataclass(frozen=True)
class Outcome:
    """What was found of one op in one precision at one level."""

    op: str
    dtype: str
    level: str
    cases: int
    failures: tuple[tuple[str, str], ...]
    worst: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether there were cases and all passed."""
        return self.cases > 0 and not self.failures


def ops() -> Mapping[str, Callable]:
    """Return the ops of `ssmref.gpu` as functions of NumPy arrays, by name."""
    return load(PACKAGE).functions  # pyright: ignore[reportReturnType]


def verify(
    level: str,
    functions: Mapping[str, Callable],
    dtypes: tuple[str, ...] = DTYPES,
    progress: Progress = NOWHERE,
) -> Iterator[Outcome]:
    """Yield an outcome for each op that has cases of a level, in each precision."""
    for name, function in functions.items():
        for dtype in dtypes:
            progress.begin(name)
            outcome = _verify(level, name, function, dtype)
            if outcome.cases:
                yield outcome


def _verify(level: str, name: str, function: Callable, dtype: str) -> Outcome:
    start, coarse = time.perf_counter(), dtype == TF32
    cases = () if coarse and name not in MULTIPLYING else cases_of(name, level)
    with judged_as(dtype) as own, precision.tf32() if coarse else nullcontext():
        cases = [c for c in cases if dtype != "float16" or fits(c, own)]
        verdicts = [verify_case(function, case, own) for case in cases]
    failures = tuple(
        (v.case.id, v.message or f"ratio {v.ratio:.3g}")
        for v in verdicts
        if v.status != PASSED
    )
    ratios = [v.ratio for v in verdicts if v.status != NOT_PROVIDED]
    worst, seconds = max(ratios, default=0.0), time.perf_counter() - start
    return Outcome(name, dtype, level, len(cases), failures, worst, seconds)
