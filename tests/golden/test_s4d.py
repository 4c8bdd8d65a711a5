from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import laws
from support.compare import assert_close
from support.s4_inputs import complex_normal
from support.s4d_inputs import EXAMPLES, s4d_inputs

from ssmref.golden import hippo
from ssmref.golden.s4d import (
    s4d,
    s4d_blelloch,
    s4d_convolution,
    s4d_kernel,
    s4d_state_response,
    s4d_step,
)

FORMS = [s4d, s4d_blelloch, s4d_convolution]
METHODS = ["zoh", "bilinear"]
LENGTHS = [1, 2, 33, 64]


def call(seed=0, **sizes) -> dict[str, Any]:
    return s4d_inputs(np.random.default_rng(seed), **sizes)


def system(seed=0) -> dict[str, Any]:
    given = call(seed)
    return {name: given[name] for name in ("dt", "A", "B", "C")}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 33, 64])
def test_forms_agree(form, length, method):
    given = call(length=length)
    assert_close(form(**given, method=method), s4d(**given, method=method))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    method=st.sampled_from(METHODS),
    batch=st.integers(1, 3),
    length=st.integers(0, 9),
    channels=st.integers(1, 3),
    state=st.integers(1, 5),
)
def test_forms_agree_at_any_size(seed, method, **sizes):
    given = call(seed, **sizes) | {"method": method}
    expected = s4d(**given)
    for form in FORMS[1:]:
        assert_close(form(**given), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["lin", "inv", "quad", "real", "legs"])
