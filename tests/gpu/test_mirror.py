"""Who calls `ssmref.gpu` finds golden: names, signatures, errors, layouts.

How accurate results are is judged by the conformance suite; the limit here is wide.
What golden refuses has to be refused in its words, before any launch.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import certify
import emulated
import jaxtyping
import numpy as np
import pytest
from hostcupy.kernels import Function
from support.exact import cast
from support.mirror import (
    FOREIGN,
    Call,
    arrays_of,
    difference,
    each,
    others,
    refusal,
    replaced,
    required,
    signature,
)

from ssmref.ops import OPS, Op, implementation

LIMIT = 1e-3
MAKERS = certify.examples()
MODULES = sorted({OPS[name].module for name in emulated.offered()})


class Mirror(NamedTuple):
    """Both implementations of an op and one call with every optional argument."""

    op: Op
    golden: Callable
    gpu: Callable
    call: Call


@pytest.fixture(autouse=True, scope="module")
def _errors_of_golden_are_its_own():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(params=emulated.offered())
def mirror(request: Any) -> Mirror:
    op = OPS[request.param]
    call = cast(MAKERS[op.name](np.random.default_rng(0)), np.float32)
    golden, gpu = (implementation(op, f"ssmref.{name}") for name in ("golden", "gpu"))
    return Mirror(op, golden, gpu, call)


def test_op_has_the_signature_of_golden(mirror):
    assert signature(mirror.gpu) == signature(mirror.golden)
    assert mirror.gpu.__module__ == f"ssmref.gpu.{mirror.op.module}"
    assert inspect.getdoc(mirror.gpu)


@pytest.mark.parametrize("module", MODULES)
def test_what_else_both_offer_is_called_alike(module):
    golden, gpu = (import_module(f"ssmref.{n}.{module}") for n in ("golden", "gpu"))
    both = {n for n in vars(gpu) if not n.startswith("_")} & vars(golden).keys()
    for name in both:
        own, other = getattr(gpu, name), getattr(golden, name)
        if hasattr(other, "_fields"):
            assert own._fields == other._fields, name
        elif inspect.isfunction(other):
            assert signature(own) == signature(other), name


def assert_alike(mirror: Mirror, found: Any) -> None:
    __tracebackhide__ = True
    text = difference(emulated.to_host(found), mirror.golden(**mirror.call), LIMIT)
    assert not text


def on_device(call: Call) -> Call:
    return {name: emulated.to_device(value) for name, value in call.items()}


def test_result_is_that_of_golden(mirror):
    assert_alike(mirror, mirror.gpu(**on_device(mirror.call)))


def test_second_call_gives_the_same_bits(mirror):
    first, second = (mirror.gpu(**on_device(mirror.call)) for _ in range(2))
    assert not difference(emulated.to_host(second), emulated.to_host(first), 0)


def test_arguments_are_not_written_to(mirror):
    device = on_device(mirror.call)
    _ = mirror.gpu(**device)
    given = {name: emulated.to_host(value) for name, value in device.items()}
    for array, before in zip(arrays_of(given), arrays_of(mirror.call), strict=True):
        assert array.tobytes() == before.tobytes()


def every_third(cupy, array):
    return cupy.asarray(np.repeat(array[..., None], 3, axis=-1))[..., 1]


def last_first(cupy, array):
    every = (slice(None, None, -1),) * array.ndim
    return cupy.asarray(np.ascontiguousarray(array[every]))[every]


def columns(cupy, array):
    return cupy.asarray(np.ascontiguousarray(array.T)).T


@pytest.mark.parametrize("view", [every_third, last_first, columns])
def test_views_are_read_as_what_they_show(cupy, mirror, view):
    call = each(lambda array: view(cupy, array), mirror.call)
    assert_alike(mirror, mirror.gpu(**call))


@pytest.fixture
def no_launch(monkeypatch):
    """Let every launch fail."""

    def launched(*_args, **_options):
        raise AssertionError("a kernel was launched")

    monkeypatch.setattr(Function, "__call__", launched)


def wrong_calls(mirror: Mirror) -> dict[str, Call]:
    """Return calls that golden refuses for a shape, an option or what is missing."""
    defaults = {name: default for name, _, default in signature(mirror.golden)}
    options = {**defaults, **mirror.call}
    calls = {
        f"{name} {new!r}": {**mirror.call, name: new}
        for name, value in options.items()
        for new in others(value)
    }
    calls |= {w: c for w, c in replaced(mirror.call).items() if "axis" in w}
    for name in mirror.call:
        calls[f"no {name}"] = {n: v for n, v in mirror.call.items() if n != name}
    calls["unknown"] = {**mirror.call, "unknown": 1}
    return {w: c for w, c in calls.items() if refusal(mirror.golden, c) is not None}


@pytest.mark.usefixtures("no_launch")
def test_what_golden_refuses_is_refused_in_its_words(mirror):
    calls = wrong_calls(mirror)
    assert len(calls) > len(required(mirror.golden))
    function = emulated.on_numpy(mirror.gpu)
    found = {}
    for what, call in calls.items():
        expected, own = refusal(mirror.golden, call), refusal(function, call)
        assert expected is not None
        kind, text = expected
        same = own == (kind, text.replace("a NumPy array", "a CuPy array"))
        if not same and not (own and FOREIGN.search(text)):
            found[what] = f"{own}, golden: {expected}"
    assert not found


@pytest.mark.usefixtures("no_launch")
def test_arrays_of_numpy_are_refused(mirror):
    with pytest.raises(TypeError, match=r"numpy.ndarray in host memory; it needs"):
        mirror.gpu(**mirror.call)


@pytest.mark.usefixtures("no_launch")
def test_float64_is_refused(mirror):
    for name in required(mirror.golden):
        value = mirror.call[name]
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            wrong = {**mirror.call, name: value.astype(np.float64)}
            with pytest.raises(TypeError, match=f"{name} has dtype float64; it needs"):
                mirror.gpu(**on_device(wrong))
