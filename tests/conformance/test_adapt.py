"""The adapter: names, layouts, positions and arrays of strangers, in NumPy."""

import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ssmref.conformance.adapt import adapt
from ssmref.conformance.arrays import converter, to_numpy
from ssmref.conformance.candidates import NotProvidedError
from ssmref.conformance.catalogue import CASES, cases_of
from ssmref.conformance.outputs import MalformedResultError, flatten
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED
from ssmref.golden import layers, mamba1, mamba2, mamba3
from ssmref.ops import OPS

F32 = np.dtype(np.float32)
SCAN = "mamba1.selective_scan"
NAMES = {"dt": "delta", "dt_bias": "delta_bias", "dt_softplus": "delta_softplus"}
CHANNELS_FIRST = {
    "u": "batch channels length",
    "dt": "batch channels length",
    "z": "batch channels length",
    "B": "channels state | batch state length | batch groups state length",
    "C": "channels state | batch state length | batch groups state length",
    "y": "batch channels length",
}


def _first(array: Any) -> Any:
    """Bring the official layouts to golden's."""
    return array if array is None or array.ndim < 3 else np.moveaxis(array, -1, 1)


def official(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
    return_last_state=False,
):  # fmt: skip
    """A scan with the official names and layouts."""
    y, state = mamba1.selective_scan(
        _first(u), _first(delta), A, _first(B), _first(C), D=D, z=_first(z),
        dt_bias=delta_bias, dt_softplus=delta_softplus,
    )  # fmt: skip
    y = np.ascontiguousarray(np.moveaxis(y, 1, -1))
    return (y, state) if return_last_state else y


WITH_STATE = partial(official, return_last_state=True)


def statuses(function, op=SCAN):
    return {c.family: verify_case(function, c, F32).status for c in cases_of(op)}


def test_names_and_layouts_of_strangers_are_translated():
    adapted = adapt(SCAN, WITH_STATE, names=NAMES, layouts=CHANNELS_FIRST)
    found = statuses(adapted)
    assert set(found.values()) == {PASSED, NOT_PROVIDED}
    assert found["plain"] == found["groups"] == found["gate"] == PASSED
    assert list(found.values()).count(PASSED) > 10


@pytest.mark.parametrize("missing", ["u", "dt", "B", "y"])
def test_a_layout_that_is_not_translated_fails(missing):
    layouts = {k: v for k, v in CHANNELS_FIRST.items() if k != missing}
    adapted = adapt(SCAN, WITH_STATE, names=NAMES, layouts=layouts)
    assert statuses(adapted)["groups"] == FAILED


def test_options_that_are_missing_are_not_offered():
    def narrow(u, delta, A, B, C):
        return mamba1.selective_scan(u, delta, A, B, C)

    adapted = adapt(SCAN, narrow, names=NAMES)
    [case] = [c for c in cases_of(SCAN) if c.family == "packed"]
    found = verify_case(adapted, case, F32)
    assert found.status == NOT_PROVIDED
    assert "it has no argument" in found.message
    assert "initial_state" in found.message


def test_positional_inputs_keep_their_order():
    def scan(B, C, u, /, dt, A, **options):
        return mamba1.selective_scan(u, dt, A, B, C, **options)

    adapted = adapt(SCAN, scan, positional=("B", "C", "u"))
    assert set(statuses(adapted).values()) == {PASSED}


def test_arrays_are_converted_on_the_way_in():
    class Foreign(np.ndarray):
        pass

    seen = []

    def scan(x, dt, A, B, C, **options):
        arrays = [x, dt, A, B, C, *options.values()]
        seen.extend(a for a in arrays if isinstance(a, np.ndarray))
        return mamba2.ssd(x, dt, A, B, C, **options)

    adapted = adapt("mamba2.ssd", scan, to=lambda array: array.view(Foreign))
    assert verify_case(adapted, CASES["mamba2.ssd/packed/l140"], F32).status == PASSED
    assert len(seen) == 7
    assert all(type(a) is Foreign for a in seen)


