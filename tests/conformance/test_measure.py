"""The measure accepts what is correct and rejects what is wrong, with room."""

import warnings
from importlib import import_module

import numpy as np
import pytest
from support.many import assert_each

from ssmref.conformance.catalogue import CASES, cases_of
from ssmref.conformance.outputs import flatten
from ssmref.conformance.precision import dtype_of, rounded
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import LIMIT, PASSED, judge, judge_output
from ssmref.ops import OPS, implementation

# A correct implementation keeps a factor of 4 below the limit.
ROOM = LIMIT / 4
CHUNKS = (16, 64, 256)


# Forms by FFT are right and exact in their own sense: their errors are relative to the
# whole signal, not to each output. They certify golden, but are no candidates.
BY_FFT = ("fft", "convolution")


def forms(op):
    """Yield the name, the function and the options of every golden form of an op."""
    module = import_module(f"ssmref.golden.{op.module}")
    yield "definition", getattr(module, op.function), {}
    for form in op.forms:
        function = getattr(module, f"{op.function}_{form}")
        if form == "chunked":
            for size in CHUNKS:
                yield f"chunked {size}", function, {"chunk_size": size}
        else:
            yield form, function, {}


@pytest.fixture(
    scope="module",
    params=[pytest.param(op, marks=pytest.mark.xdist_group(op)) for op in OPS],
)
def cases(request):
    """Those of an op: tests of one dtype follow each other, so that truths are kept."""
    return cases_of(request.param)


def assert_room(case, expected, result):
    verdict = judge(case, expected, flatten(OPS[case.op], result))
    assert verdict.status == PASSED
    assert verdict.ratio <= ROOM


def test_every_form_passes_in_float32_with_room(cases):
    assert_each(every_form_passes_in_float32_with_room, cases)


def every_form_passes_in_float32_with_room(case):
    expected = truth(case, np.dtype(np.float32))
    for name, function, options in forms(OPS[case.op]):
        if name not in BY_FFT:
            assert_room(case, expected, function(**expected.arguments, **options))


def test_wrong_output_is_rejected_with_room(cases):
    """By a factor of 3: one percent of a value that has lost digits is the least."""
    assert_each(wrong_output_is_rejected_with_room, cases)


def test_the_definition_passes_in_float64_with_room(cases):
    assert_each(the_definition_passes_in_float64_with_room, cases)


def the_definition_passes_in_float64_with_room(case):
    expected = truth(case, np.dtype(np.float64))
    function = implementation(OPS[case.op], "ssmref.golden")
    assert_room(case, expected, function(**expected.arguments))


@pytest.mark.skipif(
    bool(np.finfo(np.longdouble).eps > 1e-18),
    reason="longdouble is float64 on this platform",
)
def test_golden_is_certified_by_other_forms_in_extended_precision(cases):
    """What golden outputs are off is far below one float64 eps of their scale."""
    assert_each(golden_is_certified_by_other_forms_in_extended_precision, cases)


def golden_is_certified_by_other_forms_in_extended_precision(case):
    op, expected = OPS[case.op], truth(case, np.dtype(np.float64))
    wide = rounded(expected.arguments, np.dtype(np.longdouble))
    eps = np.finfo(np.float64).eps
    for name, function, options in forms(op):
        for output, array in flatten(op, function(**wide, **options)).items():
            allowed = eps * expected.scales[output] + np.finfo(np.float64).tiny
            error = np.abs(array - expected.outputs[output])
            if output.endswith(".angle"):
                error = np.minimum(error, np.abs(error - 2 * np.pi))
            assert np.all(error <= allowed), (name, output)


# 1e9 and more is no float16.
BEYOND_FLOAT16 = ("large-values", "huge-steps")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_float32_inside_a_low_dtype_passes(cases, dtype):
    """What a careful kernel does: float32 in registers, y rounded once."""
    assert_each(lambda case: float32_inside_a_low_dtype_passes(case, dtype), cases)


