"""The selective scan of Mamba-1: known answers, and its forms are the recurrence."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compare import assert_close
from support.mamba1_inputs import KINDS, selective_scan_inputs, step_of

from ssmref.golden import mamba1
from ssmref.golden.layers import causal_conv1d, silu, softplus
from ssmref.golden.mamba1 import (
    selective_scan,
    selective_scan_chunked,
    selective_scan_step,
)

SUFFIXES = ("", "_hillis_steele", "_blelloch", "_chunked", "_attention")
FORMS = {name: getattr(mamba1, f"selective_scan{name}") for name in SUFFIXES}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def inputs(**sizes):
    return selective_scan_inputs(np.random.default_rng(11), **sizes)


def step_loop(call):
    """Return what a loop of steps gives; `call` needs an initial state."""
    state, outputs = call["initial_state"], [np.empty_like(call["u"][:, :0])]
    for t in range(call["u"].shape[1]):
        y, state = selective_scan_step(**step_of(call, t), state=state)
        outputs.append(y[:, None])
    return np.concatenate(outputs, axis=1), state


@each_form
def test_known_answer(form):
    row = {"u": [1, -2, 0.5], "dt": [0.3, -1, 21], "z": [1, -1, 0.2]}
    call = {name: np.array(x, float).reshape(1, 3, 1) for name, x in row.items()}
    B, C = np.array([[1, 2, 3], [-1, 0.5, 1]]), np.array([[0.5, 1, -1], [2, 0, 1]])
    y, state = form(
        **call,
        A=np.array([[-1.0, -2.0]]),
        B=B.T[None],
        C=C.T[None],
        D=np.array([0.7]),
        dt_bias=np.array([0.1]),
        dt_softplus=True,
    )
    expected = [-0.48946044399, 0.568947663718, -2.28181108879]
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-11)
    np.testing.assert_allclose(state.ravel(), [31.6499999995, 10.55], rtol=1e-11)


def test_equations_by_hand():
    """One channel, one state, two tokens; no option changes the arithmetic."""
    u, dt, A = np.array([3.0, 5.0]), np.array([0.5, 2.0]), np.log(0.25)
    # decays 1/2 and 1/16; drives 0.5 * 2 * 3 and 2 * 2 * 5
    y, state = selective_scan(
        u.reshape(1, 2, 1),
        dt.reshape(1, 2, 1),
        np.array([[A]]),
        np.array([[2.0]]),
        np.array([[10.0]]),
        initial_state=np.array([[[8.0]]]),
    )
    assert_close(y.ravel(), np.array([70.0, 10 * (7 / 16 + 20)]), 1e-15)
    assert_close(state.ravel(), np.array([7 / 16 + 20]), 1e-15)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33])
@pytest.mark.parametrize("complex_A", [False, True])
def test_forms_agree(length, complex_A):
    call = inputs(length=length, complex_A=complex_A)
    expected = selective_scan(**call)
    for form in FORMS.values():
        assert_close(form(**call), expected)
    assert_close(step_loop(call), expected)


@pytest.mark.parametrize("B", KINDS)
@pytest.mark.parametrize("C", KINDS)
@pytest.mark.parametrize("complex_A", [False, True])
def test_forms_agree_for_all_kinds_of_projections(B, C, complex_A):
    call = inputs(B=B, C=C, complex_A=complex_A)
    expected = selective_scan(**call)
    for form in FORMS.values():
        assert_close(form(**call), expected)
    assert_close(step_loop(call), expected)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(0, 40),
    sizes=st.sampled_from([(1, 1, 1, 1), (3, 6, 2, 5), (2, 4, 4, 1), (1, 5, 1, 7)]),
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    complex_A=st.booleans(),
    dropped=st.sets(st.sampled_from(["D", "z", "dt_bias"])),
    chunk_size=st.integers(1, 50),
)
def test_forms_agree_anywhere(
    seed, length, sizes, kinds, complex_A, dropped, chunk_size
):
    batch, channels, groups, state = sizes
    call = selective_scan_inputs(
        np.random.default_rng(seed),
        length=length,
        batch=batch,
        channels=channels,
        groups=groups,
        state=state,
        B=kinds[0],
        C=kinds[1],
        complex_A=complex_A,
    )
    call |= dict.fromkeys(dropped)
    expected = selective_scan(**call)
    for form in FORMS.values():
        assert_close(form(**call), expected)
    assert_close(selective_scan_chunked(**call, chunk_size=chunk_size), expected)
    assert_close(step_loop(call), expected)


@each_form
@pytest.mark.parametrize("split", [0, 1, 4, 8, 9])
@pytest.mark.parametrize("complex_A", [False, True])
def test_split_with_carried_state_is_whole(form, split, complex_A):
    call = inputs(complex_A=complex_A)
    varying = ("u", "dt", "B", "C", "z")
    first, state = form(**{**call, **{n: call[n][:, :split] for n in varying}})
    rest = {**call, **{n: call[n][:, split:] for n in varying}}
    second, state = selective_scan(**{**rest, "initial_state": state})
    assert_close((np.concatenate([first, second], axis=1), state), form(**call))


@each_form
@pytest.mark.parametrize("bounds", [[0, 9], [0, 4, 4, 9], [0, 0, 1, 6, 9, 9]])
@pytest.mark.parametrize("kinds", [("grouped", "varying"), ("constant", "grouped")])
def test_pack_is_separate_sequences(form, bounds, kinds):
    call = inputs(batch=1, B=kinds[0], C=kinds[1], initial_state=False)
    varying = [n for n in ("u", "dt", "z", "B", "C") if call[n].ndim > 2]
    states = np.random.default_rng(0).standard_normal((len(bounds) - 1, 6, 4))
    y, final = form(**call, initial_state=states, cu_seqlens=np.array(bounds))
    for i, (start, stop) in enumerate(pairwise(bounds)):
        one = {**call, **{n: call[n][:, start:stop] for n in varying}}
        expected = form(**one, initial_state=states[i : i + 1])
        assert_close((y[:, start:stop], final[i : i + 1]), expected, 0.0)
    zero = form(**call, cu_seqlens=np.array(bounds))
    same = form(**call, initial_state=0 * states, cu_seqlens=np.array(bounds))
    assert_close(zero, same, 0.0)


@each_form
def test_output_is_causal(form):
    call = inputs()
    before, _ = form(**call)
    later = dict(call)
    for name in ("u", "dt", "B", "C", "z"):
        later[name] = call[name].copy()
        later[name][:, 5:] += 1
    after, _ = form(**later)
    np.testing.assert_array_equal(after[:, :5], before[:, :5])
    assert np.all(after[:, 5:] != before[:, 5:])


@each_form
def test_consecutive_channels_share_a_group(form):
    call = inputs()
    repeated = {n: np.repeat(call[n], 2, axis=2) for n in "BC"}
    assert_close(form(**{**call, **repeated}), form(**call), 1e-14)
    tiled = {n: np.tile(call[n], (1, 1, 2, 1)) for n in "BC"}
    assert np.max(np.abs(form(**{**call, **tiled})[0] - form(**call)[0])) > 0.1


@each_form
def test_one_group_and_constants_are_special_cases(form):
    call = inputs(groups=1)
    assert_close(form(**{**call, "B": call["B"][:, :, 0]}), form(**call), 0.0)
    call = inputs(groups=6, C="constant")
    rows = np.broadcast_to(call["C"], (2, 9, 6, 4))
    assert_close(form(**{**call, "C": rows}), form(**call), 0.0)


@each_form
@pytest.mark.parametrize("complex_A", [False, True])
def test_linear_in_inputs_and_initial_state(form, complex_A):
    call, other = inputs(complex_A=complex_A), inputs(complex_A=complex_A)
    other |= {"u": other["u"][::-1], "initial_state": other["initial_state"][::-1]}
    names = ("u", "initial_state")
    mixed = {**call, **{n: 2 * call[n] - 3 * other[n] for n in names}}
    (y, state), (y2, state2) = form(**call), form(**other)
    assert_close(form(**mixed), (2 * y - 3 * y2, 2 * state - 3 * state2))


@each_form
def test_complex_output_is_the_sum_over_conjugate_pairs(form):
    call = {**inputs(complex_A=True), "z": None, "D": None}
    y, state = form(**call)
    conjugate = {n: call[n].conj() for n in ("A", "B", "C", "initial_state")}
    y_conjugate, state_conjugate = form(**{**call, **conjugate})
    assert_close(state_conjugate, state.conj(), 1e-15)
    C = np.repeat(call["C"][:, -1], 2, axis=1)
    pairs = np.sum(C * state + C.conj() * state_conjugate, axis=-1)
    assert_close(y[:, -1], pairs.real)
    assert_close(y_conjugate, y, 1e-15)
    assert y.dtype == np.float64


@each_form
def test_steps_of_size_zero_change_nothing(form):
    """Padding on the right: dt = 0 keeps the state and the earlier outputs."""
    call = inputs(length=9) | {"dt_softplus": False, "dt_bias": None}
    call["dt"] = np.abs(call["dt"])
    call["dt"][:, 6:] = 0
    varying = ("u", "dt", "B", "C", "z")
    short = form(**{**call, **{n: call[n][:, :6] for n in varying}})
    y, state = form(**call)
    assert_close((y[:, :6], state), short, 1e-14)


@each_form
def test_masked_padding_on_the_left_changes_nothing(form):
    call = inputs(initial_state=False)
    varying = ("u", "dt", "B", "C", "z")
    padding = {n: np.repeat(call[n][:, -1:], 4, axis=1) for n in varying}
    padding["u"] *= 0
    padded = {n: np.concatenate([padding[n], call[n]], axis=1) for n in varying}
    y, state = form(**{**call, **padded})
    assert_close((y[:, 4:], state), form(**call), 1e-14)


@each_form
@pytest.mark.parametrize("raw", [-50.0, -17.0, 20.0, 20.01, 1e3])
def test_extreme_step_sizes(form, raw):
    call = {**inputs(), "dt_bias": None}
    call["dt"][:, 3:5] = raw
    y, state = form(**call)
    assert_close((y, state), selective_scan(**call))
    explicit = {**call, "dt": softplus(call["dt"]), "dt_softplus": False}
    assert_close(form(**explicit), (y, state), 1e-14)


@each_form
@pytest.mark.parametrize("A", [-0.0, -1e-12, -1e4])
def test_extreme_decays(form, A):
    call = inputs()
    call["A"] = np.full_like(call["A"], A)
    assert_close(form(**call), selective_scan(**call))
    if A == 0:
        dt = softplus(call["dt"] + call["dt_bias"])
        drive = np.repeat(call["B"], 2, axis=2) * (dt * call["u"])[..., None]
        expected = call["initial_state"] + drive.sum(axis=1)
        assert_close(form(**call)[1], expected, 1e-14)


@each_form
def test_skip_and_gate_come_last(form):
    call = inputs()
    bare, state = form(**{**call, "D": None, "z": None})
    y = (bare + call["D"] * call["u"]) * silu(call["z"])
    assert_close(form(**call), (y, state), 1e-14)


def test_a_state_of_shifts_is_a_convolution():
    """A = 0 and dt = 1 sum the inputs: a filter of ones, as the convolution says."""
    u = np.random.default_rng(0).standard_normal((2, 9, 3))
    y, _ = selective_scan(
        u, np.ones_like(u), np.zeros((3, 1)), np.ones((3, 1)), np.ones((3, 1))
    )
    assert_close(y, causal_conv1d(u, np.ones((3, 9)))[0], 1e-14)
