"""Every check is shown wrong answers, at the size and in the place that it is for."""

import numpy as np
import pytest

from ssmref.bench.contender import Contender
from ssmref.bench.packages import package_contender
from ssmref.bench.verification import (
    check_core,
    check_sample,
    check_small,
    sample,
)
from ssmref.bench.workloads import WORKLOADS
from ssmref.golden.mamba1 import selective_scan

F32 = np.dtype(np.float32)
ONE_PER_OP = {w.op: w for w in reversed(WORKLOADS)}
SCAN = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan")
SCAN = SCAN.resized(length=100, channels=12)


def scan_with(change):
    """Return a contender whose y is golden's, changed."""

    def prepare(arguments):
        return lambda: change(selective_scan(**arguments)[0])

    return Contender("made up", SCAN.op, prepare, lambda y: {"y": y})


def entry(*index, by):
    def change(y):
        y[index] *= by
        return y

    return change


WRONG = {
    "nan": entry(0, 99, 11, by=np.nan),
    "zeros": np.zeros_like,
    "one per cent": lambda y: y * np.float32(1.01),
    "one element": entry(0, 50, 11, by=1.01),
    "shifted": lambda y: np.roll(y, 1, axis=1),
    "too short": lambda y: y[:, :-1],
    "double precision": lambda y: y.astype(np.float64),
}


def of_sample(contender, workload=SCAN):
    arguments = workload.arguments(F32)
    got = contender.outputs(contender.prepare(arguments)())
    return check_sample(contender, sample(workload, arguments, F32), got)


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_fails_both_checks(change):
    contender = scan_with(change)
    assert not of_sample(contender).passed
    if change is not WRONG["one element"]:  # another element at small sizes
        assert not check_small(contender, SCAN.small_case(), F32).passed


def test_a_right_answer_passes_and_says_where():
    contender = scan_with(lambda y: y)
    small, timed = check_small(contender, SCAN.small_case(), F32), of_sample(contender)
    assert small.passed
    assert timed.passed
    assert (small + timed).places == ("small sizes", "timed result, 2 of the channels")
    assert (small + timed).ratio == max(small.ratio, timed.ratio)


def test_a_failure_stays_a_failure_when_more_is_judged():
    right = check_small(scan_with(lambda y: y), SCAN.small_case(), F32)
    wrong = check_small(scan_with(np.zeros_like), SCAN.small_case(), F32)
    for both in (right + wrong, wrong + right):
        assert not both.passed
        assert both.problem == wrong.problem


def test_the_problem_names_output_place_and_numbers():
    found = of_sample(scan_with(entry(0, 50, 11, by=2.0)))
    assert "y at batch 0, token 50, channel 1" in found.problem
    assert "limit 30" in found.problem


def test_an_output_y_is_needed():
    contender = Contender("none", SCAN.op, lambda _: lambda: None, lambda _: {})
    assert not check_small(contender, SCAN.small_case(), F32).passed


@pytest.mark.parametrize("workload", ONE_PER_OP.values(), ids=ONE_PER_OP)
def test_golden_passes_at_small_sizes_and_on_the_sample(workload):
    small = dict(workload.small)
    if "length" in small:
        small["length"] = min(small["length"], 40)  # golden S4 is slow
    workload = workload.resized(**small)
    contender = package_contender("ssmref.golden", workload)
    assert check_small(contender, workload.small_case(), F32).passed
    assert of_sample(contender, workload).passed


def test_core_cases_judge_what_the_workload_does_not_use():
    def without_groups(u, dt, A, B, C, **options):
        if B.ndim == 4:
            B, C = B[:, :, :1], C[:, :, :1]
        return selective_scan(u, dt, A, B, C, **options)

    assert check_core(selective_scan, SCAN.op, F32).passed
    found = check_core(without_groups, SCAN.op, F32)
    assert not found.passed
    assert "groups" in found.problem


def test_what_provides_nothing_is_not_right():
    def nothing(*_, **__):
        raise NotImplementedError("later")

    found = check_core(nothing, SCAN.op, F32)
    assert not found.passed
    assert "not provided" in found.problem


def test_methods_of_whole_signals_are_judged_by_the_largest_number():
    workload = ONE_PER_OP["s4d.s4d"].resized(length=64)
    contender = package_contender("ssmref.golden", workload)
    assert contender.whole_signal
    arguments = workload.arguments(F32)
    expected = sample(workload, arguments, F32)
    got = contender.outputs(contender.prepare(arguments)())
    off = {**got, "y": got["y"] + np.float32(1e-2)}
    assert check_sample(contender, expected, got).passed
    assert not check_sample(contender, expected, off).passed
