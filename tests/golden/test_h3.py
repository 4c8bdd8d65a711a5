from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import laws
from support.compare import assert_close
from support.h3_inputs import EXAMPLES, h3_inputs

from ssmref.golden.h3 import H3State, h3, h3_blelloch, h3_convolution, h3_step
from ssmref.golden.s4d import s4d

FORMS = [h3, h3_blelloch, h3_convolution]
METHODS = ["bilinear", "zoh"]
INPUTS = ["q", "k", "v"]


def call(seed=0, **sizes) -> dict[str, Any]:
    return h3_inputs(np.random.default_rng(seed), **sizes)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("head_dim", [1, 2])
@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("length", [0, 1, 2, 4, 5, 6, 33])
def test_forms_agree(form, length, head_dim, method):
    given = call(length=length, head_dim=head_dim) | {"method": method}
    assert_close(form(**given), h3(**given))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    method=st.sampled_from(METHODS),
    batch=st.integers(1, 3),
    length=st.integers(0, 9),
    heads=st.integers(1, 3),
    head_dim=st.integers(1, 3),
    state=st.integers(1, 4),
    taps=st.integers(1, 6),
)
def test_forms_agree_at_any_size(seed, method, **sizes):
    given = call(seed, **sizes) | {"method": method}
    expected = h3(**given)
    for form in FORMS[1:]:
        assert_close(form(**given), expected)


@pytest.mark.parametrize("form", FORMS)
def test_defaults_are_bilinear_one_channel_per_head_no_skips_and_zero_state(form):
    given = call(head_dim=1)
    options = {
        "shift_D": np.zeros(3),
        "D": np.zeros(3),
        "method": "bilinear",
        "initial_state": H3State(*map(np.zeros_like, given["initial_state"])),
    }
    plain = {n: given[n] for n in (*INPUTS, "dt", "A", "B", "C", "shift_C")}
    assert_close(form(**plain), form(**{**given, **options}), limit=0)


@pytest.mark.parametrize("form", FORMS)
def test_with_one_tap_and_constant_queries_and_values_it_is_s4d(form):
    given: dict[str, Any] = call(head_dim=1, taps=1) | {
        "shift_D": None,
        "initial_state": None,
    }
    one = np.ones_like(given["q"])
    given |= {"q": one, "v": one, "shift_C": np.ones((3, 1))}
    y, state = form(**given)
    system = {name: given[name] for name in ("dt", "A", "B", "C", "D")}
    y_s4d, state_s4d = s4d(given["k"], **system, method="bilinear")
    assert_close((y, state.ssm[:, :, 0, 0]), (y_s4d, state_s4d))


@pytest.mark.parametrize("form", FORMS)
def test_tap_n_delays_the_keys_by_n(form):
    given: dict[str, Any] = call(head_dim=1, length=9) | {
        "shift_D": None,
        "initial_state": None,
    }
    now = {**given, "shift_C": np.eye(5)[[0, 0, 0]]}
    delayed = {**given, "shift_C": np.eye(5)[[3, 3, 3]]}
    earlier = np.zeros_like(given["k"])
    earlier[:, 3:] = given["k"][:, :-3]
    assert_close(form(**delayed)[0], form(**{**now, "k": earlier})[0])


@pytest.mark.parametrize("form", FORMS)
def test_heads_are_blocks_of_consecutive_channels(form):
    """Head 1 alone gives channels 2 and 3; the official slow path interleaves."""
    given = call(head_dim=2)
    y, state = form(**given)
    block = slice(2, 4)
    one = {n: given[n][:, :, block] for n in INPUTS}
    one |= {n: given[n][1:2] for n in ("dt", "A", "B", "C", "D")}
    one |= {n: given[n][block] for n in ("shift_C", "shift_D")}
    shift, ssm = given["initial_state"]
    one["initial_state"] = H3State(shift[:, block], ssm[:, 1:2])
    y_one, state_one = form(**one, head_dim=2)
    assert_close(y_one, y[:, :, block])
    assert_close(state_one, H3State(state.shift[:, block], state.ssm[:, 1:2]))


@pytest.mark.parametrize("form", FORMS)
def test_a_head_sums_over_keys_for_each_value(form):
    """y[j] = sum_i q[i] o[i, j], each o[i, j] from a head of one channel."""
    given: dict[str, Any] = call(heads=1, head_dim=2) | {"initial_state": None}
    y, _ = form(**given)
    expected = np.zeros_like(y)
    for i in range(2):
        for j in range(2):
            one = {n: given[n][:, :, [i]] for n in "qk"}
            one |= {n: given[n][[i]] for n in ("shift_C", "shift_D")}
            one |= {"v": given["v"][:, :, [j]], "head_dim": 1}
            expected[:, :, j] += form(**{**given, **one})[0][:, :, 0]
    assert_close(y, expected)


