"""The one place that says whether a run was good: a sentence and an exit status.

====== ===========  ================================================================
status first word   when
====== ===========  ================================================================
1      FAILED       a case is wrong, or passed although a failure was expected; an
                    expected failure was not run; a required op is not complete
3      NOTHING RAN  none of that, but no case was run at all
3      INCOMPLETE   none of that, but not everything is provided and nobody said what
                    is required
0      AS EXPECTED  what is required ran, and some cases failed as expected
0      PASSED       what is required ran, and every case that was run passed
====== ===========  ================================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..verdict import EXPECTED, FAILED, NOT_PROVIDED, PASSED, UNEXPECTED
from .results import Results, absent, counts, run


@dataclass(frozen=True)
class Outcome:
    """What a run says in one sentence, and the exit status that goes with it."""

    status: int
    sentence: str


def outcome(results: Results) -> Outcome:
    """Return the outcome of a run; the table above says which."""
    if faults := list(_faults(results)):
        return Outcome(1, "FAILED: " + "; ".join(faults))
    count = counts(results.verdicts)
    ran, missing = run(count), count[NOT_PROVIDED]
    if not ran:
        nothing = "NOTHING RAN: no case could be run on this implementation"
        return Outcome(3, nothing)
    rest = f", {missing} {_are(missing)} not provided" if missing else ""
    if missing and not results.required:
        good = "passed" if not count[EXPECTED] else "passed or failed as expected"
        return Outcome(3, f"INCOMPLETE: all {ran} cases run {good}{rest}")
    rest = f"{rest} and not required" if missing else ""
    if count[EXPECTED]:
        passed = f"{count[PASSED]} of {ran} cases run passed"
        known = f"{count[EXPECTED]} failed as expected"
        return Outcome(0, f"AS EXPECTED: {passed}, {known}{rest}")
    return Outcome(0, f"PASSED: all {ran} cases{' run' if missing else ''}{rest}")


def _faults(results: Results) -> Iterator[str]:
    count = counts(results.verdicts)
    if count[FAILED]:
        yield f"{count[FAILED]} of {run(count)} cases run are wrong"
    if passes := count[UNEXPECTED]:
        yield f"{passes} passed although a failure was expected"
    if entries := len(results.unmatched):
        yield f"{entries} expected {_failures(entries)} not run"
    for op in results.required:
        if missing := counts(results.of(op))[NOT_PROVIDED]:
            cases = f"{missing} of its cases {_are(missing)}"
            yield f"{op} is required, {cases} not provided"
    for op in absent(results.required, results.verdicts):
        yield f"{op} is required and was not run"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _failures(count: int) -> str:
    return "failure was" if count == 1 else "failures were"
