"""The arguments of a launch, by the types that the kernel file declares.

A kernel cannot check what it is given. So the types of its parameters are read from its
own source: pointers need arrays of the dtype, numbers become NumPy scalars of exactly
the width that the kernel reads, and what does not fit raises before the launch.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ._cupy import cupy
from ._types import dtype_of

Convert = Callable[[Any], Any]

BOUNDS = r"(?:__launch_bounds__\([^)]*\)\s*)?"
ENTRY = re.compile(
    rf'extern "C" __global__\s+{BOUNDS}void\s+{BOUNDS}(\w+)\s*\(([^)]*)\)'
)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

SCALARS = (int, float, np.integer, np.floating)

NUMBERS = {
    "int": np.int32,
    "unsigned": np.uint32,
    "unsigned int": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "float": np.float32,
}
# What an array may hold where a kernel has a pointer: complex numbers may be read as
# pairs, and integers without their sign.
HELD = {
    "float": ("float32", "complex64"),
    "float2": ("complex64",),
    "bf16": ("bfloat16",),
    "f16": ("float16",),
    "int": ("int32",),
    "unsigned": ("uint32", "int32"),
    "long long": ("int64",),
    "unsigned long long": ("uint64", "int64"),
    "bool": ("bool",),
}


def entries(source: str) -> dict[str, list[tuple[str, str]]]:
    """Return type and name of each parameter of each kernel, without qualifiers."""
    found = ENTRY.findall(COMMENT.sub("", source))
    return {
        name: [_parameter(text) for text in texts.split(",") if text.strip()]
        for name, texts in found
    }


def _parameter(text: str) -> tuple[str, str]:
    words = re.sub(r"\bconst\b|__restrict__|__grid_constant__", " ", text)
    kind, name = re.fullmatch(r"\s*(.*?)\s*(\w+)\s*", words, re.DOTALL).groups()  # type: ignore[union-attr]
    return " ".join(kind.replace("*", " * ").split()), name


def plan(source: str, kernel: str, macros: Mapping[str, Any]) -> list[Convert]:
    """Return how to convert each argument of a kernel that has these macros.

    Raises ValueError where the source has no such kernel, or one with a parameter that
    cannot be passed.
    """
    declared = entries(source).get(kernel)
    if declared is None:
        raise ValueError(f'the source has no extern "C" __global__ void {kernel}')
    return [
        _conversion(kernel, " ".join(str(macros.get(w, w)) for w in kind.split()), name)
        for kind, name in declared
    ]


def _conversion(kernel: str, kind: str, name: str) -> Convert:
    where = f"{name} of kernel {kernel}"
    if kind.endswith(" *"):
        return _pointer(where, kind.removesuffix(" *"))
    if kind not in NUMBERS:
        raise ValueError(f"{where} is a {kind}; it may be one of {[*NUMBERS]}")
    return _number(where, NUMBERS[kind])


def _number(where: str, kind: Callable[[Any], np.generic]) -> Convert:
    """Accept Python's and NumPy's numbers that fit; an array would have to wait."""
    whole = kind is not np.float32

    def convert(value: Any) -> np.generic:
        try:
            number = _scalar(value)
            return kind(operator.index(number) if whole else float(number))
        except (TypeError, OverflowError) as error:
            raise TypeError(f"{where} is {value!r}: {error}") from error

    return convert


def _scalar(value: Any) -> Any:
    if not isinstance(value, SCALARS):
        raise TypeError(f"it needs {', '.join(kind.__name__ for kind in SCALARS)}")
    return value


def _pointer(where: str, kind: str) -> Convert:
    """Accept an array of a dtype that fits, or None for a null pointer.

    What a pointer to a type of the file itself points to is not checked.
    """
    dtypes = tuple(map(dtype_of, HELD.get(kind, ())))
    array = cupy().ndarray

    def convert(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, array):
            what = type(value).__name__
            raise TypeError(f"{where} is {what}; it needs a CuPy array")
        if dtypes and value.dtype not in dtypes:
            needed = " or ".join(map(str, dtypes))
            raise TypeError(f"{where} is {value.dtype}; it needs to be {needed}")
        return value

    return convert


def converted(plan: Sequence[Convert], args: Sequence[Any], kernel: str) -> tuple:
    """Return `args` as a launch takes them; raise TypeError where they do not fit."""
    if len(args) != len(plan):
        raise TypeError(f"kernel {kernel} has {len(plan)} parameters, not {len(args)}")
    return tuple([convert(value) for convert, value in zip(plan, args, strict=True)])
