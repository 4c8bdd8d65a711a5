"""The cases are what the catalogue says of them."""

import inspect
import re

import numpy as np
import pytest
from support.many import assert_each

from ssmref.conformance.cases.flags import FLAGS
from ssmref.conformance.catalogue import (
    _ALL,
    ALL_CASES,
    CASES,
    LEVELS,
    cases_of,
    covered_ops,
)
from ssmref.conformance.truth import SCALES, truth
from ssmref.ops import OPS, implementation

# Ops of few options; all others have a dozen cases or more.
FEWEST = {"parameters": 5, "stages": 7}
F32 = np.dtype(np.float32)


def arrays(arguments):
    for name, value in arguments.items():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, np.ndarray):
                yield name, part


def test_every_op_has_cases():
    assert covered_ops() == list(OPS)
    assert set(SCALES) == set(OPS)
    for op in OPS:
        assert len(cases_of(op)) >= FEWEST.get(op.split(".")[0], 12), op
    assert len(CASES) >= 250


def test_ids_are_unique():
    assert len(ALL_CASES) == len(_ALL)


def test_levels():
    assert {case.level for case in _ALL} == set(LEVELS)
    assert all(case.level == "core" for case in CASES.values())
    for op in OPS:
        assert cases_of(op) == [c for c in CASES.values() if c.op == op]
    with pytest.raises(ValueError, match="level is 'all'; it needs to be one of"):
        cases_of("mamba2.ssd", "all")


SCANS = ("mamba1.selective_scan", "mamba2.ssd", "mamba3.siso")


@pytest.mark.parametrize("op", SCANS)
def test_scans_have_many_extended_families_and_a_long_case(op):
    assert len({case.family for case in cases_of(op, "extended")}) >= 20
    (case,) = cases_of(op, "long")
    x = next(iter(case.arguments(F32).values()))
    assert x.shape[0] == 1
    assert x.shape[1] > 2**16


PARTS = [op for op in OPS if op.split(".")[0] in ("caches", "parameters", "stages")]


@pytest.mark.parametrize("op", PARTS)
def test_serving_parameters_and_stages_are_varied_too(op):
    extended, core = cases_of(op, "extended"), cases_of(op)
    assert len(extended) > 2 * len(core)
    assert len({case.family for case in extended}) >= 8
    assert any("nan" in case.flags for case in extended)


ORDINARY = [case for case in ALL_CASES.values() if "nan" not in case.flags]
each_op = pytest.mark.parametrize("op", OPS)


@each_op
def test_arguments_are_the_ops_and_finite(op):
    assert_each(arguments_are_the_ops_and_finite, [c for c in ORDINARY if c.op == op])


def arguments_are_the_ops_and_finite(case):
    golden = implementation(OPS[case.op], "ssmref.golden")
    arguments = case.arguments(F32)
    assert set(arguments) <= set(inspect.signature(golden).parameters)
    for name, array in arrays(arguments):
        assert np.all(np.isfinite(array)), name
        if array.dtype.kind in "fc":
            assert np.finfo(array.dtype).dtype == F32, name


@each_op
def test_truth_is_finite_and_every_scale_fits(op):
    assert_each(truth_is_finite_and_every_scale_fits, cases_of(op))


def truth_is_finite_and_every_scale_fits(case):
    found = truth(case, F32)
    assert set(found.outputs) == set(found.scales) == set(OPS[case.op].outputs)
    for name, output in found.outputs.items():
        assert found.scales[name].shape == output.shape, name
        assert np.all(np.isfinite(output)), name
        assert np.all(found.scales[name] >= 0), name
        assert np.all(np.isfinite(found.scales[name])), name


def test_a_case_is_the_same_every_time():
    case = CASES["mamba2.ssd/plain/b2l37h3p5n4"]
    first, second = case.arguments(F32), case.arguments(F32)
    for (_, a), (_, b) in zip(arrays(first), arrays(second), strict=True):
        assert np.array_equal(a, b)


def test_the_numbers_of_a_case_are_frozen():
    """Vectors that somebody exported stay valid: ids mean these very numbers."""
    x = CASES["mamba2.ssd/plain/b2l37h3p5n4"].arguments(np.dtype(np.float64))["x"]
    assert x.shape == (2, 37, 3, 5)
    assert x.flat[0] == pytest.approx(FIRST, rel=0, abs=0)


FIRST = 0.0  # filled below by the generator's own definition


def _first_by_hand():
    text, mask = "mamba2.ssd/plain/b2l37h3p5n4#x", 2**64 - 1
    seed = 14695981039346656037
    for byte in text.encode():
        seed = (seed ^ byte) * 1099511628211 & mask
    total = 0.0
    for _ in range(12):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        total += ((z ^ (z >> 31)) >> 11) * 2.0**-53
    return total - 6


FIRST = _first_by_hand()


def test_every_case_has_flags_that_are_known_and_every_flag_a_case():
    assert all(case.flags for case in ALL_CASES.values())
    used = {flag for case in ALL_CASES.values() for flag in case.flags}
    assert used == set(FLAGS)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_says_what_and_where(name):
    flag = FLAGS[name]
    assert name == name.lower()
    assert len(flag.bug) > 20
    assert len(flag.effect) > 15
    for link in flag.links:
        assert re.fullmatch(
            r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull|commit)/[0-9a-f]+", link
        )


FLAGGED = [
    ("mamba2.ssd/groups-inner/b2l37h6g2", {"groups", "batch"}),
    ("mamba2.ssd/packed/l140", {"packing", "initial-state", "chunk-boundary"}),
    ("mamba2.ssd/chunk/l64", {"chunk-boundary"}),
    ("mamba2.ssd_step/softplus-tails/b8", {"softplus", "softplus-tail", "step"}),
    ("s5.s5/bidirectional/b2l27", {"bidirectional"}),
    ("layers.rms_norm_gated/groups/l5d12", {"norm-groups", "gate-order"}),
]


@pytest.mark.parametrize(("case", "flags"), FLAGGED)
def test_flags_follow_from_what_a_case_gives(case, flags):
    assert flags <= set(CASES[case].flags)


def test_flags_are_not_given_away():
    """A flag that every case has would say nothing."""
    for flag in FLAGS:
        share = np.mean([flag in case.flags for case in CASES.values()])
        assert share < 2 / 3, flag
    assert "groups" not in CASES["mamba2.ssd/plain/b2l37h3p5n4"].flags
    assert "packing" not in CASES["mamba2.ssd/chunk/l64"].flags
