"""The gate: every op passes every core case, in each precision, on the host runtime.

Each precision is run under other circumstances, so that all of them are seen by every
op: blocks one by one or several at once, threads in turn or in odd orders, arrays that
begin anywhere. Cases take turns; every case under every circumstance is thorough, and
so are the levels that the gate has no time for.
"""

import emulated
import numpy as np
import pytest
from hostcupy.settings import using
from support.mirror import arrays_of

from ssmref.conformance.cases.case import Case
from ssmref.conformance.catalogue import LEVELS, cases_of
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.testing import check

CIRCUMSTANCES = {
    "float32": ({}, {"resident": 2, "seed": 3, "offset": 1}),
    "bfloat16": ({"offset": 3}, {"resident": 3, "seed": 2}),
    "float16": ({"resident": 4}, {"seed": 1, "offset": 5}),
}
# 1e9 and more is no float16.
BEYOND_FLOAT16 = ("large-values", "huge-steps")
# A mistake has to be seen by one of so many cases.
FEWEST = 3
OPS = emulated.offered()
DTYPES = [*CIRCUMSTANCES]
OTHERS = [(o, n) for o in LEVELS[1:] for n in OPS if cases_of(n, o)]
# One worker for an op: what is right is computed once, and takes longer than kernels.
each_op = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in OPS]
)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def infinite(case: Case, dtype: str) -> bool:
    """Whether the case has arguments that are infinite in this precision."""
    with np.errstate(over="ignore"):
        arrays = arrays_of(case.arguments(dtype_of(dtype)))
        return any(np.isinf(array.astype(complex)).any() for array in arrays)


def cases_in(name: str, dtype: str) -> list[Case]:
    """Return the core cases of an op that a precision can express."""
    left_out = BEYOND_FLOAT16 if dtype == "float16" else ()
    return [case for case in cases_of(name) if case.family not in left_out]


def complaints(function, cases, dtype: str, settings: dict) -> list[str]:
    """Return why results are refused; what is not provided is refused."""
    found = []
    for case in cases:
        try:
            with using(**settings):
                check(function, case, dtype, required=True)
        except AssertionError as error:
            found.append(str(error) or "no reason given")
    return found


def op(name: str):
    return getattr(emulated, name.replace(".", "_"))


def in_turns(name: str, dtype: str):
    """Yield circumstances and the cases that are run under them."""
    cases, first = cases_in(name, dtype), DTYPES.index(dtype)
    for i, settings in enumerate(CIRCUMSTANCES[dtype]):
        yield settings, cases[(i + first) % 2 :: 2]


@each_op
@each_dtype
def test_core_cases_pass(name, dtype):
    for settings, cases in in_turns(name, dtype):
        assert cases
        assert not complaints(op(name), cases, dtype, settings)


@pytest.mark.thorough
@each_op
@each_dtype
@pytest.mark.parametrize("which", [0, 1])
def test_core_cases_pass_under_all_circumstances(name, dtype, which):
    settings = CIRCUMSTANCES[dtype][which]
    assert not complaints(op(name), cases_in(name, dtype), dtype, settings)


@pytest.mark.thorough
@each_dtype
@pytest.mark.parametrize(("level", "name"), OTHERS)
def test_cases_of_other_levels_pass(level, name, dtype):
    cases = [c for c in cases_of(name, level) if not infinite(c, dtype)]
    assert cases
    assert not complaints(op(name), cases, dtype, CIRCUMSTANCES[dtype][0])


@each_op
def test_only_what_a_precision_cannot_express_is_left_out(name):
    for dtype in CIRCUMSTANCES:
        kept = cases_in(name, dtype)
        assert kept
        others = [case for case in cases_of(name) if case not in kept]
        assert all(infinite(case, dtype) for case in others)


@each_op
@each_dtype
def test_one_wrong_number_is_refused(name, dtype):
    def wrong(*args, **kwargs):
        result = op(name)(*args, **kwargs)
        y = result[0] if isinstance(result, tuple) else result
        with np.errstate(over="ignore"):
            y.reshape(-1)[np.argmax(np.abs(y.astype(np.float32)))] *= -99
        return result

    # Kernels that the gate has run, so that none is compiled for this.
    settings, cases = next(in_turns(name, dtype))
    assert complaints(wrong, cases[-FEWEST:], dtype, settings)


def test_ops_are_offered():
    assert OPS
