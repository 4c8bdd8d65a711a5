"""Whether a contender is right: before it is timed, and on the result that is timed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..conformance.cases.case import Case
from ..conformance.truth import Truth, truth
from ..conformance.vectors.parts import input_axes, output_axes
from ..conformance.verdict import LIMIT, NOT_PROVIDED, PASSED, Finding, judge_output
from ..conformance.words import where
from ..ops import OPS
from .contender import Contender, Outputs
from .workloads import Workload


@dataclass(frozen=True)
class Check:
    """What was found: the worst ratio of all that was judged, and in which places."""

    passed: bool
    ratio: float
    places: tuple[str, ...]
    problem: str = ""

    def __add__(self, other: "Check") -> "Check":
        return Check(
            self.passed and other.passed,
            max(self.ratio, other.ratio),
            self.places + other.places,
            self.problem or other.problem,
        )


@lru_cache
def check_core(function: Callable, op: str, dtype: np.dtype) -> Check:
    """Judge a function on the core cases of an op, as `ssmref verify` does."""
    # All cases and bugs are made on import: too much for each of many short processes.
    from ..conformance.catalogue import cases_of
    from ..conformance.run import verify_case

    verdicts = [verify_case(function, case, dtype) for case in cases_of(op)]
    ran = [v for v in verdicts if v.status != NOT_PROVIDED]
    failed = [v for v in ran if v.status != PASSED]
    worst = max((v.ratio for v in ran), default=float("inf"))
    places = (f"{len(ran)} of {len(verdicts)} core cases",)
    if not ran:
        return Check(False, worst, places, f"not provided: {verdicts[0].message}")
    if not failed:
        return Check(True, worst, places)
    reason = failed[0].message or f"ratio {failed[0].ratio:.3g}, limit {LIMIT:g}"
    return Check(False, worst, places, f"fails {failed[0].case.id}: {reason}")


def check_small(contender: Contender, case: Case, dtype: np.dtype) -> Check:
    """Judge a contender on the small case of a workload."""
    expected = truth(case, dtype)
    got = contender.outputs(contender.prepare(expected.arguments)())
    return _judged(contender, case, expected, got, "small sizes")


@dataclass(frozen=True)
class Sample:
    """The part of a workload's outputs that is verified, and what it has to be."""

    workload: Workload
    case: Case
    expected: Truth
    # So many of the last tokens, with the final state; else the first ones.
    last: int = 0

    @property
    def place(self) -> str:
        """What is sampled, in words."""
        cut = self.workload.sample.items()
        words = [f"{n} {_WORDS[axis]}" for axis, n in cut if axis in _WORDS]
        if self.last:
            return f"final state, the last {self.last} tokens"
        return f"timed result, {', '.join(words)}" if words else "timed result"


_WORDS = {
    "batch": "of the rows",
    "batch_2": "of the tokens",
    "channels": "of the channels",
    "heads": "of the heads",
    "length": "of the tokens",
}


def sample(workload: Workload, arguments: Mapping[str, Any], dtype: np.dtype) -> Sample:
    """Compute golden on the part of the arguments that the sample depends on."""
    op, cut = OPS[workload.op], workload.sample
    own = {name: cut_input(op.name, name, a, cut) for name, a in arguments.items()}
    case = Case(op.name, "bench", "sample", "", lambda _: own, "bench")
    # Past the cache of truths: its cases are known by their ids, and this one is large.
    return Sample(workload, case, truth.__wrapped__(case, dtype))


def check_sample(contender: Contender, sample: Sample, got: Outputs) -> Check:
    """Judge what a contender returned at full size, by a sample of it."""
    op, cut = sample.case.op, dict(sample.workload.sample)
    if sample.last:
        cut["length"] = sample.last
    axes = {name: _axes(op, name, array) for name, array in got.items()}
    kept = {
        name: _cut(array, axes[name], cut, from_end=bool(sample.last))
        for name, array in got.items()
        # Where time is cut, the last states are not those of the sample.
        if sample.last or "length" not in cut or "length" in axes[name]
    }
    return _judged(contender, sample.case, sample.expected, kept, sample.place)


def _judged(
    contender: Contender, case: Case, expected: Truth, got: Outputs, place: str
) -> Check:
    """Judge the outputs that there are; y has to be."""
    if "y" not in got:
        return Check(False, float("inf"), (place,), "there is no output y")
    findings = [
        judge_output(
            name,
            array,
            expected.outputs[name],
            _scale(contender, case.op, name, expected.scales[name]),
            expected.dtype,
        )
        for name, array in got.items()
    ]
    worst = max(findings, key=lambda f: (not f.passed, f.ratio))
    problem = "" if worst.passed else f"{place}: {_words(case, expected, worst)}"
    return Check(worst.passed, worst.ratio, (place,), problem)


def _words(case: Case, expected: Truth, finding: Finding) -> str:
    if finding.problem:
        return f"{finding.output}: {finding.problem}"
    place = where(OPS[case.op], finding.output, finding.index, expected.arguments)
    return (
        f"{finding.output} at {place} is {finding.got:.6g}, expected "
        f"{finding.expected:.6g}, ratio {finding.ratio:.3g}, limit {LIMIT:g}"
    )


def _scale(contender: Contender, op: str, name: str, scale: np.ndarray) -> np.ndarray:
    """Let errors be relative to the whole signal where a method's are."""
    words = _axes(op, name, scale)
    if not contender.whole_signal or not scale.size:
        return scale
    if "length" not in words:
        return np.broadcast_to(scale.max(), scale.shape)
    largest = scale.max(axis=words.index("length"), keepdims=True)
    return np.broadcast_to(largest, scale.shape)


def _axes(op: str, name: str, array: np.ndarray) -> list[str]:
    return output_axes(OPS[op], name, array.ndim)


def cut_input(op: str, name: str, value: Any, cut: Mapping[str, int]) -> Any:
    """Return a copy of the entries that are left, see `_cut`."""
    if fields := getattr(value, "_fields", ()):
        parts = zip(fields, value, strict=True)
        return type(value)(*(cut_input(op, f"{name}.{f}", a, cut) for f, a in parts))
    if not isinstance(value, np.ndarray):
        return value
    return _cut(value, input_axes(OPS[op], name, value.ndim), cut).copy()


def _cut(
    array: np.ndarray,
    words: list[str],
    cut: Mapping[str, int],
    *,
    from_end: bool = False,
) -> np.ndarray:
    """Return the first tokens, or the last ones; the last of all other axes.

    Later tokens depend on earlier ones; with other axes mistakes lie in what is left
    over at their ends.
    """
    first = () if from_end else ("length",)
    return array[tuple(_part(cut.get(w), first=w in first) for w in words)]


def _part(count: int | None, *, first: bool) -> slice:
    return slice(count) if count is None or first else slice(-count, None)
