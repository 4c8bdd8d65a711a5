"""Run cases on a candidate: every outcome becomes a verdict, never an exception."""

import copy
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..ops import OPS
from .candidates import Candidate, NotProvidedError, call
from .cases.case import Case
from .outputs import MalformedResultError, flatten
from .truth import truth
from .verdict import FAILED, NOT_PROVIDED, Verdict, judge


def verify(
    candidate: Candidate, cases: Iterable[Case], dtype: np.dtype
) -> Iterator[Verdict]:
    """Yield the verdict on each case, one by one."""
    for case in cases:
        yield verify_case(candidate.functions[case.op], case, dtype)


def verify_case(function: Callable, case: Case, dtype: np.dtype) -> Verdict:
    """Call `function` on one case and judge what it returns and leaves behind."""
    start = time.perf_counter()
    verdict = _verify_case(function, case, dtype)
    return replace(verdict, seconds=time.perf_counter() - start)


def _verify_case(function: Callable, case: Case, dtype: np.dtype) -> Verdict:
    op, expected = OPS[case.op], truth(case, dtype)
    arguments = copy.deepcopy(expected.arguments)
    try:
        outputs = flatten(op, call(function, op, arguments))
    except NotProvidedError as error:
        return Verdict(case, str(dtype), NOT_PROVIDED, message=str(error))
    except MalformedResultError as error:
        return Verdict(case, str(dtype), FAILED, message=str(error))
    except Exception as error:  # a stranger's code may raise anything
        return Verdict(case, str(dtype), FAILED, message=_raised(error))
    if changed := _changed(arguments, expected.arguments):
        message = f"modified its input {', '.join(changed)}"
        return Verdict(case, str(dtype), FAILED, message=message)
    return judge(case, expected, outputs)


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
