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
POISONED = {case.id: case for case in ALL_CASES.values() if "nan" in case.flags}
poisoned = pytest.mark.parametrize("case", POISONED.values(), ids=POISONED)


def nan_input(arguments):
    (name,) = (
        n
        for n, value in arguments.items()
        if isinstance(value, np.ndarray) and np.any(np.isnan(value))
    )
    return name


@poisoned
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
    name = nan_input(arguments)
    arguments[name] = np.where(np.isnan(arguments[name]), 1.5, arguments[name])
    golden = implementation(OPS[case.op], "ssmref.golden")
    for output, clean in flatten(OPS[case.op], golden(**arguments)).items():
        found = expected.outputs[output]
        finite = ~np.isnan(found)
        assert np.array_equal(found[finite], clean.astype(found.dtype)[finite]), output
        assert np.all(np.isfinite(expected.scales[output][finite])), output


def in_float32(outputs):
    return {
        name: y.astype(np.complex64 if np.iscomplexobj(y) else F32)
        for name, y in outputs.items()
    }


@poisoned
def test_the_judge_wants_nan_there_and_only_there(case):
    expected = truth(case, F32)
    right = in_float32(expected.outputs)
    assert judge(case, expected, right).status == PASSED
    nan = np.isnan(right["y"])
    for wrong in (
        np.where(nan, 0, right["y"]),
        np.where(np.roll(nan, 1, axis=0) | np.roll(nan, 1, axis=1), np.nan, right["y"]),
        np.full_like(right["y"], np.nan),
        np.nan_to_num(right["y"], nan=np.inf),
    ):
        outputs = {**right, "y": wrong.astype(F32)}
        assert judge(case, expected, outputs).status == FAILED
