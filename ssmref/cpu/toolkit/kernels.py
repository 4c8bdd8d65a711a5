"""Kernels for Numba, and micro-kernels, whose inner loops stay in registers.

Numba vectorises what LLVM finds in scalar loops. That is enough for element-wise work,
not for the inner loops that decide the speed of a scan or a product: their states and
sums have to stay in registers. `micro_kernel` makes a function for Numba whose body is
written with `Lanes`: vectors as wide as the machine's, loops that carry them, and
arithmetic that reads like arithmetic. Formulas over `Value` work for vectors and
scalars alike (`scalar_function`), so each is written once.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core import config
from numba.extending import intrinsic

from .cache import cached
from .vectors import (
    DOUBLE,
    FLOAT,
    INT32,
    INT64,
    Lanes,
    Value,
    features,
    lane_count,
    vector_bits,
    widen,
)

__all__ = [
    "DOUBLE",
    "FLAGS",
    "FLOAT",
    "INT32",
    "INT64",
    "Lanes",
    "Value",
    "features",
    "inner",
    "kernel",
    "lane_count",
    "lane_count_of",
    "micro_kernel",
    "parallel_kernel",
    "scalar_function",
    "stay_apart",
    "stay_small",
    "use_wide_vectors",
    "vector_bits",
]

# The only liberty that kernels take with floating point: a product and a sum may
# become one fused operation. Never the flags that assume away NaN or infinity, nor
# reassociation, which would undo the rounding steps of `elementary`.
FLAGS = {"contract"}

INTERPRETED = bool(vars(config)["DISABLE_JIT"])


def kernel(function: Callable) -> Any:
    """Compile a function for one thread; x / 0 is infinite or NaN, no error."""
    return _kept(function, nogil=True)


def parallel_kernel(function: Callable) -> Any:
    """Compile a function whose loops over `prange` are divided among the threads."""
    return _kept(function, parallel=True)


def inner(function: Callable) -> Any:
    """Compile a function that only kernels call: as part of them, or by its address."""
    return _kept(function, nogil=True, no_cpython_wrapper=True)


def together(function: Callable) -> Any:
    """Compile a function that runs parallel kernels: for one caller at a time."""
    return _kept(function)


def _kept(function: Callable, **options: Any) -> Any:
    """Compile a function, and keep the code on disk."""
    compiler: Any = njit
    options |= {"fastmath": FLAGS, "error_model": "numpy", "no_cfunc_wrapper": True}
    compiled = compiler(**options)(function)
    return compiled if INTERPRETED else cached(compiled)


def micro_kernel(plain: Callable, *, number: bool = False) -> Any:
    """Make ``emit(lanes, *arguments)`` a function that Numba kernels can call.

    Arrays (one dtype, C-contiguous) arrive as pointers to their first element, integers
    as 64 bits, numbers as `Value` in every lane. `emit` returns the scalar of LLVM that
    is the result where `number`, else nothing. ``plain(*arguments)`` says the same in
    NumPy: it documents the kernel, is what tests compare it with, and takes its place
    under ``NUMBA_DISABLE_JIT``.
    """

    def typed(arguments: tuple) -> Any:
        dtype = next(a.dtype for a in arguments if isinstance(a, types.Array))
        kinds = [_kind(a, dtype) for a in arguments]
        return (dtype if number else types.void)(*kinds)

    return lambda emit: _callable(plain, plain, typed, functools.partial(_kernel, emit))


def scalar_function(plain: Callable) -> Any:
    """Make ``formula(x)`` over a scalar `Value` a function that Numba can call.

    Loops over it are vectorised by LLVM. `plain` takes its place under
    ``NUMBA_DISABLE_JIT``.
    """

    def typed(arguments: tuple) -> Any:
        return arguments[0](*arguments)

    return lambda formula: _callable(
        plain, formula, typed, functools.partial(_scalar, formula)
    )


def _callable(
    plain: Callable, like: Callable, typed: Callable, generate: Callable
) -> Any:
    """Return `plain`, or an intrinsic with the name and parameters of `like`."""
    if INTERPRETED:
        return plain

    def template(_context: Any, *arguments: Any) -> tuple:
        return typed(arguments), generate

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(like).parameters.values()
    vars(template)["__signature__"] = inspect.Signature([context, *parameters])
    template.__name__, template.__doc__ = like.__name__, like.__doc__
    return intrinsic(template)


def _kind(given: Any, dtype: Any) -> Any:
    if isinstance(given, types.Array):
        return given
    return types.intp if isinstance(given, types.Integer) else dtype


def _kernel(emit, context, builder, signature, arguments) -> Any:
    """Hand pointers, integers and broadcast numbers to `emit`."""
    array = next(t for t in signature.args if isinstance(t, types.Array))
    element = context.get_data_type(array.dtype)
    lanes = Lanes(builder, element, lane_count(array.dtype.name))
    given = []
    for kind, value in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            given.append(context.make_array(kind)(context, builder, value).data)
        else:
            given.append(value if kind == types.intp else lanes.spread(value))
    result = emit(lanes, *given)
    return context.get_dummy_value() if result is None else result


def _scalar(formula, context, builder, signature, arguments) -> Any:
    lanes = Lanes(builder, context.get_data_type(signature.return_type), 0)
    return formula(*(Value(lanes, a) for a in arguments)).ir


def _lane_count(array):
    return lane_count(array.dtype)


@intrinsic
def _typed_lane_count(_context, array):
    count = lane_count(array.dtype.name)
    return types.intp(array), lambda c, *_: c.get_constant(types.intp, count)


def _widen():
    """Let loops of this kernel be vectorised in whole registers."""


@intrinsic
def _typed_widen(_context):
    def generate(context, builder, *_):
        widen(builder)
        return context.get_dummy_value()

    return types.void(), generate


# In kernels: how many numbers of the dtype of an array a register holds, and the
# permission to use whole registers (functions of this module imply it).
lane_count_of: Any = _lane_count if INTERPRETED else _typed_lane_count
use_wide_vectors: Any = _widen if INTERPRETED else _typed_widen


def _apart():
    """Keep this function out of its callers: each copy would be compiled anew."""


def _apart_and_small():
    """`_apart`, and do not unroll its loops."""


@intrinsic
def _typed_apart(_context):
    return _attributes("noinline")


@intrinsic
def _typed_apart_and_small(_context):
    return _attributes("noinline", "optsize")


def _attributes(*names: str) -> tuple:
    """Return what gives these attributes of LLVM to the function that calls."""

    def generate(context, builder, *_):
        for name in names:
            builder.function.attributes.add(name)
        return context.get_dummy_value()

    return types.void(), generate


stay_apart: Any = _apart if INTERPRETED else _typed_apart
stay_small: Any = _apart_and_small if INTERPRETED else _typed_apart_and_small
