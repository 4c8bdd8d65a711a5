"""What the fast paths share with golden in arguments: the same errors, word by word."""

import functools
import gc
import inspect
import operator
import re
import weakref
from collections import namedtuple
from collections.abc import Callable
from importlib import import_module
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmref.contract import Library, calls
from ssmref.golden import _contract

Call = dict[str, Any]
CHECKED = {
    "golden": _contract.checked,
    "cpu": Library("NumPy", lambda: np.ndarray).checked,
}


class Other(NamedTuple):
    """A state of another model."""

    ssm: np.ndarray
    k: np.ndarray


def scan(x, B, *, D=None, initial_state=None, cu_seqlens=None):
    return x, B, D, initial_state, cu_seqlens


def step(x, B, state, *, D=None, slots=None):
    return x, B, state, D, slots


def pieces(a, b=None):
    return a, b


def taps(weight, past, future=None):
    return weight, past, future


def spectrum(c, matrix):
    return c, matrix


def serve(x, pool, flag=True):
    return x, pool, flag


def pack(x, cu_seqlens, position, *, state=None):
    return x, cu_seqlens, position, state


PAIR = {"ssm": "Real rows heads state", "last": "Real rows heads"}
TOYS: dict[Callable, dict[str, str]] = {
    scan: {
        "x": "Real batch length heads",
        "B": "Number heads state | Number batch length heads state",
        "D": "Real heads | None",
        "initial_state": "Pair | None",
        "cu_seqlens": "Integer bounds | None",
    },
    step: {
        "x": "Real batch heads | Real batch length heads",
        "B": "Real batch heads state",
        "state": "Pair",
        "D": "Real heads | None",
        "slots": "Integer batch | None",
    },
    pieces: {"a": "Number batch *rest", "b": "Number batch *rest | None"},
    taps: {
        "weight": "Real width",
        "past": "Real width-1 3",
        "future": "Real width+1 width-1 | None",
    },
    spectrum: {"c": "Complex *batch state", "matrix": "Number *batch state state"},
    serve: {"x": "Real batch channels", "pool": "Real slots channels"},
    pack: {
        "x": "Real batch length",
        "cu_seqlens": "Integer bounds",
        "position": "Integer sequences",
        "state": "Real rows | None",
    },
}


def typed(package: str, function: Callable) -> tuple[Callable, type]:
    """Return a toy with the annotations and the check of a package, and its Pair."""
    types = import_module(f"ssmref.{package}._types")

    def one(option: str) -> Any:
        kind, _, words = option.partition(" ")
        if kind in ("None", "Pair"):
            return {"None": None, "Pair": pair}[kind]
        return getattr(types, kind)[np.ndarray, words]

    pair = namedtuple("Pair", PAIR)
    pair.__annotations__ = {field: one(text) for field, text in PAIR.items()}
    copy = FunctionType(function.__code__, globals(), function.__name__)
    copy.__defaults__ = function.__defaults__
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = {
        name: functools.reduce(operator.or_, map(one, text.split(" | ")))
        for name, text in TOYS[function].items()
    }
    return CHECKED[package](copy), pair


TYPED = {p: {toy.__name__: typed(p, toy) for toy in TOYS} for p in ("golden", "cpu")}
GOLDEN, CPU = ({n: f for n, (f, _) in own.items()} for own in TYPED.values())
# Golden's states: it knows no others, while here their fields are enough.
PAIRS = {name: pair for name, (_, pair) in TYPED["golden"].items()}


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def valid(name: str) -> Call:
    """Return a call that is accepted, with every optional argument."""
    pair = PAIRS[name]
    return {
        "scan": {
            "x": random(1, 7, 3),
            "B": random(1, 7, 3, 4),
            "D": random(3),
            "initial_state": pair(random(2, 3, 4), random(2, 3)),
            "cu_seqlens": np.array([0, 2, 7]),
        },
        "step": {
            "x": random(2, 3),
            "B": random(2, 3, 4),
            "state": pair(random(5, 3, 4), random(5, 3)),
            "D": random(3),
            "slots": np.array([3, -1], np.int32),
        },
        "pieces": {"a": random(2, 3, 4), "b": random(2, 3, 4) + 0j},
        "taps": {"weight": random(4), "past": random(3, 3), "future": random(5, 3)},
        "spectrum": {"c": random(2, 3) + 0j, "matrix": random(2, 3, 3)},
        "serve": {"x": random(2, 3), "pool": random(6, 3)},
        "pack": {
            "x": random(1, 7),
            "cu_seqlens": np.array([0, 3, 7]),
            "position": np.array([4, 0]),
            "state": random(2),
        },
    }[name]


def outcome(function: Callable, call: Call) -> tuple[type, str] | None:
    """Return the type and message of the error, None where there is none."""
    try:
        function(**call)
    except Exception as error:
        # Golden knows longer floats.
        return type(error), re.sub(r"(needs one of: ).*", r"\1dtypes", str(error))
    return None


