"""Many cases in one test: pytest takes longer over a test than over most cases."""

from collections.abc import Callable, Iterable
from typing import Any


def assert_each(check: Callable[[Any], object], cases: Iterable[Any]) -> None:
    """Assert what `check` asserts of each case; all that fail are named, by id."""
    __tracebackhide__ = True
    cases, failed = list(cases), {}
    for case in cases:
        try:
            check(case)
        except Exception as error:
            failed[case.id] = error
    assert cases, "there are no cases"
    assert not failed
