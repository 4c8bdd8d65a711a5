"""The short causal convolution: all at once, by spectra, and token by token."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compare import assert_close
from support.exact import cast
from support.layers_inputs import EXAMPLES, conv_inputs

from ssmref.golden import layers
from ssmref.golden.layers import (
    causal_conv1d,
    causal_conv1d_fft,
    causal_conv1d_step,
    causal_conv1d_step_circular,
)

FORMS = {"direct": causal_conv1d, "fft": causal_conv1d_fft}
STEPS = ("causal_conv1d_step", "causal_conv1d_step_circular")
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def rng():
    return np.random.default_rng(5)


def options(call):
    return {name: call[name] for name in ("weight", "bias", "activation")}


def around(linear, position):
    """Return the circular buffer with the contents of a linear one."""
    circular, window = np.empty_like(linear), linear.shape[1]
    for row, count in enumerate(position):
        circular[row, np.arange(count - window, count) % window] = linear[row]
    return circular


def test_known_answer():
    row = {"x": [1, 2, 3, 4], "initial_state": [-1, 0, 1]}
    call = {name: np.array(x, float).reshape(1, -1, 1) for name, x in row.items()}
    weight, bias = np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([0.5])
    expected = [0.825286116155, 1.54466808318, 2.42024010711, 3.39740719237]
    y, state = causal_conv1d(**call, weight=weight, bias=bias, activation="silu")
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-11)
    assert state.ravel().tolist() == [2, 3, 4]


def test_last_tap_meets_the_current_input():
    x, weight = np.zeros((1, 6, 1)), np.array([[1.0, 2.0, 3.0]])
    x[0, 2] = 1
    assert causal_conv1d(x, weight)[0].ravel().tolist() == [0, 0, 3, 2, 1, 0]


def test_state_is_the_last_raw_inputs_with_zeros_on_the_left():
    call = conv_inputs(rng(), length=2, state=False)
    _, state = causal_conv1d(**call)
    assert_close(state[:, 1:], call["x"], 0.0)
    assert_close(state[:, :1], np.zeros((2, 1, 5)), 0.0)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 31])
@pytest.mark.parametrize("state", [True, False])
def test_forms_agree(length, width, state):
    call = conv_inputs(rng(), length=length, width=width, state=state)
    assert_close(causal_conv1d_fft(**call), causal_conv1d(**call))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 5),
    extra=st.integers(0, 3),
    sizes=st.lists(st.integers(1, 4), max_size=6),
    start=st.integers(0, 12),
)
def test_steps_of_several_tokens_are_the_whole(seed, width, extra, sizes, start):
    """Linear and circular buffer, any window, any number of tokens at a time."""
    random, length = np.random.default_rng(seed), sum(sizes)
    call = conv_inputs(random, length=length, width=width)
    window = max(width - 1 + extra, 1)
    linear = random.standard_normal((2, window, 5))
    call["initial_state"] = linear[:, window - (width - 1) :]
    position = start + np.array([0, 7])
    circular, outputs = around(linear, position), [np.zeros((2, 2, 0, 5))]
    for first, last in pairwise([0, *np.cumsum(sizes)]):
        x = call["x"][:, first:last]
        y, linear = causal_conv1d_step(x, state=linear, **options(call))
        y_circular, circular = causal_conv1d_step_circular(
            x, state=circular, position=position + first, **options(call)
        )
        outputs.append(np.stack([y, y_circular]))
    expected, final = causal_conv1d(**call)
    for found in np.concatenate(outputs, axis=2):
        assert_close(found, expected)
    assert_close(circular, around(linear, position + length), 0.0)
    assert_close(linear[:, window - (width - 1) :], final, 0.0)


def test_one_token_may_come_without_a_time_axis():
    call = conv_inputs(rng(), length=1)
    state, position = call["initial_state"], np.array([3, 4])
    x = call["x"][:, 0]
    y, final = causal_conv1d(**call)
    assert_close(causal_conv1d_step(x, state=state, **options(call)), (y[:, 0], final))
    circular = causal_conv1d_step_circular(
        x, state=around(state, position), position=position, **options(call)
    )
    assert_close(circular, (y[:, 0], around(final, position + 1)))


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("slots", [[4, -1, 1], [-1, -1, -1], [0, 1, 2]])
def test_slots_are_rows_of_the_cache_and_negative_ones_padding(name, slots):
    step, call = getattr(layers, name), EXAMPLES[f"layers.{name}"](rng())
    call["slots"] = np.array(slots)
    y, state = step(**call)
    for row, slot in enumerate(slots):
        one = {**call, "x": call["x"][row : row + 1], "slots": None}
        one["state"] = call["state"][slot : slot + 1]
        if "position" in call:
            one["position"] = call["position"][row : row + 1]
        if slot < 0:
            assert not np.any(y[row])
        else:
            expected = step(**one)
            assert_close((y[row], state[slot]), tuple(part[0] for part in expected))
    others = [s for s in range(5) if s not in slots]
    assert_close(state[others], call["state"][others], 0.0)


@each_form
@pytest.mark.parametrize("split", [0, 1, 2, 6, 7])
def test_split_with_carried_state_is_whole(form, split):
    call = conv_inputs(rng())
    first, state = form(**{**call, "x": call["x"][:, :split]})
    rest = {**call, "x": call["x"][:, split:], "initial_state": state}
    second, state = form(**rest)
    assert_close((np.concatenate([first, second], axis=1), state), form(**call))


@each_form
@pytest.mark.parametrize("bounds", [[0, 7], [0, 3, 3, 7], [0, 0, 1, 5, 7, 7]])
@pytest.mark.parametrize("with_states", [True, False])
def test_pack_is_separate_sequences(form, bounds, with_states):
    call = conv_inputs(rng(), batch=1, state=False)
    states = rng().standard_normal((len(bounds) - 1, 3, 5)) * with_states
    given = states if with_states else None
    y, final = form(**call, initial_state=given, cu_seqlens=np.array(bounds))
    for i, (start, stop) in enumerate(pairwise(bounds)):
        one = {**call, "x": call["x"][:, start:stop]}
        expected = form(**one, initial_state=states[i : i + 1])
        assert_close((y[:, start:stop], final[i : i + 1]), expected)


def test_output_is_causal():
    call = conv_inputs(rng())
    before, _ = causal_conv1d(**call)
    later = call["x"].copy()
    later[:, 4:] += 1
    after, _ = causal_conv1d(**{**call, "x": later})
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert np.all(after[:, 4:] != before[:, 4:])


def test_linear_without_activation():
    call, other = conv_inputs(rng()), conv_inputs(np.random.default_rng(6))
    call |= {"activation": None, "bias": None}
    mixed = {n: 2 * call[n] - other[n] for n in ("x", "initial_state")}
    parts = [
        causal_conv1d(**{**call, **{n: c[n] for n in mixed}}) for c in (call, other)
    ]
    expected = tuple(2 * a - b for a, b in zip(*parts, strict=True))
    assert_close(causal_conv1d(**{**call, **mixed}), expected)


def test_channels_are_independent():
    call = conv_inputs(rng())
    one = {**call, "x": call["x"][..., 2:3], "weight": call["weight"][2:3]}
    one |= {"bias": call["bias"][2:3], "initial_state": call["initial_state"][..., 2:3]}
    y, state = causal_conv1d(**call)
    assert_close(causal_conv1d(**one), (y[..., 2:3], state[..., 2:3]), 1e-14)


CONVOLUTIONS = [causal_conv1d, causal_conv1d_fft]
CONVOLUTIONS += [getattr(layers, name) for name in STEPS]


@pytest.mark.parametrize("function", CONVOLUTIONS)
@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float32, 1e-5), (np.longdouble, 1e-14)]
)
def test_precision_is_that_of_the_arguments(function, dtype, limit):
    name = function.__name__.removesuffix("_fft")
    call, same = (EXAMPLES[f"layers.{name}"](rng()) for _ in range(2))
    found = function(**cast(call, dtype))
    assert {part.dtype for part in found} == {np.dtype(dtype)}
    assert_close(cast(found, np.float64), function(**call), limit)
    for argument, value in call.items():
        np.testing.assert_array_equal(value, same[argument])


CALL = conv_inputs(rng())
STEP = {**options(CALL), "x": CALL["x"][:, 0]}


@each_form
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": CALL["weight"][:4]}, r"weight has shape \(4, 4\).*channels = 5"),
        ({"bias": np.ones(4)}, r"bias has shape \(4,\).*channels = 5 from x"),
        (
            {"initial_state": np.ones((2, 4, 5))},
            r"initial_state has shape \(2, 4, 5\); .*width-1.*width = 4 from weight",
        ),
        ({"initial_state": np.ones((3, 3, 5))}, "sequences = 2 from x"),
        ({"activation": "relu"}, "activation is 'relu'; .*silu"),
        ({"weight": np.ones((5, 0)), "initial_state": None}, "width of weight is 0"),
        ({"cu_seqlens": np.array([0, 2, 7])}, "batch is 2; packed .* batch 1"),
    ],
)
def test_wrong_values_are_refused(form, changes, message):
    with pytest.raises(ValueError, match=message):
        form(**{**CALL, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": np.ones((2, 2, 5))}, "window of state is 2; .* at least 3"),
        ({"state": np.ones((3, 3, 5))}, r"state has shape \(3, 3, 5\).*slots = 2"),
        ({"state": np.ones((2, 3, 4))}, r"state has shape \(2, 3, 4\).*channels = 5"),
        ({"weight": np.ones((5, 0))}, "width of weight is 0"),
        ({"activation": "gelu"}, "activation is 'gelu'"),
    ],
)
def test_wrong_values_of_a_step_are_refused(changes, message):
    call = {**STEP, "state": np.ones((2, 3, 5)), **changes}
    with pytest.raises(ValueError, match=message):
        causal_conv1d_step(**call)
    with pytest.raises(ValueError, match=message):
        causal_conv1d_step_circular(**call, position=np.array([0, 0]))


def test_negative_position_is_refused():
    with pytest.raises(ValueError, match=r"position is -1; .* at least 0"):
        causal_conv1d_step_circular(
            **STEP, state=np.ones((2, 3, 5)), position=np.array([-1, 0])
        )


def test_other_precision_is_refused():
    with pytest.raises(TypeError, match="weight has dtype float32, but x has"):
        causal_conv1d(CALL["x"], CALL["weight"].astype(np.float32))
