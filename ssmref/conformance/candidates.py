"""Whose implementation is judged: a module, a function, or a bundled peer."""

import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module, util
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ops import OPS, Op, implementation
from . import peers
from .arrays import NotProvidedError, converter, on_numpy

if TYPE_CHECKING:
    from .programs import Program


class TargetError(Exception):
    """What the user named cannot be judged; the message says why."""


@dataclass(frozen=True)
class Candidate:
    """An implementation: its name for the user and its functions by op name."""

    name: str
    functions: "Mapping[str, Callable | Program]"


def peer_names() -> list[str]:
    """Return the libraries that have a bundled adapter."""
    return sorted(module.name for module in pkgutil.iter_modules(peers.__path__))


def load_peer(name: str) -> Candidate:
    """Load the bundled adapter of a library."""
    if name not in peer_names():
        known = ", ".join(peer_names())
        raise TargetError(f"--peer is {name!r}; bundled adapters are: {known}")
    module = _import(f"{peers.__name__}.{name}")
    return Candidate(f"--peer {name}", _offers(module))


def load(target: str, ops: Iterable[str] = ()) -> Candidate:
    """Load ``package.module`` or ``package.module:function``.

    A module offers an op by a submodule and function of the op's name
    (``mylib.mamba2.ssd``), or by a function called ``ssd`` or ``mamba2_ssd``. A single
    function is the op of its name, or the one in `ops`. A module whose functions take
    the arrays of a library says so for itself and all below it: ``ARRAYS = "cupy"``.
    Raises TargetError.
    """
    module_name, _, function_name = target.partition(":")
    module = _import(module_name)
    functions = _named(target, module, function_name, tuple(ops))
    if arrays := arrays_of(module):
        functions = {op: on_numpy(f, arrays) for op, f in functions.items()}
    return Candidate(target, functions)


def _named(
    target: str, module: ModuleType, function_name: str, ops: tuple[str, ...]
) -> dict[str, Callable]:
    """Return what the user named, by op name."""
    if not function_name:
        functions = _offers(module)
        if not functions and ops:
            named = (f"{' or '.join(_names(OPS[o]))} for {o}" for o in ops)
            raise TargetError(f"{target} has no function {', '.join(named)}")
        if not functions:
            raise TargetError(
                f"{target} offers no op; a function needs the name of one: "
                + ", ".join(OPS)
            )
        return functions
    function = getattr(module, function_name, None)
    if not callable(function):
        raise TargetError(f"{module.__name__} has no function {function_name!r}")
    return {_op_of(function_name, ops): function}


def arrays_of(module: ModuleType) -> str | None:
    """Return whose arrays a module says that it takes, after a trial."""
    words = module.__name__.split(".")
    packages = (".".join(words[:n]) for n in range(len(words), 0, -1))
    said = (getattr(sys.modules.get(name), "ARRAYS", None) for name in packages)
    arrays = next((name for name in said if name is not None), None)
    if arrays is not None:
        try:
            converter(arrays)(np.zeros(1, np.float32))
        except Exception as error:  # no such library here, or no device
            raise TargetError(
                f"{module.__name__} takes arrays of {arrays}: {error}"
            ) from error
    return arrays


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module raises on import
        kind = type(error).__name__
        meant = name.removesuffix(".py").strip("./").replace("/", ".")
        hint = f"; meant was: {meant}" if "/" in name or name.endswith(".py") else ""
        raise TargetError(f"cannot import {name}: {kind}: {error}{hint}") from error


def _op_of(function_name: str, ops: tuple[str, ...]) -> str:
    if len(ops) == 1:
        return ops[0]
    named = [o.name for o in OPS.values() if function_name in _names(o)]
    if len(named) != 1:
        raise TargetError(
            f"the function {function_name!r} is not named like an op; say which it is: "
            "--op " + " | ".join(OPS)
        )
    return named[0]


def _names(op: Op) -> tuple[str, str]:
    return op.function, f"{op.module}_{op.function}"


def _offers(module: ModuleType) -> dict[str, Callable]:
    found = ((op.name, _find(module, op)) for op in OPS.values())
    return {name: function for name, function in found if function is not None}


def _find(module: ModuleType, op: Op) -> Callable | None:
    if hasattr(module, "__path__"):
        submodule = f"{module.__name__}.{op.module}"
        if util.find_spec(submodule) is not None:
            return getattr(_import(submodule), op.function, None)
    functions = (getattr(module, name, None) for name in _names(op))
    return next((f for f in functions if callable(f)), None)


def call(function: Callable, op: Op, arguments: Mapping[str, Any]) -> Any:
    """Call a candidate as golden is called: the inputs by position, options by name.

    Options that a case does not use are not passed. Raises NotProvidedError where the
    candidate has no argument of that name or says so by NotImplementedError.
    """
    golden = inspect.signature(implementation(op, "ssmref.golden")).parameters
    by_position = [
        name
        for name, p in golden.items()
        if p.default is p.empty and p.kind is not p.KEYWORD_ONLY
    ]
    inputs = [arguments[name] for name in by_position]
    options = {n: v for n, v in arguments.items() if n not in by_position}
    if missing := [n for n in options if not _accepts(function, n)]:
        raise NotProvidedError(f"it has no argument {', '.join(missing)}")
    try:
        return function(*inputs, **options)
    except NotImplementedError as error:
        raise NotProvidedError(str(error) or "NotImplementedError") from error


def _accepts(function: Callable, name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # compiled functions may have no signature
        return True
    kinds = {p.kind for p in parameters.values()}
    return name in parameters or inspect.Parameter.VAR_KEYWORD in kinds