def assert_like_golden(name: str, call: Call) -> tuple[type, str] | None:
    """Both accept the call or refuse it in the same words, at each attempt."""
    __tracebackhide__ = True
    expected = outcome(GOLDEN[name], call)
    assert outcome(CPU[name], call) == expected
    assert outcome(CPU[name], call) == expected, "remembered"
    return expected


@pytest.mark.parametrize("name", CPU)
def test_valid_calls_reach_the_function(name):
    call = valid(name)
    values = CPU[name](**call)
    assert all(map(operator.is_, values, call.values()))
    assert len(values) >= len(call)
    assert assert_like_golden(name, call) is None


def changed(array: np.ndarray) -> dict[str, Any]:
    """Return what may stand in the place of an array, by what is done to it."""
    return {
        "None": None,
        "a list": array.tolist(),
        "a number": array.dtype.type(0),
        "int64": np.zeros(array.shape, np.int64),
        "bool": np.zeros(array.shape, bool),
        "float16": np.zeros(array.shape, np.float16),
        "float32": np.zeros(array.shape, np.float32),
        "complex64": np.zeros(array.shape, np.complex64),
        "complex128": np.zeros(array.shape, np.complex128),
        "object": np.zeros(array.shape, object),
        "extra axis": array[None],
        "no axes": np.zeros((), array.dtype),
        "dropped axis": np.zeros(array.shape[1:], array.dtype),
        "reversed axes": array.T,
        **{
            f"axis {i} by {by}": np.zeros(
                [n + by * (i == j) for j, n in enumerate(array.shape)], array.dtype
            )
            for i in range(array.ndim)
            for by in (1, -1)
        },
        "empty": np.zeros([0] * array.ndim, array.dtype),
    }


def replaced(name: str) -> dict[str, Call]:
    """Return calls with one array, or one part of a state, in another way."""
    call, found = valid(name), {}
    for argument, value in call.items():
        if isinstance(value, tuple):
            for field, part in value._asdict().items():  # type: ignore[attr-defined]
                for what, new in changed(part).items():
                    state = value._replace(**{field: new})  # type: ignore[attr-defined]
                    found[f"{argument}.{field} {what}"] = {**call, argument: state}
            states = {"tuple": tuple(value), "array": value[0], "other": Other(*value)}
            for what, state in {**states, "None": None}.items():
                found[f"{argument} {what}"] = {**call, argument: state}
            continue
        for what, new in changed(value).items():
            found[f"{argument} {what}"] = {**call, argument: new}
    return found


REPLACED = [(name, what) for name in CPU for what in replaced(name)]


@pytest.mark.parametrize(("name", "what"), REPLACED)
def test_one_wrong_argument_is_refused_like_golden_does(name, what):
    assert_like_golden(name, replaced(name)[what])


def test_most_replaced_calls_are_wrong():
    refused = [outcome(CPU[name], replaced(name)[what]) for name, what in REPLACED]
    assert sum(r is not None for r in refused) > 0.8 * len(refused) > 200
    assert {r[0] for r in refused if r} == {TypeError, ValueError}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_several_wrong_arguments_are_refused_like_golden_does(data):
    name = data.draw(st.sampled_from(sorted(CPU)))
    call = valid(name)
    for _ in range(data.draw(st.integers(0, 3))):
        wrong = data.draw(st.sampled_from(sorted(replaced(name).items())))[1]
        different = [n for n in call if wrong[n] is not valid(name)[n]]
        argument = data.draw(st.sampled_from(different))
        call[argument] = wrong[argument]
    for argument in data.draw(st.sets(st.sampled_from(sorted(call)), max_size=2)):
        del call[argument]
    if data.draw(st.integers(0, 9)) == 0:
        call["unknown"] = 1
    assert_like_golden(name, call)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_shapes_are_judged_like_golden_does(data):
    """Axes of one or two make many of the contradictions invisible: many calls run."""
    name = data.draw(st.sampled_from(sorted(CPU)))
    shapes = st.lists(st.integers(0, 2) | st.just(1), max_size=4)

    def resized(value: Any) -> Any:
        if isinstance(value, tuple):
            return type(value)(*map(resized, value))
        if value.ndim == 1 and data.draw(st.booleans()):
            return np.array(data.draw(st.lists(st.integers(-1, 3), max_size=3)), int)
        keep = data.draw(st.booleans())
        shape = [1] * value.ndim if keep else data.draw(shapes)
        return np.zeros(shape, value.dtype)

    assert_like_golden(name, {n: resized(v) for n, v in valid(name).items()})


