"""The gate: every op passes every case of the suite, in both precisions.

Without the compiler only core cases are run. Mistakes have to be seen by the `FEWEST`
core cases of an op that have the fewest numbers.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.exact import cast
from support.mirror import arrays_of, each

from ssmref.conformance.cases.case import Case
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.testing import check
from ssmref.cpu.toolkit.kernels import INTERPRETED
from ssmref.ops import OPS, implementation

DTYPES = ("float32", "float64")
FEWEST = 3
each_op = pytest.mark.parametrize("name", OPS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
# Golden takes most of the time of the larger cases.
float32_first = pytest.mark.parametrize(
    "dtype", ["float32", pytest.param("float64", marks=pytest.mark.thorough)]
)
compiled = pytest.mark.skipif(INTERPRETED, reason="too slow without the compiler")


def ours(name: str) -> Callable:
    return implementation(OPS[name], "ssmref.cpu")


def numbers_of(case: Case) -> int:
    return sum(array.size for array in arrays_of(case.arguments(np.dtype(np.float64))))


def fewest(name: str) -> list[Case]:
    return sorted(cases_of(name), key=numbers_of)[:FEWEST]


def complaint(function: Callable, case: Case, dtype: str) -> str:
    """Return why a result is refused, "" if it passes; not provided is refused."""
    try:
        check(function, case, dtype, required=True)
    except AssertionError as error:
        return str(error) or "no reason given"
    return ""


def assert_passes(function: Callable, cases: list[Case], dtype: str) -> None:
    __tracebackhide__ = True
    assert cases
    complaints = [complaint(function, case, dtype) for case in cases]
    assert not [text for text in complaints if text]


def with_level(level: str) -> pytest.MarkDecorator:
    """Run a test for each op that has cases of a level."""
    names = [name for name in OPS if cases_of(name, level)]
    return pytest.mark.parametrize("name", names)


@each_op
@each_dtype
def test_core_cases_pass(name, dtype):
    assert_passes(ours(name), cases_of(name), dtype)


@compiled
@with_level("extended")
@float32_first
def test_extended_cases_pass(name, dtype):
    assert_passes(ours(name), cases_of(name, "extended"), dtype)


@compiled
@with_level("long")
@float32_first
def test_long_cases_pass(name, dtype):
    assert_passes(ours(name), cases_of(name, "long"), dtype)


def test_few_cases_are_the_smallest():
    for name in OPS:
        sizes = sorted(map(numbers_of, cases_of(name)))
        assert [numbers_of(case) for case in fewest(name)] == sizes[:FEWEST]
        assert len(sizes) > FEWEST


class Wrong:
    """An op with a mistake in one number of one of its outputs."""

    def __init__(self, function: Callable, output: int, mistake: float) -> None:
        self.function, self.output, self.mistake = function, output, mistake

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        counter = iter(range(100))

        def spoil(array: np.ndarray) -> np.ndarray:
            if next(counter) != self.output or not array.size:
                return array
            spoilt = np.array(array, order="C")
            largest = np.argmax(np.abs(spoilt))
            spoilt.reshape(-1)[largest] *= 1 + self.mistake
            return spoilt

        return each_array(spoil, self.function(*args, **kwargs))


def each_array(function: Callable, result: Any) -> Any:
    """Apply a function to the arrays of a result in order."""
    if type(result) is tuple:
        return tuple(each_array(function, part) for part in result)
    return each(function, result)


def refused(function: Callable, cases: list[Case], dtype: str) -> bool:
    return any(complaint(function, case, dtype) for case in cases)


@each_op
@each_dtype
@pytest.mark.parametrize("mistake", [1e-3, np.nan])
def test_a_mistake_in_any_output_is_refused(name, dtype, mistake):
    cases = fewest(name)
    for output in range(len(OPS[name].outputs)):
        wrong = Wrong(ours(name), output, mistake)
        assert refused(wrong, cases, dtype), OPS[name].outputs[output]
    assert not refused(Wrong(ours(name), -1, mistake), cases, dtype)


@each_op
@each_dtype
def test_a_result_in_the_other_precision_is_refused(name, dtype):
    other = np.float32 if dtype == "float64" else np.float64

    def converted(*args: Any, **kwargs: Any) -> Any:
        return cast(ours(name)(*args, **kwargs), other)

    assert refused(converted, fewest(name), dtype)


def cases_by_option(name: str) -> dict[str, list[Case]]:
    """Return the core cases that give each optional argument of an op."""
    parameters = inspect.signature(ours(name)).parameters.values()
    given = {case.id: case.arguments(np.dtype(np.float32)) for case in cases_of(name)}
    return {
        p.name: [case for case in cases_of(name) if p.name in given[case.id]]
        for p in parameters
        if p.default is not p.empty
    }


@compiled
@each_op
def test_an_option_that_is_ignored_is_noticed(name):
    """The cases give each option so that leaving it out changes a result."""
    function = ours(name)
    for option, cases in cases_by_option(name).items():

        def ignoring(*args: Any, option: str = option, **kwargs: Any) -> Any:
            kwargs.pop(option, None)
            return function(*args, **kwargs)

        assert not cases or refused(ignoring, cases, "float32"), option
