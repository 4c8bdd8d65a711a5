"""A NaN in one sequence stays there: golden says so and the judge demands it."""

import numpy as np
import pytest

from ssmref.conformance.catalogue import ALL_CASES
from ssmref.conformance.outputs import flatten
from ssmref.conformance.precision import rounded
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import FAILED, PASSED, judge
from ssmref.ops import OPS, implementation

F32 = np.dtype(np.float32)
# NaN in slots that no row reads: they are written over, or shown as they are.
OLD, FREE = "nan-old-slots", "nan-free-slots"
POISONED = {case.id: case for case in ALL_CASES.values() if "nan" in case.flags}
poisoned = pytest.mark.parametrize("case", POISONED.values(), ids=POISONED)


def having(condition):
    """Parametrise over those of the cases of which something is so."""
    cases = [case for case in POISONED.values() if condition(case)]
    assert cases
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


def nan_input(arguments):
    (name,) = (
        n
        for n, value in arguments.items()
        if isinstance(value, np.ndarray) and np.any(np.isnan(value))
    )
    return name


def cleaned(value):
    """Replace NaN in an array, or in those of a state."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(cleaned, value))
    if isinstance(value, np.ndarray):
        return np.where(np.isnan(value), value.dtype.type(1.5), value)
    return value


def of_parameters(case):
    return case.op.startswith("parameters.")


def of_tokens(case):
    return "y" in OPS[case.op].outputs and case.family not in (OLD, FREE)


@having(of_tokens)
def test_outputs_are_nan_where_inputs_are_and_nowhere_else(case):
    expected = truth(case, F32)
    x, y = expected.arguments[nan_input(expected.arguments)], expected.outputs["y"]
    lead = 1 if case.op.endswith("_step") else 2
    x, y = (np.isnan(a).reshape(*a.shape[:lead], -1) for a in (x, y))
    assert 0 < np.sum(np.any(x, axis=-1)) < np.prod(x.shape[:-1])
    assert np.array_equal(np.any(y, axis=-1), np.any(x, axis=-1))
    assert np.array_equal(np.all(y, axis=-1), np.all(x, axis=-1))


@poisoned
def test_all_that_is_finite_is_as_without_the_nan(case):
    expected = truth(case, F32)
    arguments = rounded(expected.arguments, np.dtype(np.longdouble))
    without = {name: cleaned(value) for name, value in arguments.items()}
    golden = implementation(OPS[case.op], "ssmref.golden")
    for output, clean in flatten(OPS[case.op], golden(**without)).items():
        found = expected.outputs[output]
        finite = ~np.isnan(found)
        assert np.array_equal(found[finite], clean.astype(found.dtype)[finite]), output
        assert np.all(np.isfinite(expected.scales[output][finite])), output


def in_float32(outputs):
    return {
        name: y.astype(np.complex64 if np.iscomplexobj(y) else F32)
        for name, y in outputs.items()
    }


@having(of_parameters)
def test_parameters_are_nan_in_the_row_of_the_nan(case):
    expected = truth(case, F32)
    rows = [np.isnan(y).reshape(len(y), -1) for y in expected.outputs.values()]
    found = np.any([row.any(axis=1) for row in rows], axis=0)
    assert np.flatnonzero(found).tolist() == [1]


@having(lambda case: case.family == OLD)
def test_nan_that_nobody_reads_is_nowhere(case):
    expected = truth(case, F32)
    assert any(np.any(np.isnan(part)) for part in expected.arguments["state"])
    assert all(np.all(np.isfinite(y)) for y in expected.outputs.values())


@having(lambda case: case.family != OLD)
def test_the_judge_wants_nan_there_and_only_there(case):
    expected = truth(case, F32)
    right = in_float32(expected.outputs)
    assert judge(case, expected, right).status == PASSED
    names = [n for n, y in right.items() if np.any(np.isnan(y))]
    name = "y" if "y" in names else names[0]
    nan = np.isnan(right[name])
    for wrong in (
        np.where(nan, 0, right[name]),
        np.where(np.roll(nan, 1, 0) | np.roll(nan, 1, 1), np.nan, right[name]),
        np.full_like(right[name], np.nan),
        np.nan_to_num(right[name], nan=np.inf),
    ):
        outputs = {**right, name: wrong.astype(right[name].dtype)}
        assert judge(case, expected, outputs).status == FAILED
