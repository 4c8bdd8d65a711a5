"""The halves of blocks: forms, laws, what their wiring means, wrong calls."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import laws
from support.blocks_inputs import EXAMPLES, mlp_inputs, s4_block_inputs
from support.compare import assert_close
from support.exact import cast

from ssmref.golden import blocks, layers
from ssmref.golden.blocks import (
    mlp_block,
    mlp_block_folded,
    s4_block,
    s4_block_blelloch,
    s4_block_convolution,
    s4_block_step,
)
from ssmref.golden.gaussian import gelu
from ssmref.golden.s4d import s4d
from ssmref.models.blocks import MLPConfig, gated_mlp

FORMS = [s4_block, s4_block_convolution, s4_block_blelloch]
MLPS = [mlp_block, mlp_block_folded]


def mlp(seed=0, **sizes) -> dict[str, Any]:
    return mlp_inputs(np.random.default_rng(seed), **sizes)


def call(seed=0, **sizes) -> dict[str, Any]:
    return s4_block_inputs(np.random.default_rng(seed), **sizes)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 3),
    length=st.integers(0, 5),
    channels=st.integers(1, 6),
    inner=st.integers(1, 6),
)
def test_folded_norm_is_the_norm(seed, **sizes):
    given = mlp(seed, **sizes)
    assert_close(mlp_block_folded(**given), mlp_block(**given))


def test_mlp_is_the_models():
    """The same block from the official parameter names."""
    given = mlp()
    y, residual = mlp_block(**given)
    assert_close(residual, given["hidden"] + given["residual"], limit=0)
    normed = layers.rms_norm(residual, given["norm_weight"], eps=given["eps"])
    parameters = {"fc1.weight": given["fc1"], "fc2.weight": given["fc2"]}
    config = MLPConfig(5, 3, multiple_of=1)
    assert_close(y, gated_mlp(parameters, normed, config))


def test_mlp_known_answer():
    """One channel: the norm leaves 1, up is 2, the gate is -1: 3 2 silu(-1)."""
    one = np.ones((1, 1, 1))
    fc1, fc2 = np.array([[2.0], [-1.0]]), np.array([[3.0]])
    y, residual = mlp_block(4 * one, 5 * one, np.ones(1), fc1, fc2, eps=0.0)
    assert_close(y, -6 * one / (1 + np.e))
    assert_close(residual, 9 * one)


@pytest.mark.parametrize("form", MLPS)
def test_mlp_takes_each_token_by_itself(form):
    given = mlp()
    y, residual = form(**given)
    inputs = ["hidden", "residual"]
    for t in range(7):
        one = form(**laws.part(given, inputs, t, t + 1))
        assert_close(one, (y[:, t : t + 1], residual[:, t : t + 1]), 1e-15)


@pytest.mark.parametrize("form", MLPS)
def test_mlp_sees_the_sum_only(form):
    given = mlp()
    moved = {
        **given,
        "hidden": given["hidden"] + 0.5,
        "residual": given["residual"] - 0.5,
    }
    assert_close(form(**moved), form(**given))


@pytest.mark.parametrize("form", MLPS)
def test_residual_is_not_normalised_and_y_is_not_added(form):
    given = mlp()
    large = {n: given[n] * (1000 if n == "residual" else 1) for n in given}
    large["hidden"] = 1000 * given["hidden"]
    (y, residual), (y_large, residual_large) = form(**given), form(**large)
    assert_close(residual_large, 1000 * residual)
    assert np.max(np.abs(y_large - y)) < 0.1 * np.max(np.abs(y))  # eps alone differs


@pytest.mark.parametrize("form", MLPS)
def test_mlp_keeps_precision_and_its_arguments(form):
    laws.assert_pure(form, mlp())
    laws.assert_precisions(form, mlp())


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 33, 64])
def test_forms_agree(form, length):
    given = call(length=length)
    assert_close(form(**given), s4_block(**given))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 3),
    length=st.integers(0, 9),
    channels=st.integers(1, 3),
    state=st.integers(1, 5),
)
def test_forms_agree_at_any_size(seed, **sizes):
    given = call(seed, **sizes)
    expected = s4_block(**given)
    for form in FORMS[1:]:
        assert_close(form(**given), expected)


@pytest.mark.parametrize("form", FORMS)
def test_identity_as_output_layer_leaves_gelu_times_a_gate(form):
    """Where the gate has no weight it is the sigmoid of its bias."""
    given = call()
    given["weight"] = np.concatenate([np.eye(5), np.zeros((5, 5))])
    given["bias"] = np.repeat([0.0, 1.5], 5)
    inner = {n: v for n, v in given.items() if n not in ("weight", "bias")}
    y, state = s4d(**inner)
    assert_close(form(**given), (gelu(y) / (1 + np.exp(-1.5)), state))


def test_no_initial_state_is_zero_and_no_skip_is_none():
    given = call()
    zero = np.zeros_like(given["initial_state"])
    plain = {**given, "initial_state": None, "D": None}
    without = {**given, "initial_state": zero, "D": np.zeros_like(given["D"])}
    for form in FORMS:
        assert_close(form(**plain), form(**without), limit=0)


@pytest.mark.parametrize("at", [0, 1, 6, 7])
@pytest.mark.parametrize("form", FORMS)
def test_split_with_carried_state_is_the_whole(form, at):
    laws.assert_split(form, call(), ["u"], at)


@pytest.mark.parametrize("form", FORMS)
def test_steps_are_the_sequence(form):
    """Where the official step left out the activation, the forward pass did not."""
    laws.assert_steps(form, s4_block_step, call(), ["u"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bounds", [[0, 3, 3, 7, 8], [0, 8], [0, 0, 8, 8]])
def test_pack_is_its_sequences(form, bounds):
    given = call(batch=1, length=8, rows=len(bounds) - 1)
    laws.assert_packed(form, given, ["u"], bounds)


@pytest.mark.parametrize("form", [s4_block, s4_block_blelloch])
@pytest.mark.parametrize("at", [0, 3, 6])
def test_the_future_does_not_change_the_past(form, at):
    laws.assert_causal(form, call(), ["u"], at)


@pytest.mark.parametrize("form", FORMS)
def test_s4_block_keeps_precision_and_its_arguments(form):
    laws.assert_pure(form, call())
    laws.assert_precisions(form, call())


def test_step_does_not_modify_its_arguments():
    given = EXAMPLES["blocks.s4_block_step"](np.random.default_rng(0))
    laws.assert_pure(s4_block_step, given)
    for dtype in (np.float32, np.longdouble):
        y, state = s4_block_step(**cast(given, dtype))
        assert (y.dtype, state.dtype) == (dtype, np.result_type(dtype, 1j))


def test_padding_row_is_zero_not_its_bias():
    given = EXAMPLES["blocks.s4_block_step"](np.random.default_rng(0))
    y, state = s4_block_step(**given)
    assert given["slots"].tolist() == [4, -1, 1]
    assert not np.any(y[1])
    assert np.all(y[[0, 2]])
    untouched = [0, 2, 3, 5]
    assert np.array_equal(state[untouched], given["state"][untouched])


WRONG = [
    ("mlp_block", {"fc1": np.ones((7, 5))}, "fc1 has 7 rows; it needs 2 x 3"),
    ("mlp_block_folded", {"fc1": np.ones((7, 5))}, "fc1 has 7 rows; it needs 2 x 3"),
    ("mlp_block", {"fc2": np.ones((4, 3))}, "fc2 has shape.*channels = 5"),
    ("mlp_block", {"residual": np.ones((2, 6, 5))}, "residual has shape.*length = 7"),
    ("mlp_block", {"norm_weight": np.ones(4)}, "norm_weight has shape"),
    ("mlp_block", {"eps": -1.0}, "eps is -1.0; it needs to be at least 0"),
    ("mlp_block_folded", {"eps": -1.0}, "eps is -1.0; it needs to be at least 0"),
    ("s4_block", {"weight": np.ones((10, 4))}, "weight has shape.*channels = 5"),
    ("s4_block", {"bias": np.ones(5)}, "bias has shape.*projections = 10"),
    ("s4_block", {"cu_seqlens": np.array([0, 7]), "initial_state": None}, "batch is 2"),
    ("s4_block_step", {"slots": np.array([0, 0, 1])}, "slots is"),
    ("s4_block_step", {"state": np.ones((6, 5, 3)) + 0j}, "state has shape"),
]


def example(name):
    op = f"blocks.{name.removesuffix('_folded')}"
    return EXAMPLES[op](np.random.default_rng(0))


@pytest.mark.parametrize(("name", "wrong", "message"), WRONG)
def test_wrong_call_is_refused(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        getattr(blocks, name)(**example(name) | wrong)


@pytest.mark.parametrize("form", [*FORMS, s4_block_step])
def test_odd_output_layer_is_refused(form):
    given = example("s4_block_step" if form is s4_block_step else "s4_block")
    odd = {"weight": given["weight"][:9], "bias": given["bias"][:9]}
    with pytest.raises(ValueError, match="weight has 9 rows; it needs 2 x 5"):
        form(**given | odd)


@pytest.mark.parametrize("name", ["hidden", "fc1"])
def test_wrong_dtype_is_refused(name):
    given = mlp()
    with pytest.raises(TypeError, match="precision"):
        mlp_block(**given | {name: given[name].astype(np.float32)})
