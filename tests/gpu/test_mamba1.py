"""Mamba-1 on the GPU: layouts, cuts of time, threads and values that the suite has not.

The suite's cases run in test_conformance.py. Here the inputs are random, the judge is
the suite's as well: golden in extended precision, its scale and its limit.
"""

import ml_dtypes
import numpy as np
import pytest
from emulated import on_numpy
from hostcupy.settings import using
from ssmref.gpu import _mamba1_operands, mamba1
from ssmref.gpu._mamba1_plan import Plan, tiling
from support.mamba1_inputs import selective_scan_inputs, step_of

from ssmref.conformance.cases.case import Case
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import PASSED

DTYPES = ("float32", "bfloat16", "float16")
FLOAT32 = np.dtype(np.float32)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
LOW = ("u", "dt", "z", "B", "C")


def judged(function, op, call, dtype="float32"):
    """Return the verdict of the suite on `function` for these arguments."""
    case = Case(f"mamba1.{op}", "random", "here", "", lambda _: dict(call))
    return verify_case(function, case, dtype_of(dtype))


def right(function, op, call, dtype="float32"):
    verdict = judged(function, op, call, dtype)
    assert verdict.status == PASSED, f"{verdict.message} {verdict.findings}"


def inputs(seed=0, **sizes):
    return selective_scan_inputs(np.random.default_rng(seed), **sizes)


def packed(lengths, seed=0, **sizes):
    """Return inputs of a pack of sequences of these lengths."""
    call = inputs(seed, batch=1, length=sum(lengths), initial_state=False, **sizes)
    rows = len(lengths), *call["A"].shape
    bounds = np.cumsum([0, *lengths], dtype=np.int64)
    state = np.random.default_rng(seed + 1).standard_normal(rows)
    return call | {"cu_seqlens": bounds, "initial_state": state}


def on_device(cupy, call, dtype=FLOAT32):
    """Return the arguments as arrays on the device: per token in `dtype`."""
    return {
        name: cupy.asarray(value.astype(kind_of(name, value, dtype)))
        if isinstance(value, np.ndarray)
        else value
        for name, value in call.items()
    }


def kind_of(name, value, dtype):
    if value.dtype.kind in "iu":
        return value.dtype
    if value.dtype.kind == "c":
        return np.complex64
    return dtype if name in LOW else np.float32


def host(results):
    return [result.get() for result in results]


def same(got, expected):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.astype(np.float32), other.astype(np.float32))


@pytest.fixture
def cut(monkeypatch):
    """Plan segments of a length, and one or two channels of a lane."""

    def cut_at(length, rows=1):
        def planned(work):
            sizes = work.state, work.numbers, work.per_group, work.itemsize
            return Plan(tiling(*sizes, rows=rows), length)

        monkeypatch.setattr(_mamba1_operands, "plan", planned)

    return cut_at


scan = on_numpy(mamba1.selective_scan)
step = on_numpy(mamba1.selective_scan_step)

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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SIZES)
def test_sizes_around_tiles_and_lanes(name, dtype):
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


CUTS = {
    "real": {"length": 100, "channels": 6, "groups": 3, "state": 5},
    "a-checkpoint": {"length": 130, "channels": 24, "groups": 1, "state": 16},
    "complex": {"length": 67, "complex_A": True},
    "constant": {"length": 50, "B": "constant", "C": "varying"},
}


@pytest.mark.parametrize("length", [16, 40, 128])
@pytest.mark.parametrize("name", CUTS)
def test_rows_cut_in_segments(name, length, cut):
    cut(length)
    right(scan, "selective_scan", inputs(1, **CUTS[name]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cut_rows_in_every_dtype(dtype, cut):
    cut(32)
    right(scan, "selective_scan", inputs(2, length=75, state=16), dtype)


@pytest.mark.parametrize("length", [8, 24, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_sequences_with_boundaries_inside_tiles(length, dtype, cut):
    cut(length)
    call = packed((13, 0, 1, 50, 26), channels=10, groups=2, state=16)
    right(scan, "selective_scan", call, dtype)


def test_a_pack_that_is_cut_is_that_of_its_sequences(cupy, cut):
    lengths = (13, 0, 41)
    call = packed(lengths)
    cut(16)
    y, state = host(mamba1.selective_scan(**on_device(cupy, call)))
    bounds = call["cu_seqlens"]
    for row, start in enumerate(bounds[:-1]):
        own = slice(start, start + lengths[row])
        one = {k: v[:, own] if np.ndim(v) > 2 else v for k, v in call.items()}
        one |= {"initial_state": call["initial_state"][[row]], "cu_seqlens": None}
        y_one, state_one = host(mamba1.selective_scan(**on_device(cupy, one)))
        same((y[:, own], state[[row]]), (y_one, state_one))


def by_time(cupy, array):
    """Return the same numbers, as the transposed view of (batch, channels, length)."""
    return cupy.asarray(array.get().transpose(0, 2, 1).copy()).transpose(0, 2, 1)


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


@pytest.mark.parametrize("offset", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_that_begin_anywhere(offset, dtype):
    with using(offset=offset):
        right(scan, "selective_scan", inputs(5, channels=8, groups=1), dtype)


@pytest.mark.parametrize("segment", [16, 1000])
def test_results_do_not_depend_on_the_order_of_threads(segment, cupy, cut):
    cut(segment)
    call = on_device(cupy, inputs(6, length=40, channels=12, state=16))
    expected = host(mamba1.selective_scan(**call))
    for resident, seed in ((1, 1), (3, 2), (64, 3)):
        with using(resident=resident, seed=seed):
            same(host(mamba1.selective_scan(**call)), expected)


@pytest.mark.parametrize("segment", [16, 1000])
def test_a_nan_stays_in_its_channel_and_in_its_future(segment, cut):
    cut(segment)
    call = inputs(7, length=40)
    call["u"][1, 25, 3] = np.nan
    y, state = scan(**{k: floats(v) for k, v in call.items()})
    wrong = np.isnan(y)
    assert wrong[1, 25:, 3].all()
    assert wrong.sum() == 15
    assert np.isnan(state[1, 3]).all()
    assert np.isnan(state).sum() == state.shape[2]


def floats(value):
    is_real = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(np.float32) if is_real else value


@pytest.mark.parametrize("segment", [8, 1000])
def test_decays_that_vanish_leave_the_newest_token(segment, cut):
    cut(segment)
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


@pytest.mark.parametrize("dtype", DTYPES)
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
