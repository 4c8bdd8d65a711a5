"""The bundled adapter for JAX has every option and passes every case."""

from inspect import signature

import numpy as np
import pytest
from peers import adapters
from peers.requirement import require

from ssmref.conformance.programs import Program
from ssmref.conformance.verdict import PASSED

_ = require("jax", "peers")

pytestmark = pytest.mark.peers
SINGLE = np.dtype(np.float32)
OPS = ("mamba1.selective_scan", "mamba2.ssd")


def test_ops_are_these():
    assert set(adapters.functions("jax")) == set(OPS)
    assert adapters.strange_arguments("jax") == []


# Every shape is compiled anew; `ssmref peers` runs all cases. These give all options.
FAMILIES = ("empty", "packed", "complex-A", "everything")
CASES = [case for case in adapters.cases(OPS) if case.family in FAMILIES]
RUNS = [(case, "float32") for case in CASES]
LARGEST = [case for case in CASES if case.family == "everything"]
RUNS += [(case, "bfloat16") for case in LARGEST]
RUNS += [(case, "float64") for case in CASES if case.family == "complex-A"]


@pytest.mark.parametrize("op", OPS)
def test_all_options_are_given(op):
    given = {name for c in CASES if c.op == op for name in c.arguments(SINGLE)}
    function = adapters.functions("jax")[op]
    assert not isinstance(function, Program)
    assert given == set(signature(function).parameters)


@pytest.mark.parametrize(("case", "dtype"), RUNS, ids=[f"{c}-{d}" for c, d in RUNS])
def test_case_passes(case, dtype):
    assert adapters.status("jax", case, dtype) == PASSED
