from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import laws
from support.compare import assert_close
from support.s4_inputs import EXAMPLES, complex_normal, hippo_system, s4_inputs

from ssmref.golden.s4 import s4, s4_convolution, s4_linear, s4_step
from ssmref.golden.s4d import s4d

FORMS = [s4, s4_linear, s4_convolution]


def call(seed=0, **sizes) -> dict[str, Any]:
    return s4_inputs(np.random.default_rng(seed), **sizes)


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 33])
def test_forms_agree(form, length):
    given = call(length=length)
    assert_close(form(**given), s4(**given))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 3),
    length=st.integers(0, 9),
    channels=st.integers(1, 3),
    state=st.integers(1, 5),
    ranks=st.integers(0, 3),
)
def test_forms_agree_at_any_size(seed, **sizes):
    given = call(seed, **sizes)
    expected = s4(**given)
    for form in FORMS[1:]:
        assert_close(form(**given), expected)


@pytest.mark.parametrize("N", [4, 64])
@pytest.mark.parametrize("name", ["legs", "legt", "fourier"])
def test_forms_agree_on_hippo(name, N):
    rng = np.random.default_rng(2)
    given = hippo_system(name, N)
    given["u"] = rng.standard_normal((2, 40, 3))
    given["initial_state"] = complex_normal(rng, 2, 3, N // 2)
    expected = s4(**given)
    assert_close(s4_linear(**given), expected)
    if name == "legs":  # the others are on the imaginary axis: no kernel, see below
        assert_close(s4_convolution(**given), expected)


def test_no_initial_state_is_zero_and_no_skip_is_none():
    given = call()
    zero = np.zeros_like(given["initial_state"])
    plain = {**given, "initial_state": None, "D": None}
    without = {**given, "initial_state": zero, "D": np.zeros_like(given["D"])}
    for form in FORMS:
        assert_close(form(**plain), form(**without), limit=0)


def test_without_low_rank_it_is_s4d():
    given = call(ranks=0)
    P = given.pop("P")
    for form in FORMS:
        assert_close(form(P=P, **given), s4d(**given, method="bilinear"))


def test_two_ranks_can_be_the_same_matrix_as_one():
    given = call(ranks=1)
    both = {**given, "P": np.concatenate([0.6 * given["P"], 0.8 * given["P"]])}
    for form in FORMS:
        assert_close(form(**both), form(**given))


@pytest.mark.parametrize("at", [0, 1, 6, 7])
@pytest.mark.parametrize("form", FORMS)
def test_split_with_carried_state_is_the_whole(form, at):
    laws.assert_split(form, call(), ["u"], at)


@pytest.mark.parametrize("form", FORMS)
def test_steps_are_the_sequence(form):
    laws.assert_steps(form, s4_step, call(), ["u"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bounds", [[0, 3, 3, 7, 8], [0, 8], [0, 0, 8, 8]])
def test_pack_is_its_sequences(form, bounds):
    given = call(batch=1, length=8, rows=len(bounds) - 1)
    laws.assert_packed(form, given, ["u"], bounds)


@pytest.mark.parametrize("form", [s4, s4_linear])
@pytest.mark.parametrize("at", [0, 3, 6])
def test_the_future_does_not_change_the_past(form, at):
    laws.assert_causal(form, call(), ["u"], at)


@pytest.mark.parametrize("form", FORMS)
def test_output_is_linear_in_input_and_state(form):
    laws.assert_linear(form, call(0), call(1), ["u", "initial_state"])


@pytest.mark.parametrize("form", FORMS)
def test_zero_padding_only_delays(form):
    laws.assert_shiftable(form, call(), ["u"])


@pytest.mark.parametrize("form", FORMS)
def test_arguments_are_not_modified(form):
    laws.assert_pure(form, call())


def test_step_does_not_modify_its_arguments():
    laws.assert_pure(s4_step, EXAMPLES["s4.s4_step"](np.random.default_rng(0)))


@pytest.mark.parametrize("form", FORMS)
def test_precision_is_kept(form):
    laws.assert_precisions(form, call())


def test_padding_and_other_slots_stay():
    given = EXAMPLES["s4.s4_step"](np.random.default_rng(0))
    y, state = s4_step(**given)
    slots, before = given.pop("slots"), given["state"]
    rows = {**given, "u": given["u"][[0, 2]], "state": before[slots[[0, 2]]]}
    y_rows, state_rows = s4_step(**rows)
    assert_close(y[[0, 2]], y_rows, limit=0)
    assert_close(state[slots[[0, 2]]], state_rows, limit=0)
    assert not np.any(y[1])
    assert_close(state[[0, 2, 3, 5]], before[[0, 2, 3, 5]], limit=0)


BAD = {
    "P has shape": {"P": np.zeros((2, 5, 3), complex)},
    r"dt has shape \(4,\)": {"dt": np.ones(4)},
    "C has dtype float64": {"C": np.zeros((5, 4))},
    "u has dtype int64": {"u": np.zeros((2, 7, 5), int)},
    r"initial_state has shape \(3, 5, 4\)": {"initial_state": np.zeros((3, 5, 4)) + 0j},
    "cu_seqlens is given and batch is 2": {
        "cu_seqlens": np.array([0, 3, 7]),
    },
    "A is None": {"A": None},
    "B has dtype complex64": {"B": np.zeros((5, 4), np.complex64)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_refused(form, message):
    with pytest.raises((ValueError, TypeError), match=message):
        form(**{**call(), **BAD[message]})


def test_bad_bounds_are_refused():
    given = {**call(batch=1, rows=2), "cu_seqlens": np.array([0, 3, 6])}
    with pytest.raises(ValueError, match=r"cu_seqlens is \[0, 3, 6\]; it needs to"):
        s4(**given)


def test_a_slot_used_twice_is_refused():
    given = EXAMPLES["s4.s4_step"](np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"slots is \[4, 4, 1\]; a slot may occur"):
        s4_step(**{**given, "slots": np.array([4, 4, 1])})
