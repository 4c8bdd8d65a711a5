"""A bug of a stage shows in that stage first: this is what stages are for."""

from dataclasses import replace

import numpy as np
import pytest

from ssmref.conformance.bugs.stage_parts import chunked, scanned, trapezoidal
from ssmref.conformance.bugs.zoo import BUGS, stranger
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import FAILED, PASSED
from ssmref.ops import OPS

F32 = np.dtype(np.float32)
SSD = "stages.ssd_stages"
SCAN = "stages.selective_scan_stages"
SISO = "stages.siso_stages"


def verdicts(op, bug, family=None):
    cases = [c for c in cases_of(op) if family in (None, c.family)]
    return [verify_case(stranger([bug], OPS[op]), case, F32) for case in cases]


RIGHT = [(SSD, chunked()), (SCAN, scanned()), (SISO, trapezoidal())]


@pytest.mark.parametrize(("op", "wrap"), RIGHT, ids=[op for op, _ in RIGHT])
def test_without_a_bug_all_stages_are_right(op, wrap):
    right = replace(BUGS["stage-sums-exclusive"], wrap=wrap)
    found = verdicts(op, right)
    assert [v.case.id for v in found if v.status != PASSED] == []
    assert len(found) >= 7


FIRST = {
    (SSD, "stage-dt-raw"): "dt",
    (SSD, "softplus-twice"): "dt",
    (SSD, "dt-limit-ignored"): "dt",
    (SSD, "stage-padding-decays"): "dt",
    (SSD, "a-exp2"): "log_decay",
    (SSD, "stage-sums-exclusive"): "log_decay",
    (SSD, "stage-sums-run-on"): "log_decay",
    (SSD, "chunk-states-from-start"): "chunk_states",
    (SSD, "chunk-states-without-dt"): "chunk_states",
    (SSD, "groups-tile-hf"): "chunk_states",
    (SSD, "entering-states-one-late"): "entering_states",
    (SSD, "entering-states-axis"): "entering_states",
    (SSD, "entering-states-from-zeros"): "entering_states",
    (SCAN, "dt-bias-dropped"): "dt",
    (SCAN, "decay-base-two"): "decay",
    (SCAN, "decay-of-token-before"): "decay",
    (SCAN, "drive-without-dt"): "drive",
    (SCAN, "groups-tile-hf"): "drive",
    (SCAN, "states-before-tokens"): "states",
    (SISO, "turn-no-tanh"): "turn",
    (SISO, "m3-trap-flipped"): "gamma",
    (SISO, "scale-ends-with-chunk"): "scale",
    (SISO, "m3-rope-pairing"): "q",
    (SISO, "rotation-before-bias"): "q",
    (SISO, "scale-dropped"): "k",
    (SISO, "stage-sums-run-on"): "log_decay",
    (SISO, "state-kv-dropped"): "entering_states",
}


@pytest.mark.parametrize(("op", "name"), FIRST)
def test_the_first_wrong_stage_is_that_of_the_bug(op, name):
    (verdict,) = verdicts(op, BUGS[name], "everything")
    assert verdict.status == FAILED
    wrong = [f.output for f in verdict.findings if not f.passed]
    assert wrong[0] == FIRST[op, name]


AFTER = [
    (SSD, "stage-sums-exclusive"),
    (SSD, "chunk-states-from-start"),
    (SSD, "entering-states-axis"),
    (SISO, "scale-ends-with-chunk"),
    (SISO, "stage-sums-run-on"),
]


@pytest.mark.parametrize(("op", "name"), AFTER)
def test_what_follows_a_wrong_stage_is_wrong_too(op, name):
    (verdict,) = verdicts(op, BUGS[name], "everything")
    wrong = [f.output for f in verdict.findings if not f.passed]
    assert "y" in wrong
    assert any(output.startswith("final_state") for output in wrong)
