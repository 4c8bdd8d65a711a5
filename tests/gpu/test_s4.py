"""S4 and S4D: cuts in time, lanes and tiles, kernels; what cases cannot see.

Recurrences are judged as the suite judges them, by the scales of its measure. A kernel
is found at once: its error is a few roundings of its largest number, at any length.
"""

from typing import Any

import numpy as np
import pytest
import sanitized
from emulated import on_numpy
from hostcupy.settings import using
from ssmref.gpu import _cauchy as cauchy
from ssmref.gpu import _diagonal as diagonal
from ssmref.gpu import _vandermonde as vandermonde
from ssmref.gpu import s4, s4d
from support.s4_inputs import hippo_system, s4_inputs

from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.scales.s4 import s4 as s4_scale
from ssmref.conformance.scales.s4d import s4d as s4d_scale
from ssmref.conformance.verdict import LIMIT
from ssmref.golden import s4 as golden_s4
from ssmref.golden import s4d as golden_s4d

EPS = float(np.finfo(np.float32).eps)
OPS = {
    "s4.s4": (s4.s4, golden_s4.s4, s4_scale),
    "s4d.s4d": (s4d.s4d, golden_s4d.s4d, s4d_scale),
}
each_op = pytest.mark.parametrize("op", OPS)
# Roundings of the largest number of a kernel.
ROUNDINGS = 8


def narrow(call: dict[str, Any]) -> dict[str, Any]:
    """Return a call in single precision."""
    kinds = {"f": np.float32, "c": np.complex64, "i": np.int64}
    return {
        name: v.astype(kinds[v.dtype.kind]) if isinstance(v, np.ndarray) else v
        for name, v in call.items()
    }


def wide(call: dict[str, Any]) -> dict[str, Any]:
    """Return the same numbers in double precision."""
    kinds = {"f": np.float64, "c": np.complex128, "i": np.int64}
    return {
        name: v.astype(kinds[v.dtype.kind]) if isinstance(v, np.ndarray) else v
        for name, v in call.items()
    }


def inputs(op: str, length: int, seed: int = 0, **sizes: Any) -> dict[str, Any]:
    """Return a call in single precision."""
    call = s4_inputs(np.random.default_rng(length + seed), length=length, **sizes)
    if op == "s4d.s4d":
        del call["P"]
    return narrow(call)


def worst_ratio(op: str, call: dict[str, Any]) -> float:
    """Return the largest error of y and the final state in units of the measure."""
    ours, golden, scale = OPS[op]
    found, expected = on_numpy(ours)(**call), golden(**wide(call))
    worst = 0.0
    for a, b, s in zip(found, expected, scale(wide(call)), strict=True):
        assert a.shape == b.shape
        allowed = EPS * np.maximum(s, 1e-30)
        worst = max(worst, float(np.max(np.abs(a - b) / allowed, initial=0)))
    return worst


@pytest.fixture
def cut(monkeypatch):
    """Cut every sequence into parts of 5 tokens; return the carries that were run."""
    carries: list[int] = []
    original = diagonal._carry

    def carry(states, *rest):
        carries.append(len(states))
        original(states, *rest)

    monkeypatch.setattr(diagonal, "_carry", carry)
    monkeypatch.setattr(diagonal, "BLOCKS", 10**6)
    monkeypatch.setattr(diagonal, "TILE", 1)
    for module in (s4, s4d):
        monkeypatch.setattr(module, "SHORTEST", 5)
    return carries


@each_op
def test_sequences_cut_in_time_pass_every_core_case(op, cut):
    function = on_numpy(OPS[op][0])
    for case in cases_of(op):
        verdict = verify_case(function, case, np.dtype(np.float32))
        assert verdict.status == "passed", verdict
    assert len(cut) > 10, "hardly any case was cut"


@each_op
def test_a_wrong_power_between_parts_is_seen(op, cut, monkeypatch):
    original = diagonal.raised
    wrong = lambda base, exponent, times: original(base, exponent + 1, times)  # noqa: E731
    for module in (diagonal, s4.matrices):
        monkeypatch.setattr(module, "raised", wrong)
    assert not worst_ratio(op, inputs(op, 23)) <= LIMIT
    assert cut


@each_op
@pytest.mark.usefixtures("cut")
def test_parts_whose_state_is_lost_are_seen(op, monkeypatch):
    monkeypatch.setattr(diagonal, "_carry", lambda states, *_: states.fill(0))
    assert not worst_ratio(op, inputs(op, 23)) <= LIMIT


# Around lanes, pairs of a lane, wide loads, tiles of tokens, blocks of channels.
SIZES = [
    *[(1, 1, 1, 1), (3, 5, 2, 0), (8, 3, 3, 2), (31, 2, 4, 1), (33, 3, 5, 1)],
    *[(9, 130, 4, 1), (2, 33, 32, 1), (5, 2, 33, 3), (3, 2, 130, 1), (3, 2, 64, 2)],
]