def test_forms_agree_on_the_initialisations(name, method):
    given = call(length=50, state=8) | {"method": method}
    given["A"] = np.tile(getattr(hippo, f"s4d_{name}")(16), (5, 1))
    expected = s4d(**given)
    for form in FORMS[1:]:
        assert_close(form(**given), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("A", [0, -1e-12, -1e4, 3j])
def test_extreme_eigenvalues_are_fine(A, method):
    given = call(length=20) | {"method": method}
    given["A"] = np.full_like(given["A"], A)
    expected = s4d(**given)
    for form in FORMS[1:]:
        assert_close(form(**given), expected)


def test_both_of_each_pair_give_the_same_without_the_two():
    """The sum over all N eigenvalues of the annotated S4D, whose Re has no factor."""
    half = call(length=9)
    whole = {**half, "initial_state": None}
    for name in "ABC":
        whole[name] = np.concatenate([half[name], np.conj(half[name])], axis=1)
    whole["C"] = whole["C"] / 2
    expected, _ = s4d(**{**half, "initial_state": None})
    assert_close(s4d(**whole)[0], expected)


def test_no_initial_state_is_zero_and_no_skip_is_none():
    given = call()
    zero = np.zeros_like(given["initial_state"])
    plain = {**given, "initial_state": None, "D": None}
    without = {**given, "initial_state": zero, "D": np.zeros_like(given["D"])}
    for form in FORMS:
        assert_close(form(**plain), form(**without), limit=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [0, 1, 6, 7])
@pytest.mark.parametrize("form", FORMS)
def test_split_with_carried_state_is_the_whole(form, at, method):
    laws.assert_split(form, call() | {"method": method}, ["u"], at)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_steps_are_the_sequence(form, method):
    laws.assert_steps(form, s4d_step, call() | {"method": method}, ["u"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bounds", [[0, 3, 3, 7, 8], [0, 8], [0, 0, 8, 8]])
def test_pack_is_its_sequences(form, bounds):
    given = call(batch=1, length=8, rows=len(bounds) - 1)
    laws.assert_packed(form, given, ["u"], bounds)


@pytest.mark.parametrize("form", [s4d, s4d_blelloch])
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
    laws.assert_pure(s4d_step, EXAMPLES["s4d.s4d_step"](np.random.default_rng(0)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_precision_is_kept(form, method):
    laws.assert_precisions(form, call() | {"method": method})


def test_padding_and_other_slots_stay():
    given = EXAMPLES["s4d.s4d_step"](np.random.default_rng(0))
    y, state = s4d_step(**given)
    slots, before = given.pop("slots"), given["state"]
    rows = {**given, "u": given["u"][[0, 2]], "state": before[slots[[0, 2]]]}
    y_rows, state_rows = s4d_step(**rows)
    assert_close(y[[0, 2]], y_rows, limit=0)
    assert_close(state[slots[[0, 2]]], state_rows, limit=0)
    assert not np.any(y[1])
    assert_close(state[[0, 2, 3, 5]], before[[0, 2, 3, 5]], limit=0)


KNOWN = {
    "zoh": [0.167644285334, 0.219820258096, 0.263318846058, 0.293969368251],
    "bilinear": [0.16714454851, 0.218503235224, 0.261568680781, 0.292227735248],
}


@pytest.mark.parametrize("method", METHODS)
def test_kernel_is_the_known_one(method):
    A = np.array([[-0.5, -0.5 - 1j * np.pi]])
    C = np.array([[1 + 0.5j, -0.3 + 1j]])
    found = s4d_kernel(np.array([0.1]), A, np.ones_like(A), C, 4, method=method)
    np.testing.assert_allclose(found, [KNOWN[method]], rtol=1e-11)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", LENGTHS)
def test_kernel_is_the_response_to_an_impulse(length, method):
    impulse = np.zeros((1, length, 5))
    impulse[:, 0] = 1
    y, _ = s4d(impulse, **system(), method=method)
    assert_close(s4d_kernel(**system(), length=length, method=method), y[0].T)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", LENGTHS)
def test_state_response_is_the_output_without_input(length, method):
    given = call()
    dt, A, C = (given[name] for name in ("dt", "A", "C"))
    state, silence = given["initial_state"], np.zeros((2, length, 5))
    y, _ = s4d(silence, **system(), initial_state=state, method=method)
    assert_close(s4d_state_response(dt, A, C, state, length, method=method), y)


def test_state_response_is_a_kernel_of_the_augmented_input():
    """How the official code has it: B = x A e^{dt A} / (e^{dt A} - 1)."""
    given = call()
    dt, A, C = (given[name] for name in ("dt", "A", "C"))
    decay = np.exp(dt[:, None] * A)
    for state in given["initial_state"]:
        expected = s4d_kernel(dt, A, state * A * decay / (decay - 1), C, 9)
        assert_close(s4d_state_response(dt, A, C, state[None], 9)[0].T, expected)


def test_dss_kernel_is_the_softmax_over_its_length():
    """Without its 1e-7: e^{dt A l} / sum_l e^{dt A l}, times C B / A."""
    dt, A, B, C = (system()[name] for name in ("dt", "A", "B", "C"))
    modes = np.exp((dt[:, None] * A)[..., None] * np.arange(20))
    softmax = modes / np.sum(modes, axis=-1, keepdims=True)
    expected = np.real(np.einsum("dn,dnl->dl", C * B / A, softmax))
    found = s4d_kernel(dt, A, B, C, 20, method="dss")
    assert 1e-12 < np.max(np.abs(found - expected)) < 1e-6


def test_dss_kernel_guards_its_division():
    """At A = 0 the quotient is 0 / 1e-7, not 0 / 0."""
    A = np.zeros((1, 2), complex)
    found = s4d_kernel(np.ones(1), A, A + 1, A + 1, 5, method="dss")
    assert_close(found, np.zeros((1, 5)))


BAD = {
    "method is 'euler'; it needs to be one of": {"method": "euler"},
    "method is 'dss'; it needs to be one of": {"method": "dss"},
    r"B has shape \(5, 3\)": {"B": np.zeros((5, 3), complex)},
    r"dt has shape \(4,\)": {"dt": np.ones(4)},
    "A has dtype float64": {"A": np.zeros((5, 4))},
    "C has dtype complex64": {"C": np.zeros((5, 4), np.complex64)},
    r"initial_state has shape \(3, 5, 4\)": {"initial_state": np.zeros((3, 5, 4)) + 0j},
    r"cu_seqlens is \[1, 3, 7\]; it needs to": {
        "u": np.zeros((1, 7, 5)),
        "cu_seqlens": np.array([1, 3, 7]),
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_refused(form, message):
    with pytest.raises((ValueError, TypeError), match=message):
        form(**{**call(), **BAD[message]})


def test_growing_modes_are_refused_by_dss():
    given = system()
    given["A"] = -np.conj(given["A"])
    with pytest.raises(ValueError, match="A has real parts above 0; method dss"):
        s4d_kernel(**given, length=4, method="dss")


def test_state_with_too_few_slots_is_refused():
    given = EXAMPLES["s4d.s4d_step"](np.random.default_rng(0))
    few = complex_normal(np.random.default_rng(0), 4, 5, 4)
    with pytest.raises(ValueError, match=r"slots is \[4, -1, 1\]; the state has 4"):
        s4d_step(**{**given, "state": few})