INTEGERS = st.lists(st.integers(-2, 9), max_size=5)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values=INTEGERS | INTEGERS.map(lambda v: [0, *sorted(map(abs, v)), 7]))
def test_values_of_bounds_are_judged_like_golden_does(values):
    cu_seqlens = np.array(values, np.int64)
    scanned = {**valid("scan"), "initial_state": None, "cu_seqlens": cu_seqlens}
    assert_like_golden("scan", scanned)
    position = np.zeros(max(len(values) - 1, 0), int)
    packed = {"x": random(1, 7), "cu_seqlens": cu_seqlens, "position": position}
    assert_like_golden("pack", packed)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values=st.lists(st.integers(-3, 6), min_size=2, max_size=2))
def test_values_of_slots_are_judged_like_golden_does(values):
    assert_like_golden("step", {**valid("step"), "slots": np.array(values)})


@pytest.mark.parametrize("dtype", [np.longdouble, np.dtype(float).newbyteorder()])
def test_what_kernels_lack_is_golden_s_alone(dtype):
    """Longer floats, and those in the byte order of other machines."""
    call = {"a": random(2, 3).astype(dtype)}
    assert outcome(GOLDEN["pieces"], call) is None
    needed = "one of: complex128, complex64, float32, float64"
    with pytest.raises(TypeError, match=rf"a has dtype .*; it needs {needed}$"):
        CPU["pieces"](**call)


def test_states_of_any_implementation_are_taken():
    """What counts are the fields: golden and the suite hand in states of their own."""
    own = TYPED["cpu"]["step"][1]
    call = valid("step")
    assert not isinstance(call["state"], own)
    for state in (call["state"], own(*call["state"])):
        assert CPU["step"](**{**call, "state": state})[2] is state
    swapped = namedtuple("Pair", ["last", "ssm"])(*call["state"])
    with pytest.raises(TypeError, match=r"state is a Pair; .* be Pair\(ssm, last\)"):
        CPU["step"](**{**call, "state": swapped})


def test_what_was_accepted_is_not_checked_again(monkeypatch):
    function, _ = typed("cpu", scan)
    seen = []
    check = calls.Contract.check
    monkeypatch.setattr(calls.Contract, "check", lambda *a: seen.append(1) or check(*a))
    for _ in range(3):
        function(**valid("scan"))
        function(*[valid("scan")[n] for n in "xB"], **_rest(valid("scan")))
    assert len(seen) == 2  # by name and by position
    for _ in range(3):
        with pytest.raises(TypeError, match="D has dtype int64"):
            function(**{**valid("scan"), "D": np.zeros(3, int)})
    assert len(seen) == 5  # what was refused is not remembered


def _rest(call: Call) -> Call:
    return {name: value for name, value in call.items() if name not in ("x", "B")}


@pytest.mark.parametrize("by_position", [False, True])
def test_later_bounds_are_looked_at(by_position):
    call = {
        "x": random(1, 7),
        "cu_seqlens": np.array([0, 3, 7]),
        "position": np.ones(2, int),
    }
    run = CPU["pack"]
    for _ in range(2):
        run(*call.values()) if by_position else run(**call)
    call["cu_seqlens"][1] = 8  # the same array
    with pytest.raises(ValueError, match=r"cu_seqlens is \[0, 8, 7\]; it must not dec"):
        run(*call.values()) if by_position else run(**call)
    call["cu_seqlens"] = np.array([0, 3, 6])
    with pytest.raises(ValueError, match=r"cu_seqlens is \[0, 3, 6\]; .* length 7"):
        run(*call.values()) if by_position else run(**call)


def test_later_slots_are_looked_at():
    call = valid("step")
    for _ in range(2):
        CPU["step"](**call)
    call["slots"][:] = 5, 0
    with pytest.raises(ValueError, match=r"slots is \[5, 0\]; the state has 5 slots"):
        CPU["step"](**call)
    with pytest.raises(ValueError, match=r"slots is \[2, 2\]; a slot may occur only"):
        CPU["step"](**{**call, "slots": np.array([2, 2], np.int32)})


def remembered(function: Callable) -> dict:
    return inspect.getclosurevars(function).nonlocals["accepted"]


def test_memory_is_bounded():
    function, _ = typed("cpu", pieces)
    for length in range(3 * calls.REMEMBERED):
        function(np.zeros((1, length)))
        assert 0 < len(remembered(function)) <= calls.REMEMBERED
        with pytest.raises(ValueError, match=r"b has shape \(2,\)"):
            function(np.zeros((1, length)), np.zeros(2))


def test_no_argument_is_kept_alive():
    function, _ = typed("cpu", pieces)
    a = random(2, 3)
    gone = weakref.ref(a)
    function(a)
    assert remembered(function)
    del a
    gc.collect()
    assert gone() is None


def test_signature_and_text_stay():
    assert inspect.signature(CPU["scan"]).parameters.keys() == valid("scan").keys()
    assert CPU["scan"].__name__ == "scan"
