"""Arrays of any library: kinds, dtypes and shapes are judged, in any precision."""

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from jaxtyping import AbstractDtype

from ssmref.contract import Library

if TYPE_CHECKING:
    from typing import Annotated as Pair
    from typing import Annotated as Position
    from typing import Annotated as Single
    from typing import Annotated as Token
else:

    class Token(AbstractDtype):
        """What comes per token: its precision is open."""

        dtypes = ("float32", "bfloat16", "float16")

    class Single(AbstractDtype):
        """Parameters and states."""

        dtypes = ("float32",)

    class Pair(AbstractDtype):
        """Complex tokens: of one precision only."""

        dtypes = ("complex64",)

    class Position(AbstractDtype):
        """Bounds and slots."""

        dtypes = ("int32", "int64")


class DeviceArray:
    """An array of another library: only what `Library` asks for, nothing of NumPy."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.dtype, self.shape, self.size = values.dtype, values.shape, values.size

    def tolist(self) -> list:
        return self._values.tolist()

    def __array__(self) -> np.ndarray:
        raise AssertionError("copied from the device")


class State(NamedTuple):
    """A state of two parts."""

    ssm: Single[Any, "rows heads state"]
    last: Token[Any, "rows heads"]


checked = Library("Device", lambda: DeviceArray).checked


@checked
def scan(
    x: Token[Any, "batch length heads"],
    B: Token[Any, "batch length heads state"],
    A: Single[Any, " heads"],
    state: State | None = None,
    scale: float = 1.0,
    cu_seqlens: Position[Any, " bounds"] | None = None,
) -> tuple:
    return x, B, A, state, scale, cu_seqlens


@checked
def add(a: Token[Any, " n"], b: Token[Any, " n"]) -> tuple:
    return a, b


BF16 = np.dtype(ml_dtypes.bfloat16)


def zeros(*shape: int, dtype: Any = np.float32) -> DeviceArray:
    return DeviceArray(np.zeros(shape, dtype))


def call(dtype: Any = BF16, **other: Any) -> dict[str, Any]:
    """Return a call that is accepted, unless `other` is wrong."""
    state = State(zeros(2, 3, 4), zeros(2, 3, dtype=dtype))
    bounds = DeviceArray(np.array([0, 2, 7]))
    x, B = zeros(1, 7, 3, dtype=dtype), zeros(1, 7, 3, 4, dtype=dtype)
    arguments = {"x": x, "B": B, "A": zeros(3), "state": state, "cu_seqlens": bounds}
    return {**arguments, **other}


@pytest.mark.parametrize("dtype", [BF16, np.float16, np.float32])
def test_tokens_of_any_precision_go_with_parameters_of_one(dtype):
    given = call(dtype)
    for _ in range(2):
        assert scan(**given)[:2] == (given["x"], given["B"])


WRONG = {
    "a tuple": ({"x": (1.0,)}, "x is a tuple; it needs to be a Device array"),
    "NumPy": ({"x": np.zeros(3)}, "x is a ndarray; it needs to be a Device array"),
    "float64 token": (
        {"x": zeros(1, 7, 3, dtype=float)},
        "x has dtype float64; it needs one of: bfloat16, float16, float32",
    ),
    "low parameter": (
        {"A": zeros(3, dtype=BF16)},
        "A has dtype bfloat16; it needs one of: float32",
    ),
    "low state": (
        {"state": State(zeros(2, 3, 4, dtype=np.float16), zeros(2, 3, dtype=BF16))},
        "state.ssm has dtype float16; it needs one of: float32",
    ),
    "two precisions": (
        {"B": zeros(1, 7, 3, 4)},
        "B has dtype float32, but x has precision bfloat16; "
        "x, B, state.last need one precision",
    ),
    "a part of a state in another": (
        {"state": State(zeros(2, 3, 4), zeros(2, 3, dtype=np.float16))},
        "state.last has dtype float16, but x has precision bfloat16; "
        "x, B, state.last need one precision",
    ),
    "shape": (
        {"A": zeros(4)},
        "A has shape (4,); it needs (heads) with heads = 3 from x",
    ),
    "rows": (
        {"cu_seqlens": DeviceArray(np.array([0, 2, 5, 7]))},
        "state.ssm has shape (2, 3, 4); it needs (rows, heads, state) with "
        "heads = 3 from x, rows = 3 from cu_seqlens, state = 4 from B",
    ),
    "bounds": (
        {"cu_seqlens": DeviceArray(np.array([0, 9, 7]))},
        "cu_seqlens is [0, 9, 7]; it must not decrease",
    ),
    "no integers": (
        {"cu_seqlens": zeros(3)},
        "cu_seqlens has dtype float32; it needs one of: int32, int64",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(what):
    wrong, message = WRONG[what]
    _ = scan(**call())  # a kind of call that is remembered excuses no other
    for _ in range(2):
        with pytest.raises((TypeError, ValueError)) as caught:
            scan(**call(**wrong))
        assert str(caught.value) == message


def test_all_arrays_are_meant_where_all_are_open():
    with pytest.raises(TypeError, match="precision float32; all arrays need one prec"):
        add(zeros(3), zeros(3, dtype=BF16))


Either = Token[Any, " n"] | Pair[Any, " n"]


@checked
def rotate(a: Token[Any, " n"], b: Either) -> tuple:
    return a, b


def test_what_leaves_no_choice_goes_with_every_precision():
    given = zeros(3, dtype=BF16), zeros(3, dtype=np.complex64)
    assert rotate(*given) == given
    with pytest.raises(TypeError, match=r"b has dtype float32, but a has .* bfloat16"):
        rotate(zeros(3, dtype=BF16), zeros(3))


def test_two_kinds_of_one_shape_are_named_once():
    with pytest.raises(ValueError, match=r"needs \(n\) with n = 3 from a$"):
        rotate(zeros(3), zeros(4, dtype=np.complex64))


def test_a_dtype_in_foreign_order_is_refused():
    with pytest.raises(TypeError, match="a has dtype >f4; it needs one of"):
        add(zeros(3, dtype=">f4"), zeros(3))


def test_the_library_is_looked_for_once_and_late():
    asked: list[int] = []

    def missing() -> type:
        asked.append(1)
        if len(asked) == 1:
            raise ImportError("it is not installed")
        return DeviceArray

    function = Library("Device", missing).checked(lambda a: a)
    assert not asked
    with pytest.raises(ImportError, match="not installed"):
        function(1)
    for _ in range(3):
        assert function(1) == 1
    assert len(asked) == 2  # a failure is not remembered, a success is


def test_libraries_do_not_know_each_other():
    """One function, checked for two libraries: each takes its own arrays."""

    def plain(a: Token[Any, " n"]) -> Any:
        return a

    numpy = Library("NumPy", lambda: np.ndarray).checked
    takes: dict[str, tuple[Callable, Any]] = {
        "NumPy": (numpy(plain), np.zeros(2, np.float32)),
        "Device": (checked(plain), zeros(2)),
    }
    for name, (function, own) in takes.items():
        assert function(own) is own
        (other,) = (array for n, (_, array) in takes.items() if n != name)
        with pytest.raises(TypeError, match=f"needs to be a {name} array"):
            function(other)


def test_nothing_but_python_is_needed():
    """Neither NumPy nor Numba nor CuPy: it is what comes before them."""
    heavy = "[m for m in ('numpy', 'numba', 'cupy', 'jaxtyping') if m in sys.modules]"
    code = f"import sys, ssmref.contract; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_helper_is_no_numpy_array():
    """The stand-in would hide a use of NumPy if it could become one of its arrays."""
    assert not isinstance(zeros(2), np.ndarray)
    with pytest.raises(AssertionError, match="copied from the device"):
        np.asarray(zeros(2))