def float32_inside_a_low_dtype_passes(case, dtype):
    op, low = OPS[case.op], dtype_of(dtype)
    if dtype == "float16" and case.family in BEYOND_FLOAT16:
        with np.errstate(over="ignore"):
            given = [v for v in case.arguments(low).values() if hasattr(v, "dtype")]
        assert any(np.any(np.isinf(array)) for array in given)
        return
    expected = truth(case, low)
    arguments = rounded(expected.arguments, np.dtype(np.float32))
    outputs = flatten(op, implementation(op, "ssmref.golden")(**arguments))
    if "y" in outputs:
        outputs["y"] = outputs["y"].astype(low)
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
    "shifted by one step": lambda y: np.roll(y, 1, axis=min(1, y.ndim - 1)),
    "rows of the batch swapped": lambda y: y[::-1],
    "last axis reversed": lambda y: y[..., ::-1],
    "wrong shape": lambda y: y[..., :-1],
    "broadcastable": lambda y: y.reshape(-1)[:1],
}


# What changes no number but what it looks like.
MALFORMED = ("nan", "inf", "wrong shape", "broadcastable")
# Sums of exponents beyond 1 / eps: no digit is certain, only that there is a number.
UNCERTAIN = ("mamba2.ssd/huge-steps/l140",)


def mistakes(case, expected):
    """Yield (name, output, outputs): each output wrong in turn, the others right."""
    for output, right in expected.outputs.items():
        for name, mistake in WRONG.items():
            if case.id in UNCERTAIN and name not in MALFORMED:
                continue
            wrong = mistake(right) if right.size else right
            if wrong.shape == right.shape and np.array_equal(wrong, right):
                continue  # no such mistake can be made here
            outputs = {**expected.outputs, output: wrong}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # casting inf
                yield name, output, {n: in_float32(o) for n, o in outputs.items()}


def wrong_output_is_rejected_with_room(case):
    expected = truth(case, np.dtype(np.float32))
    for name, output, outputs in mistakes(case, expected):
        verdict = judge(case, expected, outputs)
        assert verdict.status != PASSED, (name, output)
        assert not verdict.ratio <= 3 * LIMIT, (name, output)


def test_mistakes_are_made():
    case = CASES["mamba2.ssd/plain/b2l37h3p5n4"]
    made = {name for name, *_ in mistakes(case, truth(case, np.dtype(np.float32)))}
    assert made == set(WRONG)
    case = CASES[UNCERTAIN[0]]
    made = {name for name, *_ in mistakes(case, truth(case, np.dtype(np.float32)))}
    assert made == set(MALFORMED)


EXTENDED = [op for op in OPS if cases_of(op, "extended")]


@pytest.mark.parametrize("op", EXTENDED)
def test_extended_cases_have_room_too(op):
    """A sample: all of the level takes longer than a test may."""
    assert_each(extended_case_has_room, cases_of(op, "extended")[::9])


def extended_case_has_room(sample):
    expected = truth(sample, np.dtype(np.float32))
    function = implementation(OPS[sample.op], "ssmref.golden")
    assert_room(sample, expected, function(**expected.arguments))
    zeros = {n: in_float32(np.zeros_like(y)) for n, y in expected.outputs.items()}
    if any(np.any(y) for y in expected.outputs.values()):
        assert judge(sample, expected, zeros).status != PASSED


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


def test_nan_is_needed_where_golden_has_it_and_only_there():
    nan, scale = np.array([[1.0, np.nan, 3.0]]), np.array([[1.0, np.nan, 1.0]])
    assert judge_output("y", nan, nan, scale, F64).passed
    for got in (np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, np.inf, 3.0]])):
        finding = judge_output("y", got, nan, scale, F64)
        assert not finding.passed
        assert finding.index == (0, 1)
    assert not judge_output("y", np.full_like(Y, np.nan), nan, scale, F64).passed


def test_nan_in_golden_or_its_scale_alone_fails():
    nan, scale = np.array([[1.0, np.nan, 3.0]]), np.array([[1.0, np.nan, 1.0]])
    assert not judge_output("y", Y, Y, scale, F64).passed
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
