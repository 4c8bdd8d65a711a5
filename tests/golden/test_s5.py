from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import laws
from support.compare import assert_close
from support.s4_inputs import complex_normal
from support.s5_inputs import EXAMPLES, s5_inputs

from ssmref.golden.s4d import s4d
from ssmref.golden.s5 import s5, s5_blelloch, s5_convolution, s5_step

FORMS = [s5, s5_blelloch, s5_convolution]
METHODS = ["zoh", "bilinear"]
OPTIONS = [{"method": m, "conj_sym": c} for m in METHODS for c in (True, False)]


def call(seed=0, *, bidirectional=False, **sizes) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    given = s5_inputs(rng, **sizes)
    if bidirectional:
        given["C_backward"] = complex_normal(rng, *given["C"].shape)
    return given


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 33])
def test_forms_agree(form, length, bidirectional, options):
    given = call(length=length, inputs=5, bidirectional=bidirectional) | options
    assert_close(form(**given), s5(**given))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    options=st.sampled_from(OPTIONS),
    bidirectional=st.booleans(),
    batch=st.integers(1, 3),
    length=st.integers(0, 9),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    state=st.integers(1, 5),
)
def test_forms_agree_at_any_size(seed, options, **sizes):
    given = call(seed, **sizes) | options
    expected = s5(**given)
    for form in FORMS[1:]:
        assert_close(form(**given), expected)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_one_of_each_pair_is_the_full_system_with_conjugates(form, bidirectional):
    half = call(bidirectional=bidirectional)
    full = {**half, "dt": np.tile(half["dt"], 2)}
    for name, axis in (("A", 0), ("B", 0), ("C", 1), ("initial_state", 1)):
        full[name] = np.concatenate([half[name], np.conj(half[name])], axis)
    if bidirectional:
        backward = half["C_backward"]
        full["C_backward"] = np.concatenate([backward, np.conj(backward)], 1)
    y, state = form(**half)
    y_full, state_full = form(**full, conj_sym=False)
    assert_close(y, y_full)
    assert_close(np.concatenate([state, np.conj(state)], 1), state_full)


@pytest.mark.parametrize("form", FORMS)
def test_bidirectional_is_forward_plus_reversed(form):
    both = call(inputs=5, bidirectional=True)
    forward = {n: x for n, x in both.items() if n != "C_backward"}
    y, state = form(**forward)
    mirrored = {**forward, "u": both["u"][:, ::-1], "C": both["C_backward"]}
    y_mirrored, _ = form(**{**mirrored, "D": None, "initial_state": None})
    assert_close(form(**both), (y + y_mirrored[:, ::-1], state))


def test_both_directions_read_the_present_token():
    given: dict[str, Any] = call(length=1, inputs=5, bidirectional=True) | {
        "initial_state": None
    }
    once = {n: x for n, x in given.items() if n not in ("C_backward", "D")}
    forward, _ = s5(**once)
    backward, _ = s5(**{**once, "C": given["C_backward"]})
    skip = given["D"] * given["u"]
    assert_close(s5(**given)[0], forward + backward + skip)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_one_input_and_output_is_a_channel_of_s4d(form, method):
    given = call(inputs=1, outputs=1) | {"method": method}
    dt = np.full(4, 0.1)
    y, state = form(**{**given, "dt": dt})
    one = {n: given[n][None] for n in ("A",)} | {"B": given["B"].T, "C": given["C"]}
    initial = given["initial_state"][:, None]
    rest = {"D": given["D"], "method": method, "initial_state": initial}
    y_s4d, state_s4d = s4d(given["u"], dt[:1], **one, **rest)
    assert_close((y, state), (y_s4d, state_s4d[:, 0]))


def test_no_initial_state_is_zero():
    given = call()
    zero = {**given, "initial_state": np.zeros_like(given["initial_state"])}
    for form in FORMS:
        assert_close(form(**{**given, "initial_state": None}), form(**zero), limit=0)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("at", [0, 1, 6, 7])
