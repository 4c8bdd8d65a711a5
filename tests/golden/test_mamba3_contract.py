"""Mamba-3: dtypes, purity, cache slots, and the errors of wrong calls."""

import copy
from typing import Any

import numpy as np
import pytest
from support.compare import assert_close, error
from support.exact import cast
from support.mamba3_inputs import (
    EXAMPLES,
    TOKENS,
    comparable,
    initial_state,
    mimo_example,
    mimo_inputs,
    siso_example,
    siso_inputs,
    step_of,
)

from ssmref.golden import mamba3
from ssmref.golden.mamba3 import Mamba3State

SUFFIXES = ("", "_chunked", "_rotating")
SEQUENCES = [op + suffix for op in ("siso", "mimo") for suffix in SUFFIXES]
every_sequence = pytest.mark.parametrize("name", SEQUENCES)
every_call = pytest.mark.parametrize("name", [*SEQUENCES, "siso_step", "mimo_step"])
every_step = pytest.mark.parametrize("op", ["siso", "mimo"])


def rng():
    return np.random.default_rng(13)


def run_of(name: str) -> tuple[Any, dict[str, Any]]:
    """Return a function of the module and a call with every optional argument."""
    op = name if name.endswith("step") else name.split("_")[0]
    return getattr(mamba3, name), EXAMPLES[f"mamba3.{op}"](rng())


def plain_call(name: str, **sizes: int) -> dict[str, Any]:
    inputs = siso_inputs if name.startswith("siso") else mimo_inputs
    return inputs(rng(), **sizes)


def arrays(value: Any):
    return value if isinstance(value, tuple) else (value,)


@every_call
def test_longdouble_is_computed_in_longdouble(name):
    function, call = run_of(name)
    found = comparable(function(**cast(call, np.longdouble)))
    assert all(v.dtype == np.longdouble for v in found)
    rounded = tuple(v.astype(float) for v in found)
    assert_close(rounded, comparable(function(**call)), 1e-13)
    if np.finfo(np.longdouble).eps < 1e-18:
        assert all(np.any(v != r) for v, r in zip(found[:5], rounded, strict=False))


@every_call
def test_float32_is_close_to_float64(name):
    function, call = run_of(name)
    found = comparable(function(**cast(call, np.float32)))
    expected = comparable(function(**cast(cast(call, np.float32), np.float64)))
    for actual, exact in zip(found, expected, strict=True):
        assert actual.dtype == np.float32
        assert error(actual, exact) <= 1e-5


@every_call
def test_inputs_are_not_modified(name):
    function, call = run_of(name)
    before = copy.deepcopy(call)
    _, state = function(**call)
    for argument, value in before.items():
        for old, now in zip(arrays(value), arrays(call[argument]), strict=True):
            np.testing.assert_array_equal(now, old)
    given = [v for value in call.values() for v in arrays(value)]
    given = [v for v in given if isinstance(v, np.ndarray)]
    assert not any(np.shares_memory(s, v) for s in state for v in given)


@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_empty_call_returns_a_copy_of_the_state(op):
    example = {"siso": siso_example, "mimo": mimo_example}[op]
    call = example(rng(), length=0)
    y, state = getattr(mamba3, op)(**call)
    assert y.shape == (2, 0, 6, 5)
    for found, start in zip(state, call["initial_state"], strict=True):
        np.testing.assert_array_equal(found, start)
        assert not np.shares_memory(found, start)


@every_sequence
def test_no_initial_state_is_zeros(name):
    call = plain_call(name)
    function = getattr(mamba3, name)
    ranks = 1 if name.startswith("siso") else 4
    start = initial_state(rng(), call, ranks)
    zeros = Mamba3State(*(np.zeros_like(v) for v in start))
    found, expected = function(**call), function(**dict(call, initial_state=zeros))
    assert_close(comparable(found), comparable(expected), 0)


@every_step
def test_step_uses_the_slots_of_the_cache(op):
    step, call = run_of(f"{op}_step")
    more = {k: np.concatenate([call[k], 2 * call[k][:1]]) for k in TOKENS}
    whole = {"siso": siso_example, "mimo": mimo_example}[op](rng(), batch=5)
    cache = whole["initial_state"]
    call = dict(call, **more)
    y, state = step(**dict(call, state=cache, slots=np.array([3, -1, 0])))
    used = Mamba3State(*(v[[3, 1, 0]] for v in cache))
    y_every, new = step(**dict(call, state=used))
    for found, old, fresh in zip(state, cache, new, strict=True):
        expected = old.copy()
        expected[3], expected[0] = fresh[0], fresh[2]
        assert_close(found, expected, 0)
    assert_close(y[[0, 2]], y_every[[0, 2]], 0)
    assert np.all(y[1] == 0)


WRONG = {
    "x has shape": {"x": np.zeros((2, 7, 6))},
    r"dt has shape \(2, 7, 5\).*heads = 6 from x": {"dt": np.zeros((2, 7, 5))},
    r"A has shape \(6,\)": {"A": np.zeros(6)},
    r"trap has shape \(2, 6, 7\)": {"trap": np.zeros((2, 6, 7))},
    r"angles has shape \(2, 7, 8\)": {"angles": np.zeros((2, 7, 8))},
    "10 angles for a state of 18": {"angles": np.zeros((2, 7, 6, 10))},
    r"D has shape \(6, 5\)": {"D": np.zeros((6, 5))},
    "z has shape": {"z": np.zeros((2, 7, 6, 4))},
    r"norm_weight has shape \(5,\)": {"norm_weight": np.zeros(5)},
    "norm_weight has shape": {"norm_weight": np.zeros((5, 6))},
    "eps is -1": {"norm_weight": np.ones((6, 5)), "norm_eps": -1.0},
    "pairing is 'interleaved'": {"pairing": "interleaved"},
    "cu_seqlens is given and batch is 2": {"cu_seqlens": np.array([0, 7])},
}


