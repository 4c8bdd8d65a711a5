"""Serving and snapshots: dtypes, purity, and the errors of wrong calls."""

import copy

import numpy as np
import pytest
from support.caches_inputs import EXAMPLES, serve_example, serve_inputs
from support.caches_inputs import snapshots_example as snapshots_call
from support.compare import assert_close
from support.exact import cast

from ssmref.golden.caches import (
    ServeState,
    serve,
    serve_stepwise,
    snapshots,
    snapshots_blockwise,
)

FORMS = {
    "caches.serve": (serve, serve_stepwise),
    "caches.snapshots": (snapshots, snapshots_blockwise),
}
CALLS = [(f, EXAMPLES[op]) for op, forms in FORMS.items() for f in forms]
every_call = pytest.mark.parametrize(
    ("function", "example"), CALLS, ids=[f.__name__ for f, _ in CALLS]
)


def rng():
    return np.random.default_rng(8)


def leaves(value):
    parts = value if isinstance(value, tuple) else (value,)
    return [x for p in parts for x in (leaves(p) if isinstance(p, tuple) else [p])]


@every_call
@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float32, 1e-5), (np.longdouble, 1e-13)]
)
def test_each_precision_is_its_own(function, example, dtype, limit):
    call = example(rng())
    found = function(**cast(call, dtype))
    assert all(x.dtype == dtype for x in leaves(found))
    assert_close(cast(found, np.float64), function(**call), limit)


@every_call
def test_inputs_are_not_modified(function, example):
    call = example(rng())
    before = copy.deepcopy(call)
    found = function(**call)
    for name, value in before.items():
        for x, y in zip(leaves(call[name]), leaves(value), strict=True):
            np.testing.assert_array_equal(x, y)
    start = leaves(call.get("state", call.get("initial_state")))
    assert not any(np.shares_memory(x, y) for x in leaves(found) for y in start)


SERVE_WRONG = {
    r"read is \[1, 7, 0, 1\]; the state has 7 slots": {"read": np.array([1, 7, 0, 1])},
    r"write is \[0, 1, 0, 2\]; a slot may": {"write": np.array([0, 1, 0, 2])},
    "write is.*the state has 7 slots": {"write": np.array([0, 1, 9, 2])},
    r"mask has values \[0, 2\]": {"mask": np.array([[0, 2] * 4 + [0]] * 4)},
    "mask has shape": {"mask": np.ones((4, 8), int)},
    "accepted is.*within 0 and the numbers": {"accepted": np.array([0, 1, 10, 2])},
    r"accepted is \[0, -1, 0, 0\]": {"accepted": np.array([0, -1, 0, 0])},
    "read has shape": {"read": np.array([1, 2, 3])},
    "dt has shape": {"dt": np.zeros((4, 8, 6))},
    "dt_limit is": {"dt_limit": (2.0, 1.0)},
    "weight has shape": {"weight": np.zeros((41, 4))},
    "state.conv has shape.*width": {"weight": np.zeros((42, 3))},
    "bias has shape": {"bias": np.zeros(6)},
}


@pytest.mark.parametrize("function", FORMS["caches.serve"])
@pytest.mark.parametrize(("message", "wrong"), SERVE_WRONG.items(), ids=SERVE_WRONG)
def test_wrong_call_is_refused(function, message, wrong):
    call = serve_inputs(rng()) | {"read": np.array([1, -1, 0, 1])}
    with pytest.raises(ValueError, match=message):
        function(**call | wrong)


@pytest.mark.parametrize("function", FORMS["caches.serve"])
def test_channels_that_do_not_split_are_refused(function):
    call = serve_inputs(rng())
    call["xBC"], call["weight"] = call["xBC"][..., :-1], call["weight"][:-1]
    call["state"] = call["state"]._replace(conv=call["state"].conv[..., :-1])
    with pytest.raises(ValueError, match="xBC has 41 channels; it needs 12"):
        function(**call)


@pytest.mark.parametrize("function", FORMS["caches.serve"])
def test_wrong_types_are_refused(function):
    call = serve_example(rng())
    with pytest.raises(TypeError, match=r"needs to be ServeState\(conv, ssm\)"):
        function(**call | {"state": tuple(call["state"])})
    with pytest.raises(TypeError, match="mask has dtype float64"):
        function(**call | {"mask": call["mask"] * 1.0})
    single = ServeState(*(part.astype(np.float32) for part in call["state"]))
    with pytest.raises(TypeError, match=r"state\.conv has dtype float32, but"):
        function(**call | {"state": single})


SNAPSHOTS_WRONG = {
    "block is 0; it needs to be at least 1": {"block": 0},
    "position is -1": {"position": np.array([0, 4, -1, 3])},
    "position has shape": {"position": np.array([0, 4, 3])},
    "cu_seqlens is .* start at 0 and end": {"cu_seqlens": np.array([0, 7, 7, 10, 21])},
    "B has 4 groups": {"B": np.zeros((1, 22, 4, 5))},
    "initial_state has shape": {"initial_state": np.zeros((3, 6, 2, 5))},
}


@pytest.mark.parametrize("function", FORMS["caches.snapshots"])
@pytest.mark.parametrize(
    ("message", "wrong"), SNAPSHOTS_WRONG.items(), ids=SNAPSHOTS_WRONG
)
def test_wrong_snapshots_are_refused(function, message, wrong):
    with pytest.raises(ValueError, match=message):
        function(**snapshots_call(rng()) | wrong)
