"""Whose arrays the ops take, and what they refuse before any launch."""

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hostcupy.settings import using
from ssmref.gpu._arrays import aligned, fresh, map_state, ready, strides
from ssmref.gpu._contract import checked
from ssmref.gpu._types import (
    Array,
    Complex,
    Integer,
    Number,
    Real,
    Wide,
    word,
)

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


# Pyright cannot look into ssmref.gpu: it would read the shapes as types.
# pyright: reportInvalidTypeForm=false
TOKENS = Real[Array, "batch length channels"]
RATES = Number[Array, "channels state"]
PER_CHANNEL = Wide[Array, " channels"]
MODES = Complex[Array, " modes"]
BOUNDS = Integer[Array, " bounds"]
WINDOWS = Real[Array, "sequences channels"]
STATES = Wide[Array, "sequences channels state"]


class State(NamedTuple):
    """Two parts, as a cache has."""

    conv: WINDOWS
    ssm: STATES


@checked
def op(
    x: TOKENS,
    A: RATES,
    *,
    D: PER_CHANNEL | None = None,
    modes: MODES | None = None,
    initial_state: State | None = None,
    cu_seqlens: BOUNDS | None = None,
):
    """Return what arrives."""
    return x, A, D, modes, initial_state, cu_seqlens


def given(cupy, dtype: Any = np.float32, **changes):
    arguments = {
        "x": cupy.zeros((1, 5, 4), dtype),
        "A": cupy.zeros((4, 3), np.float32),
        "D": cupy.zeros(4, np.float32),
        "modes": cupy.zeros(2, np.complex64),
        "initial_state": State(
            cupy.zeros((2, 4), dtype), cupy.zeros((2, 4, 3), np.float32)
        ),
        "cu_seqlens": cupy.asarray(np.array([0, 2, 5], np.int32)),
    }
    return arguments | changes


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16])
def test_arrays_on_the_gpu_arrive_as_they_are(cupy, dtype):
    arguments = given(cupy, dtype)
    for one, other in zip(op(**arguments), arguments.values(), strict=True):
        assert one is other or type(one) is State
    x, A = arguments["x"], arguments["A"]
    assert op(x, A)[:3] == (x, A, None)


class Foreign:
    """An array of another library, on the GPU."""

    def __init__(self, host, device=(2, 0)):
        self.host, self.device = host, device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **_):
        return self.host.__dlpack__()


def test_arrays_of_other_libraries_are_taken_without_a_copy(cupy):
    host = np.ones((1, 5, 4), np.float32)
    state = State(Foreign(np.ones((2, 4), "f4")), Foreign(np.ones((2, 4, 3), "f4")))
    found = op(**given(cupy, x=Foreign(host), initial_state=state))
    assert isinstance(found[0], cupy.ndarray)
    assert found[0].data.ptr == host.ctypes.data
    assert isinstance(found[4], State)
    assert found[4].ssm.data.ptr == state.ssm.host.ctypes.data


class NeedsGradients(Foreign):
    def __dlpack__(self, **_):
        raise RuntimeError("Can't export tensors that require gradient")


