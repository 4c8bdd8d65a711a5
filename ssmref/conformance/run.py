"""Run cases on a candidate: every outcome becomes a verdict, never an exception."""

import copy
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..ops import OPS
from .candidates import Candidate, NotProvidedError, call
from .cases.case import Case
from .diagnosis import diagnosed
from .outputs import MalformedResultError, flatten
from .programs import Program
from .truth import Truth, truth
from .verdict import FAILED, MODIFIED, NOT_PROVIDED, Verdict, judge


def verify(
    candidate: Candidate, cases: Iterable[Case], dtype: np.dtype
) -> Iterator[Verdict]:
    """Yield the verdict on each case, one by one; failures come with a diagnosis."""
    verdicts: list[Verdict] = []
    for case in cases:
        verdict = verify_case(candidate.functions[case.op], case, dtype, verdicts)
        verdicts.append(verdict)
        yield verdict


def verify_case(
    function: Callable | Program,
    case: Case,
    dtype: np.dtype,
    earlier: Sequence[Verdict] | None = None,
) -> Verdict:
    """Call `function` on one case and judge what it returns and leaves behind.

    With the `earlier` verdicts of a run, a failure is compared with known bugs.
    """
    start = time.perf_counter()
    verdict, outputs = _verify_case(function, case, dtype)
    verdict = replace(verdict, seconds=time.perf_counter() - start)
    if earlier is None or verdict.status != FAILED:
        return verdict
    return diagnosed(verdict, truth(case, dtype), outputs, earlier)


def _verify_case(
    function: Callable | Program, case: Case, dtype: np.dtype
) -> tuple[Verdict, dict[str, np.ndarray]]:
    """Return the verdict and the outputs, none where there are none to judge."""
    expected = truth(case, dtype)
    arguments = copy.deepcopy(expected.arguments)
    try:
        outputs = _outputs(function, case, expected, arguments)
    except NotProvidedError as error:
        return Verdict(case, str(dtype), NOT_PROVIDED, message=str(error)), {}
    except MalformedResultError as error:
        return Verdict(case, str(dtype), FAILED, message=str(error)), {}
    except Exception as error:  # a stranger's code may raise anything
        return Verdict(case, str(dtype), FAILED, message=_raised(error)), {}
    if changed := _changed(arguments, expected.arguments):
        message = f"{MODIFIED} {', '.join(changed)}"
        return Verdict(case, str(dtype), FAILED, message=message), {}
    return judge(case, expected, outputs), outputs


def _outputs(
    function: Callable | Program,
    case: Case,
    expected: Truth,
    arguments: dict[str, Any],
) -> dict[str, np.ndarray]:
    """Ask a program by the case, a function by its arguments."""
    if isinstance(function, Program):
        return function.outputs(case, expected)
    op = OPS[case.op]
    return flatten(op, call(function, op, arguments))


def _raised(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"raised {type(error).__name__}: {error} ({place})"


def _changed(after: dict[str, Any], before: dict[str, Any]) -> list[str]:
    return [name for name in before if not _same(after[name], before[name])]


def _same(a: Any, b: Any) -> bool:
    if isinstance(b, tuple):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(b, np.ndarray):
        return a.tobytes() == b.tobytes()
    return a == b
