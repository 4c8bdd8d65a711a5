import numpy as np
import pytest

from ssmref.bench import inputs
from ssmref.bench.inputs import INPUTS, Numbers
from ssmref.bench.workloads import WORKLOADS
from ssmref.conformance.random import Draw
from ssmref.conformance.vectors.parts import arrays

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def test_blocks_are_the_numbers_of_the_portable_generator(monkeypatch):
    monkeypatch.setattr(inputs, "_BLOCK", 7)
    found = Numbers("some/id", F64).uniform("x", -1, 3, 5, 9)
    np.testing.assert_array_equal(found, Draw("some/id").uniform("x", -1, 3, 5, 9))


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("workload", WORKLOADS[::3], ids=lambda w: w.id)
def test_inputs_have_the_dtype_and_the_predicted_size(workload, dtype):
    small = workload.resized(**workload.small)
    found = arrays(small.arguments(dtype))
    assert {np.real(a).dtype for a in found.values()} == {dtype}
    assert small.input_bytes(dtype) == sum(a.nbytes for a in found.values())
    assert all(np.isfinite(a).all() for a in found.values())


def test_copies_have_numbers_of_their_own():
    workload = next(w for w in WORKLOADS if w.is_step)
    first, same, other = (workload.arguments(F32, copy)["u"] for copy in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_steps_and_rates_are_those_of_models():
    made = INPUTS["mamba1.selective_scan"](
        Numbers("x", F64), length=500, channels=4, state=16
    )
    assert 1e-3 <= made["dt"].min() < 2e-3
    assert 0.05 < made["dt"].max() < 0.1
    assert np.median(made["dt"]) == pytest.approx(0.01, rel=0.2)
    np.testing.assert_array_equal(made["A"][3], -np.arange(1, 17))
    assert made["u"].var() == pytest.approx(1, rel=0.1)
    head = INPUTS["mamba2.ssd"](
        Numbers("x", F64), length=1, heads=200, headdim=1, state=1
    )
    assert -16 <= head["A"].min() < -15
    assert -2 < head["A"].max() <= -1