@pytest.mark.parametrize("form", FORMS)
def test_split_with_carried_state_is_the_whole(form, at, options):
    laws.assert_split(form, call(inputs=5) | options, ["u"], at)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_steps_are_the_sequence(form, options):
    laws.assert_steps(form, s5_step, call(inputs=5) | options, ["u"])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bounds", [[0, 3, 3, 7, 8], [0, 8], [0, 0, 8, 8]])
def test_pack_is_its_sequences(form, bounds, bidirectional):
    rows = len(bounds) - 1
    given = call(batch=1, length=8, rows=rows, bidirectional=bidirectional)
    laws.assert_packed(form, given, ["u"], bounds)


@pytest.mark.parametrize("form", [s5, s5_blelloch])
@pytest.mark.parametrize("at", [0, 3, 6])
def test_the_future_does_not_change_the_past(form, at):
    laws.assert_causal(form, call(), ["u"], at)


@pytest.mark.parametrize("form", FORMS)
def test_bidirectional_sees_the_future(form):
    given = call(bidirectional=True)
    changed = given["u"].copy()
    changed[:, 6] += 1
    difference = form(**{**given, "u": changed})[0] - form(**given)[0]
    assert np.all(np.abs(difference) > 1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_output_is_linear_in_input_and_state(form, bidirectional):
    one, other = (call(s, bidirectional=bidirectional) for s in (0, 1))
    laws.assert_linear(form, one, other, ["u", "initial_state"])


@pytest.mark.parametrize("form", FORMS)
def test_zero_padding_only_delays(form):
    laws.assert_shiftable(form, call(), ["u"])


@pytest.mark.parametrize("form", FORMS)
def test_arguments_are_not_modified(form):
    laws.assert_pure(form, call(bidirectional=True))


def test_step_does_not_modify_its_arguments():
    laws.assert_pure(s5_step, EXAMPLES["s5.s5_step"](np.random.default_rng(0)))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_precision_is_kept(form, options):
    laws.assert_precisions(form, call(inputs=5, bidirectional=True) | options)


def test_padding_and_other_slots_stay():
    given = EXAMPLES["s5.s5_step"](np.random.default_rng(0))
    y, state = s5_step(**given)
    slots, before = given.pop("slots"), given["state"]
    rows = {**given, "u": given["u"][[0, 2]], "state": before[slots[[0, 2]]]}
    y_rows, state_rows = s5_step(**rows)
    assert_close(y[[0, 2]], y_rows, limit=0)
    assert_close(state[slots[[0, 2]]], state_rows, limit=0)
    assert not np.any(y[1])
    assert_close(state[[0, 2, 3, 5]], before[[0, 2, 3, 5]], limit=0)


BAD = {
    "method is 'euler'; it needs to be one of": {"method": "euler"},
    "D is given with 3 inputs and 5 outputs": {"D": np.zeros(5)},
    r"D has shape \(3,\)": {"D": np.zeros(3)},
    r"B has shape \(3, 4\)": {"B": np.zeros((3, 4), complex)},
    r"C has shape \(4, 5\)": {"C": np.zeros((4, 5), complex)},
    r"C_backward has shape \(5, 8\)": {"C_backward": np.zeros((5, 8), complex)},
    r"A has shape \(4,\); it needs \(state\) with state = 3 from dt": {
        "dt": np.ones(3)
    },
    "A has dtype float64": {"A": np.zeros(4)},
    "dt has dtype float64, but u": {"u": np.zeros((2, 7, 3), np.float32)},
    r"initial_state has shape \(3, 4\)": {"initial_state": np.zeros((3, 4), complex)},
    "cu_seqlens is given and batch is 2": {"cu_seqlens": np.array([0, 3, 7])},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_refused(form, message):
    with pytest.raises((ValueError, TypeError), match=message):
        form(**{**call(), **BAD[message]})
