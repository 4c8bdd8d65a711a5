"""The measure accepts what is correct and rejects what is wrong, with room."""

import warnings
from importlib import import_module

import numpy as np
import pytest

from ssmref.conformance.catalogue import CASES
from ssmref.conformance.outputs import flatten
from ssmref.conformance.precision import dtype_of, rounded
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import LIMIT, PASSED, judge, judge_output
from ssmref.ops import OPS

# A correct implementation keeps a factor of 4 below the limit.
ROOM = LIMIT / 4
CHUNKS = (16, 64, 256)


def correct_runs(op):
    """Yield the golden forms of an op. FFT convolution is no candidate: its errors are
    relative to the whole signal, not to each output."""
    module = import_module(f"ssmref.golden.{op.module}")
    yield "definition", getattr(module, op.function), {}
    for form in op.forms:
        function = getattr(module, f"{op.function}_{form}")
        if form == "chunked":
            for size in CHUNKS:
                yield f"chunked {size}", function, {"chunk_size": size}
        elif form != "fft":
            yield form, function, {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_correct_runs_pass_with_room(case, dtype):
    op, expected = OPS[case.op], truth(case, np.dtype(dtype))
    for name, function, options in correct_runs(op):
        outputs = flatten(op, function(**expected.arguments, **options))
        verdict = judge(case, expected, outputs)
        assert verdict.status == PASSED, name
        assert verdict.ratio <= ROOM, name


@pytest.mark.skipif(
    bool(np.finfo(np.longdouble).eps > 1e-18),
    reason="longdouble is float64 on this platform",
)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_golden_is_certified_by_other_forms_in_extended_precision(case):
    """What golden outputs are off is far below one float64 eps of their scale."""
    op, expected = OPS[case.op], truth(case, np.dtype(np.float64))
    wide = rounded(expected.arguments, np.dtype(np.longdouble))
    eps = np.finfo(np.float64).eps
    for name, function, options in correct_runs(op):
        for output, array in flatten(op, function(**wide, **options)).items():
            allowed = eps * expected.scales[output] + np.finfo(np.float64).tiny
            error = np.abs(array - expected.outputs[output])
            if output.endswith(".angle"):
                error = np.minimum(error, np.abs(error - 2 * np.pi))
            assert np.all(error <= allowed), (name, output)


# 1e10 is no float16.
LOW = [
    (case, dtype)
    for dtype in ("bfloat16", "float16")
    for case in CASES.values()
    if dtype == "bfloat16" or case.family != "large-values"
]


@pytest.mark.parametrize(("case", "dtype"), LOW, ids=[f"{c.id}-{d}" for c, d in LOW])
def test_float32_inside_a_low_dtype_passes(case, dtype):
    """What a careful kernel does: float32 in registers, y rounded once."""
    op, low = OPS[case.op], dtype_of(dtype)
    expected = truth(case, low)
    module = import_module(f"ssmref.golden.{op.module}")
    arguments = rounded(expected.arguments, np.dtype(np.float32))
    y, *states = flatten(op, getattr(module, op.function)(**arguments)).values()
    outputs = dict(zip(op.outputs, (y.astype(low), *states), strict=True))
    verdict = judge(case, expected, outputs)
    assert verdict.status == PASSED
    assert verdict.ratio <= ROOM


def middle(y, value):
    wrong = y.copy()
    wrong[tuple(n // 2 for n in y.shape)] = value
    return wrong


def largest(y, factor):
    wrong = y.copy()
    index = np.unravel_index(np.argmax(np.abs(y)), y.shape)
    wrong[index] *= factor
    return wrong


WRONG = {
    "nan": lambda y: middle(y, np.nan),
    "inf": lambda y: middle(y, np.inf),
    "zeros": np.zeros_like,
    "negated": lambda y: -y,
    "one percent": lambda y: y * 1.01,
    "largest element one percent": lambda y: largest(y, 1.01),
    "shifted by one step": lambda y: np.roll(y, 1, axis=1),
    "rows of the batch swapped": lambda y: y[::-1],
    "last axis reversed": lambda y: y[..., ::-1],
    "wrong shape": lambda y: y[..., :-1],
    "broadcastable": lambda y: y.reshape(-1)[:1],
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_wrong_output_is_rejected(case, name):
    """Each output in turn, the others being right."""
    expected = truth(case, np.dtype(np.float32))
    for output, right in expected.outputs.items():
        wrong = WRONG[name](right) if right.size else right
        if wrong.shape == right.shape and np.array_equal(wrong, right):
            continue  # no such mistake can be made here
        outputs = {**expected.outputs, output: wrong}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # casting inf
            outputs = {n: in_float32(o) for n, o in outputs.items()}
        verdict = judge(case, expected, outputs)
        assert verdict.status != PASSED, output


def in_float32(array):
    return array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)


Y = np.array([[1.0, -2.0, 3.0]])
ONES = np.ones_like(Y)
F64 = np.dtype(np.float64)


def test_ratio_is_error_over_eps_and_scale():
    eps = np.finfo(F64).eps
    got = Y + np.array([[0, 12 * eps, 0]])
    finding = judge_output("y", got, Y, 2 * ONES, F64)
    assert finding.passed
    assert finding.ratio == pytest.approx(6)
    assert finding.index == (0, 1)
    assert (finding.wrong, finding.size) == (0, 3)


@pytest.mark.parametrize(("factor", "passed"), [(30, True), (31, False)])
def test_limit_is_thirty(factor, passed):
    got = ONES + np.array([[0, 0, factor * np.finfo(F64).eps]])
    finding = judge_output("y", got, ONES, ONES, F64)
    assert finding.passed is passed
    assert LIMIT == 30


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_fails(bad):
    finding = judge_output("y", np.array([[1.0, bad, 3.0]]), Y, ONES, F64)
    assert not finding.passed
    assert finding.ratio == np.inf
    assert finding.index == (0, 1)
    assert finding.wrong == 1


def test_nan_in_golden_fails():
    nan = np.array([[1.0, np.nan, 3.0]])
    assert not judge_output("y", nan, nan, ONES, F64).passed


def test_wrong_dtype_and_shape_fail():
    assert "dtype" in judge_output("y", Y.astype("f4"), Y, ONES, F64).problem
    assert "shape" in judge_output("y", Y[0], Y, ONES, F64).problem
    assert not judge_output("y", Y[0], Y, ONES, F64).passed


def test_a_zero_scale_allows_no_error():
    zero = np.zeros_like(Y)
    assert judge_output("y", zero, zero, zero, F64).passed
    assert not judge_output("y", zero + 1e-300, zero, zero, F64).passed


def test_results_below_the_normal_range_may_be_flushed():
    tiny = np.full_like(Y, np.finfo(F64).tiny)
    assert judge_output("y", 0 * tiny, tiny, tiny, F64).passed


def test_angles_are_compared_modulo_a_turn():
    turns = Y + 2 * np.pi * np.array([[1, -3, 10]])
    assert judge_output("final_state.angle", turns, Y, 10 * ONES, F64).passed
    assert not judge_output("y", turns, Y, 10 * ONES, F64).passed
    assert not judge_output("final_state.angle", turns + 1e-9, Y, ONES, F64).passed
