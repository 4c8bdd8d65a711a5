"""The bundled adapter translates layouts, refuses what is lacking, and adds nothing."""

import copy
import inspect
import subprocess
import sys

import numpy as np
import pytest
from peers.requirement import keep_apart_from, require

from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.outputs import flatten
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import PASSED, judge
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


def call(op, arguments):
    return getattr(adapter, OPS[op].function)(**arguments)


def test_all_ops_of_the_library_are_offered():
    assert set(OFFERED) == set(LACKS)


@pytest.mark.parametrize("name", OFFERED)
def test_signature_is_that_of_golden(name):
    golden = implementation(OPS[name], "ssmref.golden")
    theirs = getattr(adapter, OPS[name].function)
    for ours, other in zip(*map(_parameters, (golden, theirs)), strict=True):
        assert (ours.name, ours.kind, ours.default) == (
            other.name,
            other.kind,
            other.default,
        )


def _parameters(function):
    return inspect.signature(function).parameters.values()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case_passes_or_is_refused(case, record_property):
    expected = truth(case, SINGLE)
    if lacking(case.op, expected.arguments):
        with pytest.raises(NotImplementedError, match="transformers"):
            call(case.op, expected.arguments)
        return
    arguments = copy.deepcopy(expected.arguments)
    verdict = judge(case, expected, flatten(OPS[case.op], call(case.op, arguments)))
    record_property("ratio", verdict.ratio)
    assert verdict.status == PASSED
    for name, value in expected.arguments.items():
        np.testing.assert_array_equal(arguments[name], value)


@pytest.mark.parametrize("op", LACKS)
def test_what_passes_is_not_vacuous(op):
    cases = [case.arguments(SINGLE) for case in cases_of(op)]
    assert sum(not lacking(op, arguments) for arguments in cases) >= 9


@pytest.mark.parametrize("op", LACKS)
def test_double_precision_is_refused(op):
    arguments = cases_of(op)[0].arguments(np.dtype(np.float64))
    with pytest.raises(NotImplementedError, match="float32, not float64"):
        call(op, arguments)


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