def test_parts_of_states_have_layouts():
    def swapped(state):
        return state._replace(ssm=np.ascontiguousarray(state.ssm.swapaxes(-1, -2)))

    def siso(x, dt, A, B, C, trap, angles, *, initial_state=None, **options):
        if initial_state is not None:
            initial_state = swapped(initial_state)
        inputs = (x, dt, A, B, C, trap, angles)
        y, state = mamba3.siso(*inputs, initial_state=initial_state, **options)
        return y, swapped(state)

    layout = "rows heads state headdim"
    layouts = {"initial_state.ssm": layout, "final_state.ssm": layout}
    assert set(
        statuses(adapt("mamba3.siso", siso, layouts=layouts), "mamba3.siso").values()
    ) == {PASSED}
    assert FAILED in statuses(adapt("mamba3.siso", siso), "mamba3.siso").values()


def test_what_is_not_changed_is_not_copied():
    def scribbles(u, dt, A, B, C, **options):
        result = mamba1.selective_scan(u, dt, A, B, C, **options)
        u[0, 0] = 7
        return result

    found = verify_case(adapt(SCAN, scribbles), cases_of(SCAN)[1], F32)
    assert found.message == "modified its input u"


MISTAKES = {
    "op": (("mamba1.scan", {}), "op is 'mamba1.scan'; ops are"),
    "name": ((SCAN, {"names": {"delta": "dt"}}), "no argument 'delta'; it has: u, dt"),
    "position": (
        (SCAN, {"positional": ("D",)}),
        "no input 'D'; it has: u, dt, A, B, C",
    ),
    "array": ((SCAN, {"layouts": {"v": "a"}}), "no array 'v'; it has: y, final_state"),
    "axes": (
        (SCAN, {"layouts": {"u": "batch length"}}),
        "layout of u in mamba1.selective_scan is 'batch length'; golden has: batch len",
    ),
    "words": (
        (SCAN, {"layouts": {"u": "batch dim length"}}),
        "golden has: batch length",
    ),
    "library": ((SCAN, {"to": "torhc"}), "to is 'torhc'; it may be .*torch, jax, cupy"),
}


@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_explained(given, message):
    op, options = given
    with pytest.raises(ValueError, match=message):
        adapt(op, official, **options)


def test_missing_library_is_a_failure_that_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = verify_case(adapt(SCAN, official, to="torch"), cases_of(SCAN)[0], F32)
    assert found.status == FAILED
    assert "torch" in found.message


class ByDlpack:
    """An array of a library that speaks DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnDevice:
    """An array of a library on a device, as cupy's: it comes when asked."""

    __cuda_array_interface__ = None

    def __init__(self, array):
        self.array = array

    def get(self):
        return self.array

    def __array__(self, *_):
        raise TypeError("implicit conversion is not allowed")


@pytest.mark.parametrize("wrap", [ByDlpack, OnDevice, memoryview, np.ndarray.tolist])
def test_arrays_come_back(wrap):
    array = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(to_numpy(wrap(array)), array)


def test_dlpack_result_is_judged():
    def wrapped(x, weight, **options):
        y, state = layers.causal_conv1d(x, weight, **options)
        return ByDlpack(y), ByDlpack(state)

    found = statuses(wrapped, "layers.causal_conv1d")
    assert set(found.values()) == {PASSED}


def test_result_that_cannot_come_is_malformed():
    class Broken:
        def __dlpack__(self, **_options):
            raise BufferError("no export")

    with pytest.raises(MalformedResultError, match="y is no array"):
        flatten(OPS["layers.rms_norm"], Broken())


@pytest.mark.parametrize(("version", "fits"), [("13.6.0", False), ("14.0.0", True)])
def test_cupy_has_bfloat16_since_14(monkeypatch, version, fits):
    cupy = SimpleNamespace(__version__=version, asarray=np.copy)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    low = np.zeros(3, ml_dtypes.bfloat16)
    assert converter("cupy")(low.astype(np.float32)).dtype == np.float32
    if fits:
        assert converter("cupy")(low).dtype == low.dtype
    else:
        with pytest.raises(NotProvidedError, match=r"13\.6\.0 has no bfloat16"):
            converter("cupy")(low)
