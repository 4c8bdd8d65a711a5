"""The official Triton kernels, interpreted in single precision, pass the suite."""

import numpy as np
import pytest
from peers.mamba_ssm import official
from support.compare import assert_close, error
from support.mamba3_inputs import siso_example, step_of

from ssmref.conformance.cases.case import Case
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.precision import rounded
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import PASSED
from ssmref.golden import layers, mamba3

pytestmark = pytest.mark.peers
SINGLE = np.dtype(np.float32)
kernels = official.kernels
SMALL_STEPS_LOST = pytest.mark.xfail(
    strict=True, reason="softplus is log(exp(dt) + 1), which is 0 below -17"
)
FAILING = {
    "mamba2.ssd/softplus-tails/l45": SMALL_STEPS_LOST,
    "mamba2.ssd_step/softplus-tails-fresh/b8": SMALL_STEPS_LOST,
}


def each_case(op, *lacks):
    """Parametrise over the cases of `op` that use none of the arguments in `lacks`.

    An empty sequence makes the kernels write out of bounds.
    """
    calls = [(case, case.arguments(SINGLE)) for case in cases_of(op)]
    offered = [
        pytest.param(case, id=case.id, marks=FAILING.get(case.id, ()))
        for case, call in calls
        if not set(lacks) & set(call) and call["x"].size
    ]
    assert len(offered) > 5
    return pytest.mark.parametrize("case", offered)


@pytest.fixture
def passes(record_property):
    def passes(case, function):
        verdict = verify_case(function, case, SINGLE)
        record_property("ratio", verdict.ratio)
        return verdict.status == PASSED

    return passes


# Softplus is log(exp(dt) + 1) on every element, also where dt itself is used.
overflow_of_unused_branch = pytest.mark.filterwarnings("ignore:overflow encountered in")


@overflow_of_unused_branch
@each_case("mamba2.ssd", "cu_seqlens")
def test_ssd(case, passes):
    assert passes(case, kernels.ssd)


@overflow_of_unused_branch
@each_case("mamba2.ssd_step", "dt_limit")
def test_ssd_step(case, passes):
    assert passes(case, kernels.ssd_step)


# Powers of two, and an even number of angles.
SIZES = {"headdim": 8, "state": 16, "angles": 4}
SISO = {
    "one token": {"length": 1},
    "one chunk": {"length": 16, "headdim": 16},
    "ragged": {"length": 37},
    "every pair rotates": {"length": 37, "angles": 8},
    "one group": {"length": 19, "groups": 1},
    "group per head": {"length": 19, "groups": 6},
}


def siso_case(arguments):
    def build(_):
        call = arguments()
        del call["norm_weight"], call["norm_eps"]  # the module's own, not the kernel's
        return call

    return Case("mamba3.siso", "kernel", "", "sizes that the kernel accepts", build)


@pytest.mark.parametrize("sizes", SISO.values(), ids=SISO)
def test_siso(sizes, passes):
    def arguments():
        return siso_example(np.random.default_rng(0), **(SIZES | sizes))

    assert passes(siso_case(arguments), kernels.siso)


@pytest.mark.parametrize("option", ["initial_state", "D", "z"])
def test_siso_without(option, passes):
    def arguments():
        call = siso_example(np.random.default_rng(1), **SIZES, length=21)
        del call[option]
        return call

    assert passes(siso_case(arguments), kernels.siso)


def test_packed_siso(passes):
    def arguments():
        rng = np.random.default_rng(2)
        call = siso_example(rng, **SIZES, batch=1, length=45)
        rows = siso_example(rng, **SIZES, batch=4, length=1)["initial_state"]
        bounds = np.array([0, 18, 19, 40, 45])
        return call | {"initial_state": rows, "cu_seqlens": bounds}

    assert passes(siso_case(arguments), kernels.siso)


def test_siso_step():
    call = step_of(siso_example(np.random.default_rng(3), **SIZES))
    del call["norm_weight"], call["norm_eps"]
    y, state = kernels.siso_step(**rounded(call, SINGLE))
    golden, after = mamba3.siso_step(**call)
    assert_close(state.ssm, after.ssm.astype(SINGLE), 1e-6)
    assert_close(state.k, after.k.astype(SINGLE), 1e-6)
    # The output is a product of the state and the query, both rounded to bfloat16.
    assert 1e-4 < error(y, golden) < 2**-6


@pytest.mark.parametrize("norm_before_gate", [False, True])
def test_rms_norm_gated(norm_before_gate):
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((2, 7, 24)).astype(SINGLE)
    weight = rng.standard_normal(24).astype(SINGLE)
    options = {"eps": 1e-3, "group_size": 8, "norm_before_gate": norm_before_gate}
    theirs = kernels.rms_norm_gated(x, weight, z, **options)
    golden = layers.rms_norm_gated(x, weight, z, **options)
    assert_close(theirs, golden, 1e-6)