@each_op
@pytest.mark.parametrize(("length", "channels", "state", "ranks"), SIZES)
def test_sizes_around_lanes_and_tiles(op, length, channels, state, ranks):
    call = inputs(op, length, channels=channels, state=state, ranks=ranks)
    with using(seed=length, offset=channels % 2):
        assert worst_ratio(op, call) <= LIMIT


@each_op
@pytest.mark.usefixtures("cut")
def test_any_schedule_gives_the_same_bits(op):
    call = inputs(op, 40, channels=9, state=12)
    results = []
    for seed, resident in ((0, 1), (1, 3), (2, 2)):
        with using(seed=seed, resident=resident):
            results.append(on_numpy(OPS[op][0])(**call))
    for result in results[1:]:
        for a, b in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


@each_op
@pytest.mark.usefixtures("cut")
def test_what_is_not_finite_stays_in_its_channel_and_future(op):
    call = inputs(op, 23, batch=1)
    clean, _ = on_numpy(OPS[op][0])(**call)
    call["u"][0, 11, 2] = np.nan
    y, state = on_numpy(OPS[op][0])(**call)
    touched = np.isnan(y)
    assert touched[0, 11:, 2].all()
    assert touched.sum() == 12
    np.testing.assert_array_equal(y[~touched], clean[~touched])
    assert np.isnan(state[0, 2]).all()
    assert np.isfinite(np.delete(state, 2, axis=1)).all()


def test_states_that_are_zero_survive_a_power_that_overflows(cut):
    call = inputs("s4d.s4d", 40, batch=1, channels=2)
    call["A"] = (40 + 0j) * np.ones_like(call["A"])
    call["dt"] = np.ones(2, np.float32)
    call["u"][:, :39] = 0
    call["initial_state"] *= 0
    y, state = on_numpy(s4d.s4d)(**call)
    assert np.isfinite(y).all()
    assert np.isfinite(state).all()
    assert cut


def test_packed_sequences_of_any_length_are_cut(cut):
    for op in OPS:
        call = inputs(op, 60, batch=1, rows=5, channels=4)
        call["cu_seqlens"] = np.array([0, 13, 13, 14, 44, 60])
        assert worst_ratio(op, call) <= LIMIT
    assert len(cut) == 2


def test_a_singular_system_gives_nan():
    call = inputs("s4.s4", 4, channels=2, state=2, ranks=0)
    call["dt"] = np.array([1, 2], np.float32)
    call["A"][1] = 1  # I - dt A/2 = 0 in the second channel
    y, _ = on_numpy(s4.s4)(**call)
    assert np.isnan(y[:, :, 1]).all()
    assert np.isfinite(y[:, :, 0]).all()


# Around tiles of 4096 numbers, with sizes that are no multiple of 4, and one long.
LENGTHS = [2, 7, 64, 100, 1001, 4096, 5000]


def system(state: int = 16, ranks: int = 1, channels: int = 3) -> dict[str, Any]:
    """Return a system with memories from a few to thousands of tokens."""
    call = inputs("s4.s4", 1, channels=channels, state=state, ranks=ranks)
    call["dt"] = np.geomspace(1e-3, 0.2, channels).astype(np.float32)
    return {name: call[name] for name in ("dt", "A", "B", "C", "P")}


