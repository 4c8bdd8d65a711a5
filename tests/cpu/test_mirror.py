"""Who calls `ssmref.cpu` cannot tell it from golden: names, results, errors.

One op after the other, since each is compiled first. How accurate results are is judged
by the conformance suite; the limits here are wide.
"""

import inspect
from collections.abc import Callable
from importlib import import_module, util
from typing import Any, NamedTuple

import certify
import jaxtyping
import numpy as np
import pytest
from support.exact import cast
from support.mirror import (
    EMPTY,
    FOREIGN,
    Call,
    along,
    arrays_of,
    backwards,
    difference,
    each,
    frozen,
    others,
    quietly,
    refusal,
    replaced,
    required,
    signature,
    strided,
)

from ssmref.ops import OPS, Op, implementation

# Whether an op that is missing is a failure.
REQUIRED = True

LIMITS = {np.dtype(np.float64): 1e-11, np.dtype(np.float32): 1e-4}
MAKERS = certify.examples()
MODULES = sorted({op.module for op in OPS.values()})
# Words of axes that have one entry per row of the batch, where there is no pack.
ROWS = ("batch", "sequences", "rows")


class Mirror(NamedTuple):
    """Both implementations of an op and one call with every optional argument."""

    op: Op
    golden: Callable
    cpu: Callable
    call: Call


@pytest.fixture(autouse=True, scope="module")
def _errors_of_golden_are_its_own():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(params=OPS, scope="module")
def mirror(request: Any) -> Mirror:
    op = OPS[request.param]
    module = mirrored(op.module)
    cpu = getattr(module, op.function, None) or absent(op.name)
    call = MAKERS[op.name](np.random.default_rng(0))
    return Mirror(op, implementation(op, "ssmref.golden"), cpu, call)


def mirrored(module: str) -> Any:
    name = f"ssmref.cpu.{module}"
    return import_module(name) if util.find_spec(name) else absent(module)


def absent(name: str) -> Any:
    if REQUIRED:
        pytest.fail(f"ssmref.cpu has no {name}")
    pytest.skip(f"ssmref.cpu has no {name} yet")


def test_op_has_the_signature_of_golden(mirror):
    assert signature(mirror.cpu) == signature(mirror.golden)
    assert mirror.cpu.__module__ == f"ssmref.cpu.{mirror.op.module}"
    assert inspect.getdoc(mirror.cpu)


@pytest.mark.parametrize("module", MODULES)
def test_what_else_both_offer_is_called_alike(module):
    golden, cpu = import_module(f"ssmref.golden.{module}"), mirrored(module)
    both = {n for n in vars(cpu) if not n.startswith("_")} & vars(golden).keys()
    for name in both:
        own, other = getattr(cpu, name), getattr(golden, name)
        if hasattr(other, "_fields"):
            assert own._fields == other._fields, name
        elif inspect.isfunction(other):
            assert signature(own) == signature(other), name


def disagreement(mirror: Mirror, call: Call) -> str:
    """Say how the results or the errors of one call differ; "" if they do not."""
    expected, found = refusal(mirror.golden, call), refusal(mirror.cpu, call)
    if expected and found and FOREIGN.search(expected[1]):
        return ""
    if expected or found:
        return "" if found == expected else f"{found}, golden: {expected}"
    found, expected = (quietly(f, **call) for f in (mirror.cpu, mirror.golden))
    numbers = (a.dtype for a in arrays_of(expected) if a.dtype.kind in "fc")
    limit = max(LIMITS[np.finfo(dtype).dtype] for dtype in numbers)
    return difference(found, expected, limit)


def assert_alike(mirror: Mirror, calls: dict[str, Call]) -> None:
    """Assert that both give the same for each of the named calls."""
    __tracebackhide__ = True
    assert calls
    found = {what: disagreement(mirror, call) for what, call in calls.items()}
    assert not {what: text for what, text in found.items() if text}


def test_the_comparison_sees_differences():
    y, state = np.ones(3), np.arange(1.0, 3)
    result = (y, state)
    assert not difference(result, (y.copy(), state.copy()), 1e-11)
    assert not difference((y, state + np.nan), (y, state + np.nan), 1e-11)
    for wrong in (
        (y, state + np.array([0, 1e-9])),
        (y, state * [1, np.nan]),
        (y.astype(np.float32), state),
        (y[None], state),
        (y,),
        [y, state],
        y,
        (y, None),
        Mirror(*result, *result),  # type: ignore[arg-type]
    ):
        assert difference(wrong, result, 1e-11)
    assert difference((y, state + np.nan), (y, state), 1e-11)
    assert difference((y, -0.0 * y), (y, 0.0 * y), 0)


def assert_same(found: Any, expected: Any, limit: float) -> None:
    """Assert that two results have one structure and, within a limit, the numbers."""
    __tracebackhide__ = True
    text = difference(found, expected, limit)
    assert not text


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
def test_result_is_that_of_golden(mirror, dtype):
    call = cast(mirror.call, dtype.type)
    assert_same(mirror.cpu(**call), mirror.golden(**call), LIMITS[dtype])


def test_second_call_gives_the_same_bits(mirror):
    first, second = mirror.cpu(**mirror.call), mirror.cpu(**mirror.call)
    assert_same(second, first, 0)


