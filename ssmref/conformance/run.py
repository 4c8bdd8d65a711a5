"""Run cases on a candidate: every outcome becomes a verdict, never an exception."""

import copy
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..ops import OPS
from .candidates import Candidate, NotProvidedError, call
from .cases.case import Case
from .diagnosis import diagnosed
from .outputs import MalformedResultError, flatten
from .precision import name_of
from .programs import Program
from .truth import Truth, truth
from .verdict import FAILED, MODIFIED, NOT_PROVIDED, Verdict, judge

# Of what an error says, so many characters are shown.
_LONGEST = 400


def verify(
    candidate: Candidate, cases: Iterable[Case], dtype: np.dtype
) -> Iterator[Verdict]:
    """Yield the verdict on each case, one by one; failures come with a diagnosis."""
    verdicts: list[Verdict] = []
    kept: Kept | None = None
    for case in cases:
        function = candidate.functions[case.op]
        verdict, outputs = _timed(function, case, dtype, verdicts)
        if kept is not None and (changed := kept.changed()):
            message = f"this call changed {changed}, as returned for {kept.case}"
            verdict = Verdict(case, verdict.dtype, FAILED, message=message)
        kept = Kept.of(case, outputs)
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
    return _timed(function, case, dtype, earlier)[0]


@dataclass(frozen=True)
class Kept:
    """What was returned for a case, and a copy: it belongs to who called."""

    case: Case
    outputs: dict[str, np.ndarray]
    copies: dict[str, bytes]

    @classmethod
    def of(cls, case: Case, outputs: dict[str, np.ndarray]) -> "Kept":
        """Return the outputs of a case together with copies."""
        return cls(case, outputs, {n: a.tobytes() for n, a in outputs.items()})

    def changed(self) -> str:
        """Return the names of the outputs that are not what they were."""
        pairs = self.outputs.items()
        return ", ".join(n for n, a in pairs if a.tobytes() != self.copies[n])


def _timed(
    function: Callable | Program,
    case: Case,
    dtype: np.dtype,
    earlier: Sequence[Verdict] | None,
) -> tuple[Verdict, dict[str, np.ndarray]]:
    start = time.perf_counter()
    verdict, outputs = _verify_case(function, case, dtype)
    verdict = replace(verdict, seconds=time.perf_counter() - start)
    if earlier is None or verdict.status != FAILED:
        return verdict, outputs
    return diagnosed(verdict, truth(case, dtype), outputs, earlier), outputs


def _verify_case(
    function: Callable | Program, case: Case, dtype: np.dtype
) -> tuple[Verdict, dict[str, np.ndarray]]:
    """Return the verdict and the outputs, none where there are none to judge."""
    expected, name = truth(case, dtype), name_of(dtype)
    arguments = copy.deepcopy(expected.arguments)
    try:
        outputs = _outputs(function, case, expected, arguments)
    except NotProvidedError as error:
        return Verdict(case, name, NOT_PROVIDED, message=str(error)), {}
    except MalformedResultError as error:
        return Verdict(case, name, FAILED, message=str(error)), {}
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        return Verdict(case, name, FAILED, message=_raised(error)), {}
    if changed := _changed(arguments, expected.arguments):
        message = f"{MODIFIED} {', '.join(changed)}"
        return Verdict(case, name, FAILED, message=message), {}
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


def _raised(error: BaseException) -> str:
    """Say in one line what was raised, and where, unless that is where we call."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    path, words = Path(frame.filename), " ".join(str(error).split())[:_LONGEST]
    ours = path.parent == Path(__file__).parent
    place = "called as `ssmref cases` shows" if ours else f"{path.name}:{frame.lineno}"
    return f"raised {type(error).__name__}: {words} ({place})"


def _changed(after: dict[str, Any], before: dict[str, Any]) -> list[str]:
    return [name for name in before if not _same(after[name], before[name])]


def _same(a: Any, b: Any) -> bool:
    if isinstance(b, tuple):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(b, np.ndarray):
        return a.tobytes() == b.tobytes()
    return a == b