def roundings(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest error in units of eps times the largest number of a row."""
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    size = np.abs(expected).max(axis=-1, keepdims=True, initial=0)
    return float(np.max(np.abs(found - expected) / (EPS * size), initial=0))


@pytest.mark.parametrize("length", [0, *LENGTHS, 40000])
@pytest.mark.parametrize("method", ["zoh", "bilinear", "dss"])
def test_s4d_kernel_has_digits_at_any_length(method, length):
    call = system()
    del call["P"]
    found = on_numpy(s4d.s4d_kernel)(**call, length=length, method=method)
    expected = golden_s4d.s4d_kernel(**wide(call), length=length, method=method)
    assert roundings(found, expected) <= ROUNDINGS


@each_op
def test_a_kernel_of_one_tap_is_the_first_of_a_longer_one(op):
    call = system()
    make = on_numpy(s4.s4_kernel if op == "s4.s4" else s4d.s4d_kernel)
    if op == "s4d.s4d":
        del call["P"]
    one, more = make(**call, length=1), make(**call, length=64)
    size = np.abs(more).max(axis=1)
    assert one.shape == (3, 1)
    assert (np.abs(one[:, 0] - more[:, 0]) <= ROUNDINGS * EPS * size).all()


def test_digits_are_those_of_every_exponent(cupy):
    decay = cupy.asarray(np.array([[0.999 + 0.01j, 0j]]))
    table = vandermonde.digits(decay, 3000).get()
    assert len(table) == 5, "4096 + 3000 takes five digits to the base 8"
    found = [
        np.prod([table[p, 0, 0, e >> 3 * p & 7] for p in range(5)])
        for e in (0, 1, 63, 4095, 7095)
    ]
    expected = (0.999 + 0.01j) ** np.array([0, 1, 63, 4095, 7095])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert table[0, 0, 1].tolist() == [1, *[0] * 7]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("ranks", [1, 2])
def test_s4_kernel_has_digits_at_any_length(ranks, length):
    call = system(state=20, ranks=ranks)
    found = on_numpy(s4.s4_kernel)(**call, length=length)
    expected = golden_s4.s4_kernel(**wide(call), length=length)
    assert roundings(found, expected) <= ROUNDINGS


@pytest.mark.parametrize("length", [32, 4096])
def test_s4_kernel_beside_poles(length):
    """Poles 2^-11 from a node: merged fractions, or single floats, lose them."""
    case = next(c for c in cases_of("s4.s4") if "poles-beside-node" in c.id)
    call = {n: case.arguments(np.dtype(np.float32))[n] for n in ("dt", *"ABCP")}
    found = on_numpy(s4.s4_kernel)(**call, length=length)
    expected = golden_s4.s4_kernel(**wide(call), length=length)
    assert roundings(found, expected) <= ROUNDINGS


def test_s4_kernel_of_hippo():
    call = narrow(hippo_system("legs", 64))
    found = on_numpy(s4.s4_kernel)(**call, length=1000)
    expected = golden_s4.s4_kernel(**wide(call), length=1000)
    assert roundings(found, expected) <= ROUNDINGS


def resonant() -> dict[str, Any]:
    """Return a system with poles of any phase a thousandth beside the circle."""
    call = system(state=5, channels=2)
    call["dt"][:] = 0.1
    call["A"] = (-0.02 + 1j * np.linspace(5, 23, 10).reshape(2, 5)).astype(np.complex64)
    return {**call, "P": call["P"] / 16}


def test_distances_to_poles_need_the_low_halves(monkeypatch):
    call = resonant()
    expected = golden_s4.s4_kernel(**wide(call), length=2000)
    found = on_numpy(s4.s4_kernel)(**call, length=2000)
    assert roundings(found, expected) <= ROUNDINGS
    halves = cauchy._halves
    monkeypatch.setattr(cauchy, "_halves", lambda a: (halves(a)[0], 0 * halves(a)[1]))
    found = on_numpy(s4.s4_kernel)(**call, length=2000)
    assert not roundings(found, expected) <= ROUNDINGS


@pytest.mark.parametrize("length", [0, 1, 2, 9, 1000])
def test_c_tilde_is_that_of_golden(length):
    call = system(ranks=2)
    del call["B"]
    found = on_numpy(s4.s4_c_tilde)(**call, length=length)
    expected = golden_s4.s4_c_tilde(**wide(call), length=length)
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * EPS * 4)


@each_op
@pytest.mark.parametrize("length", [1, 2, 60])
def test_state_response_is_the_recurrence_without_input(op, length):
    module = s4 if op == "s4.s4" else s4d
    call = inputs(op, length, batch=2, ranks=2)
    call["u"][:] = 0
    arguments = {n: call[n] for n in ("dt", "A", "C", "P") if n in call}
    name = f"{op.split('.')[1]}_state_response"
    found = on_numpy(getattr(module, name))(
        **arguments, state=call["initial_state"], length=length
    )
    del call["D"]
    expected, _ = OPS[op][1](**wide(call))
    assert roundings(found, expected) <= 4 * ROUNDINGS


def test_kernels_refuse_what_golden_refuses():
    call = system()
    with pytest.raises(ValueError, match=r"length is 0; it needs to be at least 1"):
        _ = on_numpy(s4.s4_kernel_from_tilde)(
            *(call[name] for name in ("dt", *"ABCP")), length=0
        )
    call["A"][1, 0] = 0.1
    with pytest.raises(ValueError, match="A has real parts >= 0"):
        _ = on_numpy(s4.s4_kernel)(**call, length=8)
    del call["P"]
    with pytest.raises(ValueError, match="A has real parts above 0; method dss"):
        _ = on_numpy(s4d.s4d_kernel)(**call, length=8, method="dss")
    with pytest.raises(ValueError, match="method is 'euler'"):
        _ = on_numpy(s4d.s4d_kernel)(**call, length=8, method="euler")
    call = inputs("s4d.s4d", 3)
    with pytest.raises(ValueError, match="method is 'dss'; it needs to be one of"):
        _ = on_numpy(s4d.s4d)(**call, method="dss")


@pytest.mark.parametrize("op", ["s4.s4", "s4d.s4d_step"])
def test_kernels_touch_only_their_memory(op):
    _ = sanitized.run("asan", "--op", op, "--offset", "1")


def tiny_scans():
    """Run the recurrence, cut in time: for ThreadSanitizer."""
    diagonal.BLOCKS, diagonal.TILE = 10**6, 1
    s4.SHORTEST = s4d.SHORTEST = 5
    assert worst_ratio("s4.s4", inputs("s4.s4", 11, batch=1, state=5)) <= LIMIT


def test_kernels_have_no_races():
    _ = sanitized.run("tsan", "test_s4:tiny_scans")
