"""Contenders that are packages of ops, or modules of functions with their names."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from ..conformance.candidates import TargetError, load
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

    def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
        inputs = [arguments[name] for name in by_position]
        options = {n: v for n, v in arguments.items() if n not in by_position}
        return partial(function, *inputs, **options)

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


def _by_position(op: str) -> list[str]:
    parameters = inspect.signature(implementation(OPS[op], "ssmref.golden")).parameters
    return [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind is not p.KEYWORD_ONLY
    ]
