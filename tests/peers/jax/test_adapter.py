"""The bundled adapter for JAX has every option and passes every case."""

import pytest
from peers import adapters
from peers.requirement import require

from ssmref.conformance.verdict import PASSED

_ = require("jax", "peers")

pytestmark = pytest.mark.peers
OPS = ("mamba1.selective_scan", "mamba2.ssd")


def test_ops_are_these():
    assert set(adapters.functions("jax")) == set(OPS)
    assert adapters.strange_arguments("jax") == []


# Every shape is compiled anew; `ssmref peers` runs all cases.
FAMILIES = ("plain", "empty", "groups-inner", "groups", "softplus-tails", "dt-limit")
FAMILIES += ("packed", "complex-A", "everything")
CASES = [case for case in adapters.cases(OPS) if case.family in FAMILIES]
RUNS = [(case, "float32") for case in CASES]
LARGEST = [case for case in CASES if case.family == "everything"]
RUNS += [(case, dtype) for case in LARGEST for dtype in ("float64", "bfloat16")]


@pytest.mark.parametrize(("case", "dtype"), RUNS, ids=[f"{c}-{d}" for c, d in RUNS])
def test_case_passes(case, dtype):
    assert adapters.status("jax", case, dtype) == PASSED
