"""Contenders that are packages of ops, or modules of functions with their names.

A package that takes the arrays of another library (``ARRAYS = "cupy"``) gets them made
before it is timed, and its time ends when they are computed, not when the call returns.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from ..conformance.arrays import converted, converter
from ..conformance.candidates import TargetError, arrays_of, load
from ..conformance.outputs import flatten
from ..ops import OPS, implementation
from .contender import Contender, Outputs, UnavailableError
from .workloads import Workload

# Forms by Fourier transforms.
_WHOLE_SIGNAL = ("convolution", "fft")


def package_contender(package: str, workload: Workload) -> Contender:
    """Return what a package offers for a workload, or raise UnavailableError."""
    op = OPS[workload.op]
    function = _function(package, workload)
    by_position = _by_position(workload.op)
    own, ready, finish = _on_own_arrays(package, workload, function)

    def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
        arguments = {name: ready(value) for name, value in arguments.items()}
        inputs = [arguments[name] for name in by_position]
        options = {n: v for n, v in arguments.items() if n not in by_position}
        call = partial(own, *inputs, **options)
        return call if finish is None else partial(_finished, finish, call)

    def outputs(result: Any) -> Outputs:
        return flatten(op, result)

    whole = workload.form in _WHOLE_SIGNAL
    return Contender(
        *(package, op.name, prepare, outputs),
        whole_signal=whole,
        function=None if workload.form else function,
    )


def _function(package: str, workload: Workload) -> Callable:
    op = OPS[workload.op]
    try:
        offered = load(package).functions
    except TargetError as error:
        raise UnavailableError(str(error)) from error
    if op.name not in offered:
        raise UnavailableError(f"{package} does not offer {op.name}")
    function = offered[op.name]
    if not workload.form and callable(function):
        return function
    name = f"{op.function}_{workload.form}"
    try:
        return getattr(import_module(f"{package}.{op.module}"), name)
    except (ImportError, AttributeError) as error:
        missing = f"{package} does not offer {op.module}.{name}"
        raise UnavailableError(missing) from error


def _finished(finish: Callable, call: Callable) -> Any:
    return finish(call())


def _on_own_arrays(
    package: str, workload: Workload, function: Callable
) -> tuple[Callable, Callable[[Any], Any], Callable[[Any], Any] | None]:
    """Return a function of its own arrays, how they are made, and how to wait."""
    arrays = arrays_of(import_module(package.partition(":")[0]))
    if not arrays:
        return function, lambda value: value, None
    convert = converter(arrays)
    # What was loaded by name takes arrays of NumPy: what it wraps does not.
    own = function if workload.form else getattr(function, "__wrapped__", function)
    return own, lambda value: converted(value, convert), _WAITS.get(arrays)


def _wait_for_cupy(result: Any) -> Any:
    import_module("cupy").cuda.get_current_stream().synchronize()
    return result


def _wait_for_jax(result: Any) -> Any:
    return import_module("jax").block_until_ready(result)


def _wait_for_torch(result: Any) -> Any:
    torch = import_module("torch")
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


_WAITS = {"cupy": _wait_for_cupy, "jax": _wait_for_jax, "torch": _wait_for_torch}


def _by_position(op: str) -> list[str]:
    parameters = inspect.signature(implementation(OPS[op], "ssmref.golden")).parameters
    return [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind is not p.KEYWORD_ONLY
    ]