@every_sequence
@pytest.mark.parametrize(("message", "wrong"), WRONG.items(), ids=WRONG)
def test_wrong_value_is_refused(name, message, wrong):
    with pytest.raises(ValueError, match=message):
        getattr(mamba3, name)(**dict(plain_call(name), **wrong))


@every_sequence
def test_groups_have_to_divide_the_heads(name):
    call = plain_call(name, groups=4)
    with pytest.raises(ValueError, match=r"B has 4 groups; .* needs to divide 6"):
        getattr(mamba3, name)(**call)


@every_sequence
def test_odd_state_is_refused(name):
    with pytest.raises(ValueError, match="a state of 17; the state needs to be even"):
        getattr(mamba3, name)(**plain_call(name, state=17))


@every_sequence
@pytest.mark.parametrize("field", Mamba3State._fields)
def test_wrong_part_of_the_state_is_refused(name, field):
    function, call = run_of(name)
    state = call["initial_state"]
    wrong = state._replace(**{field: getattr(state, field)[..., :-1]})
    with pytest.raises(ValueError, match=rf"initial_state\.{field} has shape"):
        function(**dict(call, initial_state=wrong))


@every_sequence
def test_states_of_a_pack_are_counted_by_its_sequences(name):
    call = plain_call(name, batch=1)
    start = initial_state(rng(), call, 1 if name.startswith("siso") else 4)
    packed = dict(call, initial_state=start, cu_seqlens=np.array([0, 3, 7]))
    with pytest.raises(ValueError, match=r"angle has shape.*rows = 2 from cu_seqlens"):
        getattr(mamba3, name)(**packed)


@every_sequence
@pytest.mark.parametrize("bounds", [[0, 3, 6], [1, 7], [0, 5, 3, 7]])
def test_wrong_bounds_are_refused(name, bounds):
    call = dict(plain_call(name, batch=1), cu_seqlens=np.array(bounds))
    with pytest.raises(ValueError, match="cu_seqlens is"):
        getattr(mamba3, name)(**call)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_siso_refuses_a_state_of_several_ranks(suffix):
    call = siso_inputs(rng())
    start = initial_state(rng(), call, 4)
    with pytest.raises(ValueError, match="k of the state has 4 ranks; it needs one"):
        getattr(mamba3, "siso" + suffix)(**call, initial_state=start)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("argument", ["mimo_x", "mimo_z", "mimo_o"])
def test_wrong_projection_is_refused(suffix, argument):
    wrong: dict[str, Any] = {argument: np.ones((4, 6, 5))}
    with pytest.raises(ValueError, match=rf"{argument} has shape \(4, 6, 5\)"):
        getattr(mamba3, "mimo" + suffix)(**dict(mimo_inputs(rng()), **wrong))


@every_sequence
@pytest.mark.parametrize(
    ("message", "wrong"),
    {
        "x has dtype int64": {"x": np.zeros((2, 7, 6, 5), int)},
        "trap has dtype complex128": {"trap": np.zeros((2, 7, 6), complex)},
        "A has dtype float32, but x has precision": {
            "A": np.zeros((2, 7, 6), np.float32)
        },
        r"initial_state is a ndarray; it needs to be Mamba3State\(angle, ssm, k, v\)": {
            "initial_state": np.zeros((2, 6, 5, 18))
        },
    }.items(),
)
def test_wrong_type_is_refused(name, message, wrong):
    with pytest.raises(TypeError, match=message):
        getattr(mamba3, name)(**dict(plain_call(name), **wrong))


@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_chunk_size_below_one_is_refused(op):
    call = dict(plain_call(op), chunk_size=0)
    with pytest.raises(ValueError, match="chunk_size is 0"):
        getattr(mamba3, f"{op}_chunked")(**call)


STEP_WRONG = {
    "x has shape": {"x": np.zeros((2, 6))},
    "state.angle has shape.*angles = 3 from angles": {"angles": np.zeros((2, 6, 3))},
    "a slot may occur only once": {"slots": np.array([1, 1])},
    "the state has 2 slots": {"slots": np.array([0, 2])},
    r"slots has shape \(3,\)": {"slots": np.array([0, 1, -1])},
    "pairing is 'both'": {"pairing": "both"},
}


@every_step
@pytest.mark.parametrize(("message", "wrong"), STEP_WRONG.items(), ids=STEP_WRONG)
def test_wrong_step_is_refused(op, message, wrong):
    step, call = run_of(f"{op}_step")
    with pytest.raises(ValueError, match=message):
        step(**dict(call, **wrong))


@every_step
def test_step_without_slots_needs_one_row_per_batch_row(op):
    step, call = run_of(f"{op}_step")
    example = {"siso": siso_example, "mimo": mimo_example}[op]
    cache = step_of(example(rng(), batch=3))["state"]
    with pytest.raises(ValueError, match=r"state.angle has shape.*rows = 2 from x"):
        step(**dict(call, state=cache))
