"""Mamba-1 on the GPU: sizes, layouts and values that the suite's cases have not."""

import numpy as np
import pytest
from hostcupy.settings import using
from mamba1_calls import (
    BFLOAT16,
    DTYPES,
    LOW_DTYPES,
    by_time,
    cut,
    floats,
    host,
    inputs,
    judged,
    on_device,
    right,
    same,
    scan,
)
from ssmref.gpu import mamba1

from ssmref.conformance.precision import dtype_of
from ssmref.conformance.verdict import PASSED

# Sizes around those of tiles, vectors and lanes; states that lanes divide and do not.
SIZES = {
    "one-lane": {"length": 7, "channels": 3, "groups": 1, "state": 1},
    "a-tile": {"length": 32, "channels": 32, "groups": 1, "state": 16},
    "beyond-a-tile": {"length": 33, "channels": 40, "groups": 2, "state": 16},
    "odd-channels": {"length": 65, "channels": 37, "groups": 1, "state": 8},
    "group-per-channel": {"length": 18, "channels": 5, "groups": 5, "state": 4},
    "padded-states": {"length": 35, "channels": 9, "groups": 3, "state": 17},
    "many-states": {"batch": 1, "length": 34, "channels": 8, "groups": 1, "state": 64},
    "all-lanes": {"batch": 1, "length": 9, "channels": 4, "groups": 2, "state": 256},
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_around_tiles_and_lanes(name):
    right(scan, "selective_scan", inputs(**SIZES[name]))


@pytest.mark.parametrize("dtype", LOW_DTYPES)
@pytest.mark.parametrize("name", ["a-tile", "beyond-a-tile", "padded-states"])
def test_sizes_in_low_precision(name, dtype):
    right(scan, "selective_scan", inputs(**SIZES[name]), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["beyond-a-tile", "odd-channels", "one-lane"])
def test_two_channels_of_a_lane(name, dtype, monkeypatch):
    cut(monkeypatch, 1000, rows=2)
    right(scan, "selective_scan", inputs(**SIZES[name]), dtype)


def test_the_most_states():
    sizes = {"batch": 1, "length": 3, "channels": 2, "groups": 1}
    right(scan, "selective_scan", inputs(state=512, **sizes))
    with pytest.raises(
        ValueError, match="A has 513 states; as float32 it needs 1 to 512"
    ):
        _ = scan(**{k: floats(v) for k, v in inputs(state=513, **sizes).items()})


def test_a_wrong_scan_is_seen():
    def late(*inputs, **options):
        y, state = scan(*inputs, **options)
        return np.roll(y, 1, axis=1), state

    def stale(*inputs, **options):
        y, state = scan(*inputs, **options)
        return y, state * np.float32(1 + 2**-16)

    for wrong in (late, stale):
        verdict = judged(wrong, "selective_scan", inputs())
        assert verdict.status != PASSED
        assert not verdict.message


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [64, 37])
def test_rows_of_time_are_read_where_they_are(length, dtype, cupy, monkeypatch):
    call = on_device(cupy, inputs(3, length=length, state=16), dtype_of(dtype))
    expected = host(mamba1.selective_scan(**call))
    for name in ("u", "dt", "z"):
        call[name] = by_time(cupy, call[name])
    monkeypatch.setattr(cupy, "ascontiguousarray", only_contiguous)
    y, state = mamba1.selective_scan(**call)
    assert y.strides[1] == y.itemsize
    same((y.get(), state.get()), expected)


def only_contiguous(array):
    assert array.flags.c_contiguous, "a copy"
    return array


def test_other_layouts_are_copied(cupy):
    call = on_device(cupy, inputs(3))
    expected = host(mamba1.selective_scan(**call))
    call["dt"] = by_time(cupy, call["dt"])
    call["B"] = cupy.asarray(call["B"].get().transpose(3, 1, 0, 2).copy())
    call["B"] = call["B"].transpose(2, 1, 3, 0)
    same(host(mamba1.selective_scan(**call)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_of_a_projection_are_read_where_they_are(dtype, cupy, monkeypatch):
    kind = dtype_of(dtype)
    call = on_device(
        cupy, inputs(4, state=16, groups=1, B="varying", C="varying"), kind
    )
    expected = host(mamba1.selective_scan(**call))
    joined = np.concatenate([call[n].get() for n in ("u", "z", "B", "C")], axis=2)
    whole = cupy.asarray(joined)
    call |= {"u": whole[..., :6], "z": whole[..., 6:12]}
    call |= {"B": whole[..., 12:28], "C": whole[..., 28:]}
    monkeypatch.setattr(cupy, "ascontiguousarray", only_contiguous)
    same(host(mamba1.selective_scan(**call)), expected)


@pytest.mark.parametrize("offset", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_that_begin_anywhere(offset, dtype):
    with using(offset=offset):
        right(scan, "selective_scan", inputs(5, channels=8, groups=1), dtype)


@pytest.mark.parametrize("segment", [8, 1000])
def test_decays_that_vanish_leave_the_newest_token(segment, monkeypatch):
    cut(monkeypatch, segment)
    call = {k: floats(v) for k, v in inputs(8, length=20).items()}
    call |= {"dt_softplus": False, "A": np.full((6, 4), -np.inf, np.float32)}
    call["dt"] = np.abs(call["dt"]) + np.float32(1)
    del call["dt_bias"]
    _, state = scan(**call)
    B = np.repeat(call["B"][:, -1], 2, axis=1)
    newest = (call["dt"] * call["u"])[:, -1, :, None] * B
    np.testing.assert_allclose(state, newest, rtol=1e-6)


@pytest.mark.parametrize(
    "sizes", [{"length": 0}, {"batch": 0}, {"length": 0, "batch": 0}]
)
def test_nothing_to_do_returns_the_initial_state(sizes):
    call = {k: floats(v) for k, v in inputs(9, **sizes).items()}
    y, state = scan(**call)
    assert y.shape == call["u"].shape
    same([state], [call["initial_state"]])
    y, state = scan(**call | {"initial_state": None})
    assert not state.any()


def test_a_real_state_is_read_with_twice_the_real_part():
    call = inputs(10, C="varying")
    call["C"] = call["C"] + 1j
    right(scan, "selective_scan", call)
    right(scan, "selective_scan", call, "bfloat16")


def test_softplus_and_gate_far_from_zero():
    call = inputs(11, length=24)
    call["dt"][0, :, 0] = np.linspace(-90, 90, 24)
    call["z"][0, :, 1] = np.linspace(-90, 90, 24)
    right(scan, "selective_scan", call)


def test_complex_phases_of_hundreds_of_turns():
    call = inputs(12, length=30, complex_A=True)
    call["A"] = call["A"].real + 1j * np.linspace(-2000, 2000, 24).reshape(6, 4)
    right(scan, "selective_scan", call)


def test_arguments_that_do_not_fit_are_named(cupy):
    call = on_device(cupy, inputs())
    wrong = {
        "u has dtype float64": {"u": cupy.asarray(inputs()["u"])},
        "A is a numpy.ndarray in host memory": {"A": np.zeros((6, 4), np.float32)},
        "dt has dtype bfloat16": {"dt": cupy.zeros((2, 9, 6), BFLOAT16)},
        "D has dtype bfloat16": {"D": cupy.zeros(6, BFLOAT16)},
        "B has 4 groups": dict.fromkeys("BC", cupy.zeros((2, 9, 4, 4), np.float32)),
        "z has shape": {"z": call["u"][:, 1:]},
    }
    for message, changes in wrong.items():
        with pytest.raises((TypeError, ValueError), match=message):
            _ = mamba1.selective_scan(**call | changes)
