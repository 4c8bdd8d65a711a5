"""The bundled adapter translates layouts, refuses what is lacking, and adds nothing."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from peers.requirement import keep_apart_from, require

from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import NOT_PROVIDED, PASSED
from ssmref.ops import OPS, implementation

keep_apart_from("mamba_ssm")
_ = require("torch", "peers")
_ = require("transformers", "peers")
adapter = require("ssmref.conformance.peers.transformers", "peers")

pytestmark = pytest.mark.peers
SINGLE = np.dtype(np.float32)
OFFERED = {
    name: op
    for name, op in OPS.items()
    if callable(getattr(adapter, op.function, None))
}
# Options that the library lacks; what else it lacks is in `lacking`.
LACKS = {
    "layers.causal_conv1d": {"cu_seqlens"},
    "layers.causal_conv1d_step": {"slots"},
    "mamba1.selective_scan": {"initial_state", "cu_seqlens"},
    "mamba1.selective_scan_step": {"slots"},
    "mamba2.ssd": {"cu_seqlens", "z"},
    "mamba2.ssd_step": {"slots", "dt_limit"},
}
CASES = [case for op in LACKS for case in cases_of(op)]


def lacking(op, arguments):
    """Say whether a call needs what transformers does not have."""
    if LACKS[op] & set(arguments):
        return True
    if op == "mamba2.ssd":
        return np.ndim(arguments.get("D", 0)) == 2
    if op.startswith("mamba1"):
        # B and C are real, one per token, and the same for all channels.
        real = not np.iscomplexobj(arguments["A"])
        return not real or arguments["B"].ndim != arguments["u"].ndim
    return False


def function(op):
    return getattr(adapter, OPS[op].function)


def test_all_ops_of_the_library_are_offered():
    assert set(OFFERED) == set(LACKS)


@pytest.mark.parametrize("name", OFFERED)
def test_signature_is_that_of_golden(name):
    golden = implementation(OPS[name], "ssmref.golden")
    theirs = function(name)
    for ours, other in zip(*map(_parameters, (golden, theirs)), strict=True):
        assert (ours.name, ours.kind, ours.default) == (
            other.name,
            other.kind,
            other.default,
        )


def _parameters(function):
    return inspect.signature(function).parameters.values()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case_passes_or_is_refused(case, dtype, record_property):
    verdict = verify_case(function(case.op), case, dtype_of(dtype))
    record_property("ratio", verdict.ratio)
    if lacking(case.op, case.arguments(SINGLE)):
        assert verdict.status == NOT_PROVIDED
        assert verdict.message.startswith("transformers ")
    else:
        assert verdict.status == PASSED


@pytest.mark.parametrize("op", LACKS)
def test_what_passes_is_not_vacuous(op):
    cases = [case.arguments(SINGLE) for case in cases_of(op)]
    assert sum(not lacking(op, arguments) for arguments in cases) >= 9


@pytest.mark.parametrize("op", LACKS)
def test_double_precision_is_refused(op):
    arguments = cases_of(op)[0].arguments(np.dtype(np.float64))
    with pytest.raises(NotImplementedError, match="float64: it computes"):
        function(op)(**arguments)


WITH_KERNELS = """
import sys, types
def kernel(*_, **__): raise SystemExit("bound to the kernels of another package")
sys.modules["causal_conv1d"] = types.ModuleType("causal_conv1d")
sys.modules["causal_conv1d"].causal_conv1d_fn = kernel
from ssmref.conformance.peers import transformers as adapter
from transformers.models.mamba import modeling_mamba
try:
    modeling_mamba.causal_conv1d_fn(None, None)
except SystemExit:
    import numpy as np
    one = np.ones((1, 2, 3), np.float32)
    y, state = adapter.causal_conv1d(one, np.ones((3, 4), np.float32))
    print(y[0, :, 0])
"""


def test_kernels_of_other_packages_are_not_judged():
    command = [sys.executable, "-c", WITH_KERNELS]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout == "[1. 2.]\n", result.stderr
