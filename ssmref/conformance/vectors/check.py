"""The verdict on outputs that lie in a folder."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...ops import OPS
from ..cases.case import Case
from ..diagnosis import diagnosed
from ..truth import Truth
from ..verdict import FAILED, NOT_PROVIDED, PASSED, Verdict, judge
from .folder import place, read_outputs
from .npy import MismatchError
from .stored import read_case
from .strict import Reference


def check(
    root: Path, references: Iterable[Reference], outputs: Path
) -> Iterator[Verdict]:
    """Yield the verdict on each case of the set in `root`, one by one.

    The set alone decides. Golden and its bugs are asked what a failure looks like, and
    where nothing fails they are never run.
    """
    verdicts: list[Verdict] = []
    for reference in references:
        case, truth = read_case(root, reference)
        below = place(reference.id, reference.dtype)
        verdicts.append(judge_folder(outputs, case, truth, below, verdicts))
        yield verdicts[-1]


def judge_folder(
    folder: Path,
    case: Case,
    truth: Truth,
    below: str = "",
    earlier: Sequence[Verdict] = (),
) -> Verdict:
    """Judge what a candidate left in `folder`, or `below` in it.

    What cannot be read raises a VectorError; a sound array of another shape or dtype is
    a wrong answer. A right answer that lacks an output is not provided. A failure is
    compared with known bugs, those of `earlier` failures first.
    """
    try:
        outputs = read_outputs(folder, case, truth, below)
    except MismatchError as error:
        return Verdict(case, truth.dtype.name, FAILED, message=str(error))
    missing = [f"{n}.npy" for n in OPS[case.op].outputs if n not in outputs]
    verdict = judge(case, _only(truth, outputs), outputs)
    if missing and verdict.status == PASSED:
        message = f"there is no {', '.join(missing)}"
        return replace(verdict, status=NOT_PROVIDED, message=message)
    return _explained(verdict, truth, outputs, earlier)


def _explained(
    verdict: Verdict,
    truth: Truth,
    outputs: dict[str, np.ndarray],
    earlier: Sequence[Verdict],
) -> Verdict:
    """Return a failure with its diagnosis, without where golden refuses the case."""
    try:
        return diagnosed(verdict, truth, outputs, earlier)
    except Exception:  # whatever comes of the numbers in a stranger's files
        return verdict


def _only(truth: Truth, outputs: Iterable[str]) -> Truth:
    return replace(
        truth,
        outputs={name: truth.outputs[name] for name in outputs},
        scales={name: truth.scales[name] for name in outputs},
    )
