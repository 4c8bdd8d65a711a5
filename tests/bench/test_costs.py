"""What is said to be needed is what is there: formulas against arrays."""

from dataclasses import replace

import numpy as np
import pytest

from ssmref.bench.costs import COSTS, Cost
from ssmref.bench.inputs import INPUTS
from ssmref.bench.limits import limit
from ssmref.bench.workloads import WORKLOADS
from ssmref.conformance.outputs import flatten
from ssmref.conformance.vectors.parts import arrays
from ssmref.ops import OPS, implementation

F32 = np.dtype(np.float32)
# Sizes that differ on every axis, so that a swapped formula shows.
SIZES = {
    "batch": 2,
    "length": 7,
    "channels": 5,
    "heads": 6,
    "headdim": 10,
    "groups": 3,
    "ranks": 2,
    "state": 8,
    "angles": 4,
    "width": 4,
    "cached": 9,
    "inputs": 11,
    "outputs": 11,  # D needs as many as inputs
    "taps": 12,
}
ONE_PER_OP = {w.op: w for w in WORKLOADS}


@pytest.mark.parametrize("op", COSTS)
def test_elements_are_the_numbers_that_enter_and_leave(op):
    own = ONE_PER_OP[op].sizes
    workload = ONE_PER_OP[op].resized(**{n: SIZES[n] for n in own})
    arguments = workload.arguments(F32)
    golden = implementation(OPS[op], "ssmref.golden")
    outputs = flatten(OPS[op], golden(**arguments))
    moved = [*arrays(arguments).values(), *outputs.values()]
    assert workload.cost.elements * 4 == sum(array.nbytes for array in moved)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.id)
def test_every_workload_needs_something(workload):
    cost = workload.cost
    assert cost.elements > 0
    assert cost.instructions > 0
    assert cost.flops >= 0
    assert cost.exps >= 0


def test_costs_and_inputs_are_for_the_same_ops():
    assert set(COSTS) == set(INPUTS) == set(ONE_PER_OP)
    assert set(COSTS) <= set(OPS)


def test_ssd_has_the_products_of_its_target():
    cost = COSTS["mamba2.ssd"](
        batch=1, length=8192, heads=24, headdim=64, state=128, groups=1
    )
    assert cost.products == pytest.approx(8.05e9, rel=1e-3)


def test_a_scan_has_seven_multiplications_per_update():
    cost = COSTS["mamba1.selective_scan"](batch=2, length=3, channels=5, state=7)
    assert cost.instructions == 7 * 2 * 3 * 5 * 7
    assert cost.exps == 2 * 3 * 5 * 7


def test_rank_four_needs_four_times_the_products_of_rank_one():
    sizes = {"batch": 1, "length": 64, "heads": 2, "headdim": 64, "state": 128}
    more = {"groups": 1, "angles": 32}
    one = COSTS["mamba3.siso"](**sizes, **more).products
    assert COSTS["mamba3.mimo"](**sizes, **more, ranks=4).products == 4 * one


@pytest.mark.parametrize(
    ("cost", "binding", "seconds"),
    [
        (Cost(elements=1e9, instructions=1), "memory", 0.4),
        (Cost(elements=1, instructions=1e9, products=1), "vector", 0.02),
        (Cost(elements=1, instructions=1, products=1e10), "products", 0.1),
    ],
)
def test_the_scarcest_resource_sets_the_limit(rates, cost, binding, seconds):
    found = limit(cost, rates, F32)
    assert found.binding == binding
    assert found.seconds == pytest.approx(seconds)
    double = limit(cost, rates, np.dtype(np.float64))
    assert double.parts["memory"] == pytest.approx(2 * found.parts["memory"])


def test_products_and_other_instructions_take_turns(rates):
    found = limit(Cost(elements=1, instructions=1e9, products=1e9), rates, F32)
    assert found.binding == "vector"
    assert found.seconds == pytest.approx(0.03)


@pytest.mark.parametrize("slow", ["fma_float32", "gemm_float32"])
def test_a_rate_that_was_disturbed_makes_no_limit_longer(rates, slow):
    rates[slow] = replace(rates[slow], samples=(1e9,))
    found = limit(Cost(elements=1, instructions=1e9, products=3e9), rates, F32)
    assert found.seconds == pytest.approx(0.05)


def test_without_multiply_adds_the_limit_uses_products(rates):
    del rates["fma_float32"]
    found = limit(Cost(elements=1, instructions=1e9), rates, F32)
    assert found.binding == "vector"
