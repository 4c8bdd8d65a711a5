"""The cases inside somebody's own pytest file.

::

    import pytest
    from ssmref.conformance.testing import cases, check
    from mylib import ssd

    @pytest.mark.parametrize("case", cases("mamba2.ssd"), ids=str)
    def test_ssd(case):
        check(ssd, case, dtype="float32")
"""

import unittest
from collections.abc import Callable

from ..ops import OPS
from .candidates import Candidate
from .cases.case import Case
from .catalogue import LEVELS, cases_of
from .precision import DTYPES, MULTIPLYING, PRECISIONS, judged_as
from .report.results import Results
from .report.terminal import failure
from .run import verify_case
from .verdict import NOT_PROVIDED, PASSED, Verdict


def cases(op: str, level: str = "core") -> list[Case]:
    """Return the cases of an op at a level; it is an error if there are none.

    Raises ValueError: an empty list would make a test that is green without running.
    """
    if op not in OPS:
        raise ValueError(f"op is {op!r}; ops are: {', '.join(OPS)}")
    if level in LEVELS and (found := cases_of(op, level)):
        return found
    known = ", ".join(name for name in LEVELS if cases_of(op, name)) or "none"
    raise ValueError(f"{op} has no cases of level {level!r}; it has: {known}")


def check(
    function: Callable, case: Case, dtype: str = "float32", *, required: bool = False
) -> None:
    """Call `function` on a case and raise AssertionError where the result is wrong.

    A case that `function` does not provide (an option that it lacks, or a
    NotImplementedError) raises ``unittest.SkipTest``, which pytest counts as skipped;
    with `required` it fails too.
    """
    __tracebackhide__ = True
    known = PRECISIONS if case.op in MULTIPLYING else DTYPES
    if dtype not in known:
        words = ", ".join(known)
        raise ValueError(f"dtype is {dtype!r}; for {case.op} it may be {words}")
    with judged_as(dtype) as own:
        verdict = verify_case(function, case, own)
    if verdict.status == NOT_PROVIDED and not required:
        raise unittest.SkipTest(f"not provided: {verdict.message}")
    if verdict.status != PASSED:
        raise AssertionError(_words(function, verdict))


def _words(function: Callable, verdict: Verdict) -> str:
    """Say what is wrong, with the command that repeats it where there is one."""
    name = _importable(function)
    results = Results(Candidate(name, {}), verdict.dtype, [verdict])
    lines = list(failure(results, verdict))
    if verdict.status == NOT_PROVIDED:
        lines[1] = f"  required, but not provided: {verdict.message}"
    return "\n".join(lines if name else lines[:-1])


def _importable(function: Callable) -> str:
    """Return ``module:name`` of a function that another process can import."""
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", "")
    reachable = module not in ("", "__main__") and name.isidentifier()
    return f"{module}:{name}" if reachable else ""
