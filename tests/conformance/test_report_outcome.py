"""The outcome of a run: a sentence and an exit status for every combination."""

from itertools import chain, combinations

import pytest
from support.results import ENTRIES, PLAIN, of

from ssmref.conformance.expected import Expectation
from ssmref.conformance.report.outcome import outcome
from ssmref.conformance.report.results import STATUSES
from ssmref.conformance.verdict import (
    EXPECTED,
    FAILED,
    NOT_PROVIDED,
    PASSED,
    UNEXPECTED,
)

SSD = ("mamba2.ssd",)
SISO = ("mamba3.siso",)
SUBSETS = list(chain(*(combinations(STATUSES, n) for n in range(6))))


def status(statuses: tuple[str, ...], required: tuple[str, ...], missed: bool) -> int:
    """The rules again, as a person reads them."""
    red = FAILED in statuses or UNEXPECTED in statuses or missed
    missing = NOT_PROVIDED in statuses
    if red or (required and (missing or not statuses or required != SSD)):
        return 1
    ran = set(statuses) - {NOT_PROVIDED}
    return 0 if ran and not missing else 3


@pytest.mark.parametrize("missed", [False, True])
@pytest.mark.parametrize("required", [(), SSD, SISO, SSD + SISO])
@pytest.mark.parametrize("statuses", SUBSETS, ids="+".join)
def test_every_combination(statuses, required, missed):
    known = Expectation(PLAIN.id, "known")
    entries = (known, *ENTRIES[2:]) if missed else ()
    found = outcome(of(*statuses, required=required, entries=entries))
    assert found.status == status(statuses, required, missed)


SENTENCES = [
    (of(PASSED, PASSED), 0, "PASSED: all 2 cases"),
    (of(PASSED, EXPECTED), 0, "AS EXPECTED: 1 of 2 cases run passed, 1 failed as"),
    (of(EXPECTED), 0, "AS EXPECTED: 0 of 1 cases run passed, 1 failed as expected"),
    (of(), 3, "NOTHING RAN: "),
    (of(NOT_PROVIDED), 3, "NOTHING RAN: "),
    (of(PASSED, NOT_PROVIDED), 3, "INCOMPLETE: all 1 cases run passed, 1 is not prov"),
    (of(EXPECTED, NOT_PROVIDED), 3, "INCOMPLETE: all 1 cases run passed or failed as"),
    (of(FAILED, PASSED), 1, "FAILED: 1 of 2 cases run are wrong"),
    (of(UNEXPECTED), 1, "FAILED: 1 passed although a failure was expected"),
    (of(PASSED, entries=ENTRIES[2:]), 1, "FAILED: 1 expected failure was not run"),
    (of(PASSED, entries=ENTRIES), 1, "FAILED: 3 expected failures were not run"),
    (of(PASSED, NOT_PROVIDED, required=SSD), 1, "FAILED: mamba2.ssd is required, 1 of"),
    (of(PASSED, required=SISO), 1, "FAILED: mamba3.siso is required and was not run"),
    (of(required=SSD), 1, "FAILED: mamba2.ssd is required and was not run"),
    (of(FAILED, NOT_PROVIDED, required=SSD), 1, "are wrong; mamba2.ssd is required"),
]


@pytest.mark.parametrize(("results", "status", "words"), SENTENCES)
def test_sentence(results, status, words):
    found = outcome(results)
    assert found.status == status
    assert words in found.sentence


def test_what_is_not_required_may_be_missing_but_is_named():
    step = "mamba2.ssd_step"
    results = of(PASSED, PASSED, NOT_PROVIDED, required=SSD)
    case = type(PLAIN)(step, "plain", "default", "none", PLAIN.build)
    last = type(results.verdicts[-1])(case, "float32", NOT_PROVIDED)
    found = outcome(
        type(results)(results.candidate, "float32", [*results.verdicts[:2], last], SSD)
    )
    assert found.status == 0
    assert found.sentence == (
        "PASSED: all 2 cases run, 1 is not provided and not required"
    )


def test_a_status_that_nobody_knows_is_not_green():
    assert outcome(of("excellent")).status == 3