def test_shift_state_is_the_latest_keys_newest_first():
    given = call(length=3, taps=5)
    _, state = h3(**given)
    newest = given["k"][:, ::-1].swapaxes(1, 2)
    before = given["initial_state"].shift[:, :, :2]
    assert_close(state.shift, np.concatenate([newest, before], axis=2), limit=0)


@pytest.mark.parametrize("at", [0, 1, 6, 7])
@pytest.mark.parametrize("form", FORMS)
def test_split_with_carried_state_is_the_whole(form, at):
    laws.assert_split(form, call(), INPUTS, at)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_steps_are_the_sequence(form, method):
    laws.assert_steps(form, h3_step, call() | {"method": method}, INPUTS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bounds", [[0, 3, 3, 7, 8], [0, 8], [0, 0, 8, 8]])
def test_pack_is_its_sequences(form, bounds):
    given = call(batch=1, length=8, rows=len(bounds) - 1)
    laws.assert_packed(form, given, INPUTS, bounds)


@pytest.mark.parametrize("form", [h3, h3_blelloch])
@pytest.mark.parametrize("at", [0, 3, 6])
def test_the_future_does_not_change_the_past(form, at):
    laws.assert_causal(form, call(), INPUTS, at)


@pytest.mark.parametrize("form", FORMS)
def test_output_is_linear_in_values_and_their_state(form):
    one, other = call(0), call(1)
    other["initial_state"] = None
    other = {**one, "v": other["v"]}
    y, _ = form(**one)
    y_other, _ = form(**other)
    both, _ = form(**{**one, "v": one["v"] + other["v"]})
    rest = H3State(one["initial_state"].shift, 0 * one["initial_state"].ssm)
    y_rest, _ = form(**{**other, "initial_state": rest})
    assert_close(both, y + y_rest)
    assert np.max(np.abs(y_rest - y_other)) > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_zero_padding_only_delays(form):
    given = {**call(), "initial_state": None}
    y, state = form(**given)
    zeros = np.zeros_like(given["q"][:, :3])
    left = {n: np.concatenate([zeros, given[n]], axis=1) for n in INPUTS}
    y_left, state_left = form(**{**given, **left})
    assert_close((y_left[:, 3:], state_left), (y, state))


@pytest.mark.parametrize("form", FORMS)
def test_arguments_are_not_modified(form):
    laws.assert_pure(form, call())


def test_step_does_not_modify_its_arguments():
    laws.assert_pure(h3_step, EXAMPLES["h3.h3_step"](np.random.default_rng(0)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_precision_is_kept(form, method):
    laws.assert_precisions(form, call() | {"method": method})


def test_padding_and_other_slots_stay():
    given = EXAMPLES["h3.h3_step"](np.random.default_rng(0))
    y, state = h3_step(**given)
    slots, before = given.pop("slots"), given["state"]
    live = slots[[0, 2]]
    rows = {**given, **{n: given[n][[0, 2]] for n in INPUTS}}
    rows["state"] = H3State(*(x[live] for x in before))
    y_rows, state_rows = h3_step(**rows)
    assert_close(y[[0, 2]], y_rows, limit=0)
    assert not np.any(y[1])
    for after, own, old in zip(state, state_rows, before, strict=True):
        assert_close(after[live], own, limit=0)
        assert_close(after[[0, 2, 3, 5]], old[[0, 2, 3, 5]], limit=0)


STATE = call()["initial_state"]
BAD = {
    "head_dim is 3 with 3 heads from dt; together they need": {"head_dim": 3},
    "head_dim is 0; it needs to be at least 1": {"head_dim": 0},
    "method is 'dss'; it needs to be one of": {"method": "dss"},
    r"k has shape \(2, 7, 5\)": {"k": np.zeros((2, 7, 5))},
    r"shift_C has shape \(3, 5\)": {"shift_C": np.zeros((3, 5))},
    "the taps of shift_C is 0; it needs to be at least 1": {
        "shift_C": np.zeros((6, 0)),
        "initial_state": None,
    },
    r"A has shape \(6, 4\)": {"A": np.zeros((6, 4), complex)},
    "B has dtype float64": {"B": np.zeros((3, 4))},
    "v has dtype float32": {"v": np.zeros((2, 7, 6), np.float32)},
    r"initial_state is a tuple; it needs to be H3State\(shift, ssm\)": {
        "initial_state": tuple(STATE)
    },
    r"initial_state.shift has shape \(2, 6, 4\)": {
        "initial_state": H3State(STATE.shift[:, :, 1:], STATE.ssm)
    },
    "initial_state.ssm has headdim 1; it needs the head_dim 2": {
        "initial_state": H3State(STATE.shift, STATE.ssm[:, :, :1, :1])
    },
    "cu_seqlens is given and batch is 2": {"cu_seqlens": np.array([0, 3, 7])},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_refused(form, message):
    with pytest.raises((ValueError, TypeError), match=message):
        form(**{**call(), **BAD[message]})