def test_arguments_are_not_written_to_nor_returned(mirror):
    call = each(np.array, mirror.call)
    result = mirror.cpu(**call)
    for array, before in zip(arrays_of(call), arrays_of(mirror.call), strict=True):
        assert array.tobytes() == before.tobytes()
        assert not any(np.shares_memory(array, a) for a in arrays_of(result))
    for array in arrays_of(result):
        assert array.flags.writeable


@pytest.mark.parametrize("variant", [strided, backwards, np.asfortranarray, frozen])
def test_memory_layout_changes_no_bit(mirror, variant):
    call = each(variant, mirror.call)
    assert_same(mirror.cpu(**call), mirror.cpu(**mirror.call), 0)


def test_each_other_array_gives_the_result_or_error_of_golden(mirror):
    assert_alike(mirror, replaced(mirror.call))


def test_each_other_option_gives_the_result_or_error_of_golden(mirror):
    defaults = {name: default for name, _, default in signature(mirror.golden)}
    options = {**defaults, **mirror.call}
    calls = {
        f"{name} {new!r}": {**mirror.call, name: new}
        for name, value in options.items()
        for new in others(value)
    }
    assert_alike(mirror, {**calls, "unchanged": mirror.call})


def test_options_may_be_left_out_and_inputs_may_not(mirror):
    least = {name: mirror.call[name] for name in required(mirror.golden)}
    calls = {"least": least, "unknown": {**mirror.call, "unknown": 1}, "none": {}}
    for name in mirror.call:
        calls[name] = {n: v for n, v in mirror.call.items() if n != name}
    assert_alike(mirror, calls)
    surplus = (*least.values(), 1, 2, 3)
    with pytest.raises(TypeError, match="too many positional"):
        mirror.cpu(*surplus)


def test_nothing_is_enough(mirror):
    """No tokens, no rows, or neither: what golden takes gives what golden gives."""
    no_slots = {n: v for n, v in mirror.call.items() if n != "slots"}
    calls = {
        "length": along(mirror.golden, ("length",), [], mirror.call),
        "batch": along(mirror.golden, ("batch",), [], mirror.call),
        "rows": along(mirror.golden, (*ROWS, "slots"), [], no_slots),
        "state": along(mirror.golden, ("state",), [], mirror.call),
    }
    calls["both"] = along(mirror.golden, ("length",), [], calls["rows"])
    taken = {w: c for w, c in calls.items() if refusal(mirror.golden, c) is None}
    assert_alike(mirror, {**taken, "all": mirror.call})


@pytest.mark.parametrize("bounds", [[0, 3, 3, 7], [0, 0, 7], [0, 7, 7], [0, 7]])
def test_packs_are_those_of_golden(mirror, bounds):
    defaults = {name: default for name, _, default in signature(mirror.golden)}
    if defaults.get("cu_seqlens", EMPTY) is EMPTY:
        return
    one = along(mirror.golden, ("batch",), [0], mirror.call)
    one = along(mirror.golden, ("length",), list(range(7)), one)
    rows = [i % 2 for i in range(len(bounds) - 1)]
    pack = along(mirror.golden, ("sequences", "rows"), rows, one)
    pack["cu_seqlens"] = np.array(bounds)
    fresh = {n: v for n, v in pack.items() if n != "initial_state"}
    wrong = {**pack, "cu_seqlens": np.array([*bounds[:-1], 8])}
    single = {**fresh, "cu_seqlens": np.array(bounds, np.int32)}
    assert_alike(mirror, {"pack": pack, "fresh": fresh, "wrong": wrong, "32": single})
    assert refusal(mirror.cpu, fresh) is None


SLOTS = [[1, 0, 4], [4, -1, 0], [-1, -2, -1], [2, 3, -1]]


@pytest.mark.parametrize("slots", SLOTS, ids=str)
def test_pools_are_those_of_golden(mirror, slots):
    if "slots" not in inspect.signature(mirror.golden).parameters:
        return
    batch = list(range(len(mirror.call["slots"]))) if "slots" in mirror.call else [0, 1]
    call = {name: v for name, v in mirror.call.items() if name != "slots"}
    pool = along(mirror.golden, ("slots", "rows"), [0, 1, 0, 1, 1], call)
    own = along(mirror.golden, ("slots", "rows"), batch, call)
    given = np.array(slots[: len(batch)])
    calls = {
        "slots": {**pool, "slots": given},
        "32": {**pool, "slots": given.astype(np.int32)},
        "beyond": {**pool, "slots": given + 3},
        "none": own,
    }
    assert_alike(mirror, calls)
    assert refusal(mirror.cpu, calls["slots"]) is None
    assert refusal(mirror.cpu, own) is None


def test_own_state_comes_back_in(mirror):
    parameters = inspect.signature(mirror.golden).parameters
    names = [n for n in ("initial_state", "state") if n in parameters]
    if not mirror.op.outputs[-1].startswith("final_state"):
        return
    found, expected = (
        function(**{**mirror.call, names[0]: function(**mirror.call)[-1]})
        for function in (mirror.cpu, mirror.golden)
    )
    assert_same(found, expected, 10 * LIMITS[np.dtype(np.float64)])