WRONG = {
    "NumPy": (
        {"x": np.zeros((1, 5, 4), np.float32)},
        r"x is a numpy.ndarray in host memory; it needs to be a CuPy array",
    ),
    "another library on the CPU": (
        {"D": Foreign(np.zeros(4, np.float32), (1, 0))},
        r"D is a .*Foreign in host memory; it needs to be .* on the GPU",
    ),
    "a part of a state": (
        {"initial_state": State(np.zeros((2, 4), "f4"), np.zeros((2, 4, 3), "f4"))},
        r"initial_state.conv is a numpy.ndarray in host memory",
    ),
    "no array": ({"A": [[1.0]]}, "A is a list; it needs to be a CuPy array"),
    "gradients": (
        {"D": NeedsGradients(np.zeros(4))},
        r"D is a .*NeedsGradients that DLPack cannot hand over: Can't export",
    ),
    "float64 by DLPack": (
        {"x": Foreign(np.zeros((1, 5, 4)))},
        "x has dtype float64; it needs one of: bfloat16, float16, float32",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_what_is_not_on_the_gpu_is_refused(cupy, change, message):
    with pytest.raises(TypeError, match=message):
        op(**given(cupy, **change))


DTYPES = {
    "float64": ("x", np.float64, "x has dtype float64; it needs one of: bfloat16, fl"),
    "a parameter": ("D", np.float16, "D has dtype float16; it needs one of: float32"),
    "complex": ("D", np.complex64, "D has dtype complex64; it needs one of: float32"),
    "double": ("A", np.complex128, "A has dtype complex128; it needs one of: complex"),
}


@pytest.mark.parametrize(("name", "dtype", "message"), DTYPES.values(), ids=DTYPES)
def test_wrong_dtypes_are_refused(cupy, name, dtype, message):
    arguments = given(cupy)
    wrong = cupy.zeros(arguments[name].shape, dtype)
    with pytest.raises(TypeError, match=message):
        op(**arguments | {name: wrong})


def test_tokens_need_one_precision(cupy):
    state = given(cupy, np.float16)["initial_state"]
    with pytest.raises(TypeError, match=r"initial_state.conv has dtype float16, but x"):
        op(**given(cupy, initial_state=state))


def test_wrong_shapes_are_refused(cupy):
    with pytest.raises(ValueError, match=r"D has shape \(5,\); it needs \(channels\)"):
        op(**given(cupy, D=cupy.zeros(5, np.float32)))
    bounds = cupy.asarray(np.array([0, 2, 4], np.int32))
    with pytest.raises(ValueError, match=r"cu_seqlens is \[0, 2, 4\]"):
        op(**given(cupy, cu_seqlens=bounds))


def test_too_many_arguments_are_refused(cupy):
    x, A = cupy.zeros((1, 5, 4), np.float32), cupy.zeros((4, 3), np.float32)
    with pytest.raises(TypeError, match="too many positional arguments"):
        op(x, A, *[None] * 5)


def test_array_on_another_gpu_is_refused(cupy, monkeypatch):
    monkeypatch.setattr(cupy.cuda.runtime, "getDevice", lambda: 1)
    message = r"x is on GPU 0; the current one is 1: .* cupy.cuda.Device\(0\)"
    with pytest.raises(ValueError, match=message):
        op(**given(cupy))


def test_words_are_those_of_kernels(cupy):
    words = [word(cupy.zeros(1, d)) for d in (np.float32, BFLOAT16, np.float16)]
    assert words == ["float", "bf16", "f16"]


def test_ready_copies_what_is_not_in_order(cupy):
    x = cupy.zeros((3, 4), np.float32)
    assert ready(x).data.ptr == x.data.ptr
    assert ready(x.T).flags.c_contiguous
    assert ready(x.T).shape == (4, 3)


def test_fresh_states_are_new(cupy):
    state = cupy.asarray(np.arange(6, dtype=np.float32).reshape(3, 2)).T
    copy = fresh(state, state.shape, np.float32)
    assert copy.flags.c_contiguous
    assert (copy.get() == state.get()).all()
    assert copy.data.ptr != state.data.ptr
    assert (fresh(None, (2, 3), np.float32).get() == np.zeros((2, 3))).all()


def test_states_are_mapped_by_part():
    assert map_state(lambda part: part + 1, 1) == 2
    assert map_state(lambda part: part + 1, State(1, 2)) == State(2, 3)


def test_strides_count_elements(cupy):
    x = cupy.zeros((2, 3, 4), np.float16)
    assert strides(x) == (12, 4, 1)
    assert strides(x[:, ::2].T) == (1, 8, 12)


@pytest.mark.parametrize(
    ("shape", "dtype", "offset", "expected"),
    [
        ((3, 4), np.float32, 0, True),
        ((3, 4), np.float32, 1, False),
        ((3, 4), np.float32, 4, True),
        ((3, 6), np.float32, 0, False),
        ((1, 6), np.float32, 0, True),
        ((3, 4), np.float16, 0, False),
        ((3, 8), BFLOAT16, 0, True),
        ((3, 8), BFLOAT16, 4, False),
    ],
)
def test_aligned_rows_are_known(cupy, shape, dtype, offset, expected):
    with using(offset=offset):
        x = cupy.asarray(np.zeros(shape, dtype))
    assert aligned(x, None) is expected
    assert aligned(cupy.zeros((2, 8), np.float32), x) is expected
    assert not aligned(cupy.zeros((8, 4), np.float32).T)
