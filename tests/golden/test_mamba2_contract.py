"""Mamba-2: dtypes, purity, cache slots, and the errors of wrong calls."""

import copy

import numpy as np
import pytest
from support.compare import assert_close, error
from support.exact import cast
from support.mamba2_inputs import (
    EXAMPLES,
    TOKENS,
    ssd_example,
    ssd_inputs,
    ssd_step_example,
)

from ssmref.golden.mamba2 import ssd, ssd_chunked, ssd_quadratic, ssd_step

OPS = {"mamba2.ssd": (ssd, ssd_quadratic, ssd_chunked), "mamba2.ssd_step": (ssd_step,)}
CALLS = [(f, EXAMPLES[op]) for op, functions in OPS.items() for f in functions]
every_call = pytest.mark.parametrize(
    ("function", "example"), CALLS, ids=[f.__name__ for f, _ in CALLS]
)


def rng():
    return np.random.default_rng(3)


@every_call
def test_longdouble_is_computed_in_longdouble(function, example):
    call = example(rng())
    y, state = function(**cast(call, np.longdouble))
    assert y.dtype == state.dtype == np.longdouble
    rounded = (y.astype(float), state.astype(float))
    assert_close(rounded, function(**call), 1e-14)
    if np.finfo(np.longdouble).eps < 1e-18:
        assert np.any(y != y.astype(float))


@every_call
def test_float32_is_close_to_float64(function, example):
    call = example(rng())
    found, expected = function(**cast(call, np.float32)), function(**call)
    for actual, exact in zip(found, expected, strict=True):
        assert actual.dtype == np.float32
        assert error(actual, exact) <= 1e-5


@every_call
def test_inputs_are_not_modified(function, example):
    call = example(rng())
    before = copy.deepcopy(call)
    _, state = function(**call)
    for name, value in before.items():
        np.testing.assert_array_equal(call[name], value)
    start = call.get("initial_state", call.get("state"))
    assert not np.shares_memory(state, start)


def test_empty_call_returns_a_copy_of_the_state():
    call = ssd_example(rng(), length=0)
    for function in OPS["mamba2.ssd"]:
        y, state = function(**call)
        assert y.shape == (2, 0, 6, 5)
        np.testing.assert_array_equal(state, call["initial_state"])
        assert state is not call["initial_state"]


def test_step_uses_the_slots_of_the_cache():
    call = ssd_step_example(np.random.default_rng(4))
    more = {k: np.concatenate([call[k], 2 * call[k][:1]]) for k in TOKENS}
    call = dict(call, **more)
    cache = rng().standard_normal((5, 6, 5, 4))
    y, state = ssd_step(**dict(call, state=cache, slots=np.array([3, -1, 0])))
    every, new = ssd_step(**dict(call, state=cache[[3, 1, 0]]))
    expected = cache.copy()
    expected[3], expected[0] = new[0], new[2]
    assert_close(state, expected, 0)
    assert_close(y[[0, 2]], every[[0, 2]], 0)
    assert np.all(y[1] == 0)


WRONG = {
    "x has shape": {"x": np.zeros((2, 7, 6))},
    r"dt has shape \(2, 7, 5\).*heads = 6 from x": {"dt": np.zeros((2, 7, 5))},
    r"A has shape \(6, 4\)": {"A": np.zeros((6, 4))},
    "B has 4 groups; their number needs to divide 6": {
        "B": np.zeros((2, 7, 4, 4)),
        "C": np.zeros((2, 7, 4, 4)),
    },
    "C has shape.*groups = 3 from B": {"C": np.zeros((2, 7, 2, 4))},
    r"D has shape \(5,\); it needs \(heads\) or \(heads, headdim\)": {"D": np.zeros(5)},
    "z has shape": {"z": np.zeros((2, 7, 6, 4))},
    "dt_bias has shape": {"dt_bias": np.zeros((2, 6))},
    "initial_state has shape.*sequences = 2 from x": {
        "initial_state": np.zeros((3, 6, 5, 4))
    },
    r"dt_limit is \(2.0, 1.0\)": {"dt_limit": (2.0, 1.0)},
    r"dt_limit is \(0.0, nan\)": {"dt_limit": (0.0, np.nan)},
    "cu_seqlens is given and batch is 2": {"cu_seqlens": np.array([0, 7])},
}


@pytest.mark.parametrize("function", OPS["mamba2.ssd"])
@pytest.mark.parametrize(("message", "wrong"), WRONG.items(), ids=WRONG)
def test_wrong_value_is_refused(function, message, wrong):
    with pytest.raises(ValueError, match=message):
        function(**ssd_inputs(rng()) | wrong)


@pytest.mark.parametrize("function", OPS["mamba2.ssd"])
@pytest.mark.parametrize(
    ("message", "wrong"),
    {
        "x has dtype int64": {"x": np.zeros((2, 7, 6, 5), int)},
        "B has dtype complex128": {"B": np.zeros((2, 7, 3, 4), complex)},
        "A has dtype float32, but x has precision": {"A": np.zeros(6, np.float32)},
        "D is a float; it needs to be a NumPy array": {"D": 1.0},
    }.items(),
)
def test_wrong_type_is_refused(function, message, wrong):
    with pytest.raises(TypeError, match=message):
        function(**ssd_inputs(rng()) | wrong)


@pytest.mark.parametrize("function", OPS["mamba2.ssd"])
@pytest.mark.parametrize(
    ("message", "bounds"),
    {
        r"start at 0 and end at the length 7": [0, 3, 6],
        r"cu_seqlens is \[1, 7\]": [1, 7],
        "must not decrease": [0, 5, 3, 7],
    }.items(),
)
def test_wrong_bounds_are_refused(function, message, bounds):
    with pytest.raises(ValueError, match=message):
        function(**ssd_inputs(rng(), batch=1), cu_seqlens=np.array(bounds))


def test_states_of_a_pack_are_counted_by_its_sequences():
    call = dict(ssd_inputs(rng(), batch=1), initial_state=np.zeros((1, 6, 5, 4)))
    with pytest.raises(ValueError, match="sequences = 2 from cu_seqlens"):
        ssd(**call, cu_seqlens=np.array([0, 3, 7]))


def test_chunk_size_below_one_is_refused():
    with pytest.raises(ValueError, match="chunk_size is 0"):
        ssd_chunked(**ssd_inputs(rng()), chunk_size=0)


STEP_WRONG = {
    "x has shape": {"x": np.zeros((2, 6))},
    "B has 4 groups": {"B": np.zeros((2, 4, 4)), "C": np.zeros((2, 4, 4))},
    "state has shape.*slots = 2 from x": {"state": np.zeros((3, 6, 5, 4))},
    "a slot may occur only once": {"slots": np.array([1, 1])},
    "the state has 2 slots": {"slots": np.array([0, 2])},
    r"slots has shape \(3,\)": {"slots": np.array([0, 1, -1])},
    r"dt_limit is \(1.0, 0.0\)": {"dt_limit": (1.0, 0.0)},
}


@pytest.mark.parametrize(("message", "wrong"), STEP_WRONG.items(), ids=STEP_WRONG)
def test_wrong_step_is_refused(message, wrong):
    with pytest.raises(ValueError, match=message):
        ssd_step(**ssd_step_example(rng()) | wrong)
