"""The bundled adapters for mambapy and s5-pytorch pass or refuse every case."""

import numpy as np
import pytest
from peers import adapters
from peers.requirement import require

from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED

_ = require("torch", "peers")
_ = require("mambapy.mamba", "peers")
_ = require("s5.s5_model", "peers")

pytestmark = pytest.mark.peers
OPS = {"mambapy": "mamba1.selective_scan", "s5": "s5.s5"}
# Each fails, for the reason that the module of the report gives.
FAILING = {"s5.s5/spectrum/l40", "s5.s5/near-zero/l30", "s5.s5/no-decay/l30"} | {
    "s5.s5/empty/l0"
}


@pytest.mark.parametrize("peer", OPS)
def test_ops_are_these(peer):
    assert list(adapters.functions(peer)) == [OPS[peer]]
    assert adapters.strange_arguments(peer) == []


@pytest.mark.parametrize("case", adapters.cases([OPS["mambapy"]]), ids=lambda c: c.id)
def test_case_of_mambapy(case):
    call = case.arguments(np.dtype(np.float32))
    lacking = adapters.uses(case, "initial_state", "cu_seqlens")
    lacking = lacking or np.iscomplexobj(call["A"])
    lacking = lacking or {call["B"].ndim, call["C"].ndim} != {3}
    found = adapters.status("mambapy", case)
    assert found == (NOT_PROVIDED if lacking else PASSED)


@pytest.mark.parametrize("case", adapters.cases([OPS["s5"]]), ids=lambda case: case.id)
def test_case_of_s5(case):
    lacking = adapters.uses(case, "cu_seqlens")
    both = adapters.uses(case, "C_backward") and adapters.uses(case, "initial_state")
    found = adapters.status("s5", case)
    if lacking or both:
        assert found == NOT_PROVIDED
    else:
        assert found == (FAILED if case.id in FAILING else PASSED)


@pytest.mark.parametrize("peer", OPS)
def test_half_precision_is_refused(peer):
    case = adapters.cases([OPS[peer]])[0]
    assert adapters.status(peer, case, "bfloat16") == NOT_PROVIDED
