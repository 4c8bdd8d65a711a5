"""The bundled adapters for mamba_ssm pass, refuse, or fail for a reason."""

import numpy as np
import pytest
from peers import adapters
from peers.mamba_ssm import official

from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED

pytestmark = pytest.mark.peers
REFERENCES = {
    "layers.causal_conv1d",
    "layers.causal_conv1d_step",
    "layers.causal_conv1d_step_circular",
    "layers.rms_norm",
    "layers.layer_norm",
    "layers.rms_norm_gated",
    "mamba1.selective_scan",
    "mamba1.selective_scan_step",
    "mamba2.ssd",
    "mamba2.ssd_step",
}
KERNELS = {
    "layers.rms_norm",
    "layers.layer_norm",
    "layers.rms_norm_gated",
    "mamba1.selective_scan_step",
    "mamba2.ssd",
    "mamba2.ssd_step",
    "mamba3.siso",
    "mamba3.siso_step",
}
FAILING = {"layers.causal_conv1d/empty/l0"}
FAILING_KERNELS = {"mamba1.selective_scan_step/softplus-tails-fresh/b8"}
# Others have tests of their own, interpreted kernels being slow.
FEW = ("layers.rms_norm_gated", "mamba1.selective_scan_step", "mamba3.siso")
# Softplus is log(exp(dt) + 1) on every element, also where dt itself is used.
overflow_of_unused_branch = pytest.mark.filterwarnings("ignore:overflow encountered in")


@pytest.mark.parametrize(
    ("peer", "ops"), [("mamba_ssm", REFERENCES), ("mamba_ssm_triton", KERNELS)]
)
def test_ops_are_these(peer, ops):
    assert set(adapters.functions(peer)) == ops
    assert adapters.strange_arguments(peer) == []


@pytest.mark.parametrize(
    "case", adapters.cases(sorted(REFERENCES)), ids=lambda case: case.id
)
def test_case_of_references(case):
    found = adapters.status("mamba_ssm", case)
    lacking = adapters.uses(case, "slots")
    if case.op == "mamba1.selective_scan":
        lacking = adapters.uses(case, "initial_state", "cu_seqlens")
    elif case.op == "layers.causal_conv1d":
        lacking = adapters.uses(case, "initial_state")
        lacking = lacking and adapters.uses(case, "cu_seqlens")
    elif case.op == "mamba1.selective_scan_step":
        call = case.arguments(np.dtype(np.float32))
        lacking = lacking or np.iscomplexobj(call["A"])
    elif case.op == "mamba2.ssd_step":
        lacking = lacking or adapters.uses(case, "dt_limit")
    elif case.op == "mamba2.ssd":
        options = ("D", "z", "dt_bias", "dt_softplus", "dt_limit", "cu_seqlens")
        lacking = adapters.uses(case, *options)
    expected = FAILED if case.id in FAILING else PASSED
    assert found == (NOT_PROVIDED if lacking else expected)


@overflow_of_unused_branch
@pytest.mark.parametrize("case", adapters.cases(FEW), ids=lambda case: case.id)
def test_case_of_kernels(case):
    call = case.arguments(np.dtype(np.float32))
    lacking = adapters.uses(case, "norm_weight", "pairing")
    lacking = lacking or not next(iter(call.values())).size
    lacking = lacking or not np.diff(call.get("cu_seqlens", [0, 1])).all()
    lacking = lacking or np.iscomplexobj(call.get("A", 0))
    expected = FAILED if case.id in FAILING_KERNELS else PASSED
    expected = NOT_PROVIDED if lacking else expected
    assert adapters.status("mamba_ssm_triton", case) == expected


@pytest.mark.parametrize("op", sorted(REFERENCES))
def test_double_precision_is_refused(op):
    case = adapters.cases([op])[0]
    assert adapters.status("mamba_ssm", case, "float64") == NOT_PROVIDED
    assert "float64" in official.references.REFUSED
