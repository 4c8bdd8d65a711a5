"""Chunks, waves and products of S5: what the cases of the suite cannot see."""

from typing import Any

import numpy as np
import pytest
from support.fast_paths import (
    agree,
    cast,
    close,
    threads_agree_and_runs_repeat,
    workspace,
)
from support.s4_inputs import complex_normal
from support.s5_inputs import s5_inputs

from ssmref.cpu import _s5_kernels as kernels
from ssmref.cpu import _s5_step
from ssmref.cpu.s5 import s5, s5_step
from ssmref.golden import s5 as golden

LIMITS = {np.float32: 2e-5, np.float64: 1e-12}
DTYPES = list(LIMITS)


def inputs(length, dtype=np.float64, backward=False, **sizes) -> dict[str, Any]:
    """Return a call of `s5` in a dtype."""
    rng = np.random.default_rng(length)
    call = s5_inputs(rng, length=length, **sizes)
    if backward:
        call["C_backward"] = complex_normal(rng, *call["C"].shape)
    return cast(call, dtype)


# Around chunks of 256 tokens, vectors, stripes and the depth of products.
SIZES = [
    *[(1, 1, 1, 1), (255, 3, 5, 7), (256, 5, 3, 8), (257, 2, 4, 9), (513, 3, 3, 2)],
    *[(5, 65, 64, 17), (4, 17, 70, 33), (3, 128, 3, 5), (2, 4, 4, 0)],
]


@pytest.mark.parametrize(("length", "inputs_", "outputs", "state"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backward", [False, True])
def test_sizes_around_chunks(length, inputs_, outputs, state, dtype, backward):
    sizes = {"inputs": inputs_, "outputs": outputs, "state": state}
    call = inputs(length, dtype, backward, **sizes)
    agree(s5(**call), golden.s5(**call), LIMITS[dtype])


@pytest.mark.parametrize("backward", [False, True])
def test_chunks_keep_to_their_sequences(backward):
    bounds = np.array([0, 0, 300, 300, 301, 812, 812])
    call = inputs(812, backward=backward, batch=1, rows=6)
    call["cu_seqlens"] = bounds
    agree(s5(**call), golden.s5(**call))


def test_chunks_are_found():
    bounds = np.array([0, 0, 300, 300, 301, 812, 812])
    ends = np.cumsum(-(-np.diff(bounds) // kernels.CHUNK))
    found = [kernels._find(bounds, ends, chunk) for chunk in range(ends[-1])]
    assert found == [(1, 0, 256), (1, 256, 44), (3, 0, 1), (4, 0, 256), (4, 256, 255)]


def test_threads_agree_and_runs_repeat(thread_counts):
    call = inputs(2000, batch=1, state=9, inputs=20, outputs=20)
    threads_agree_and_runs_repeat(s5, call, thread_counts, 0)


@pytest.mark.parametrize("backward", [False, True])
def test_what_is_not_finite_stays_in_its_sequence_and_future(backward):
    call = inputs(300, backward=backward, batch=3)
    call["initial_state"] = None
    clean, clean_state = s5(**call)
    call["u"][1, 270, 2] = np.nan
    y, state = s5(**call)
    touched = np.zeros(y.shape, bool)
    touched[1, slice(None) if backward else slice(270, None)] = True
    np.testing.assert_array_equal(y[~touched], clean[~touched])
    assert np.isnan(y[touched]).all()
    state[1] = clean_state[1]
    np.testing.assert_array_equal(state, clean_state)


@pytest.mark.usefixtures("one_thread")
def test_workspace_does_not_grow_with_length(monkeypatch):
    monkeypatch.setattr(kernels, "MOST", 4)
    peaks = []
    for length in (2_000, 6_000):
        call = inputs(length, state=2, batch=1, inputs=1, outputs=1)
        peaks.append(workspace(s5, call) - call["u"].nbytes)
    assert peaks[1] < peaks[0] + 4000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("conj_sym", [True, False])
def test_step_is_a_sequence_of_one_token(conj_sym, dtype):
    call = inputs(1, dtype, inputs=33, outputs=33, state=19)
    y, state = s5(**call, conj_sym=conj_sym)
    start = call.pop("initial_state")
    token = {**call, "u": call["u"][:, 0], "state": start}
    found, new = s5_step(**token, conj_sym=conj_sym)
    close(found, y[:, 0], LIMITS[dtype])
    close(new, state, LIMITS[dtype])


# Around tiles of rows, blocks of states and blocks of outputs.
@pytest.mark.parametrize("sizes", [(1, 3, 17, 9), (5, 2, 33, 17), (16, 17, 5, 8)])
@pytest.mark.usefixtures("no_serial_paths")
def test_threads_may_divide_rows_or_states_of_a_step(sizes, monkeypatch):
    rows, inputs_, outputs, state = sizes
    call = inputs(1, inputs=inputs_, outputs=outputs, state=state, batch=rows)
    start = call.pop("initial_state")
    slots = np.arange(rows)[::-1].copy()
    slots[1::4] = -1
    token = {**call, "u": call["u"][:, 0], "state": start, "slots": slots}
    expected = golden.s5_step(**token)
    for least in (1 << 20, 0):
        monkeypatch.setattr(_s5_step, "ROWS", least)
        agree(s5_step(**token), expected)


def test_padding_of_a_step_does_not_meet_its_input():
    call = inputs(1, inputs=5, outputs=5)
    start, u = call.pop("initial_state"), call["u"][:, 0].copy()
    u[1] = np.nan
    y, new = s5_step(**{**call, "u": u, "state": start}, slots=np.array([1, -1]))
    assert (y[1] == 0).all()
    assert np.isfinite(y[0]).all()
    np.testing.assert_array_equal(new[0], start[0])


def test_skip_needs_as_many_inputs_as_outputs():
    call = inputs(3, inputs=2, outputs=3)
    with pytest.raises(ValueError, match="D is given with 2 inputs and 3 outputs"):
        s5(**call, D=np.ones(3))
