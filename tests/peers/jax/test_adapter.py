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


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("case", adapters.cases(OPS), ids=lambda case: case.id)
def test_case_passes(case, dtype):
    assert adapters.status("jax", case, dtype) == PASSED
