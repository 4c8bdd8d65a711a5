"""The step of Mamba-1 on the GPU."""

import numpy as np
import pytest
from hostcupy.settings import using
from mamba1_calls import host, inputs, on_device, right, step
from ssmref.gpu import mamba1
from support.mamba1_inputs import step_of


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("state", [1, 3, 16, 40, 64])
def test_step_sizes(state, dtype):
    call = step_of(inputs(13, batch=3, length=1, state=state), 0)
    call["state"] = np.random.default_rng(0).standard_normal((3, 6, state))
    right(step, "selective_scan_step", call, dtype)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("complex_A", [False, True])
def test_steps_are_the_scan(complex_A, offset, cupy):
    call = inputs(14, batch=17, length=4, state=16, complex_A=complex_A)
    whole = {**call, "initial_state": call["initial_state"]}
    _, expected = host(mamba1.selective_scan(**on_device(cupy, whole)))
    state = call.pop("initial_state")
    with using(offset=offset):
        for t in range(4):
            token = on_device(cupy, step_of(call, t) | {"state": state})
            _, state = host(mamba1.selective_scan_step(**token))
    np.testing.assert_allclose(state, expected, rtol=2e-5, atol=2e-6)


def test_slots_of_many_rows():
    rng = np.random.default_rng(15)
    call = step_of(inputs(15, batch=19, length=1, state=16), 0)
    call["state"] = rng.standard_normal((30, 6, 16))
    slots = rng.permutation(30)[:19]
    slots[[2, 7]] = -1
    for kind in (np.int32, np.int64):
        call["slots"] = slots.astype(kind)
        right(step, "selective_scan_step", call)


def test_padding_rows_read_nothing(cupy):
    call = step_of(inputs(16, batch=2, length=1), 0)
    call["u"][1], call["z"][1] = np.nan, np.inf
    call |= {"state": np.ones((2, 6, 4)), "slots": np.array([1, -1])}
    y, state = host(mamba1.selective_scan_step(**on_device(cupy, call)))
    assert not y[1].any()
    assert (state[0] == 1).all()
