"""Make a stranger's function callable as the golden op is.

::

    from ssmref.conformance.adapt import adapt
    from mylib import selective_scan_fn

    selective_scan = adapt(
        "mamba1.selective_scan",
        selective_scan_fn,
        names={"dt": "delta", "dt_bias": "delta_bias"},
        layouts={"u": "batch channels length", "y": "batch channels length"},
        to="torch",
    )

``names`` says what the function calls an argument of golden; all others keep their
names. ``layouts`` says in which order it has the axes of an argument or an output, in
the words of golden's annotations; an argument that comes in several shapes has one
layout for each, with `` | `` between them, and a part of a state is called
``initial_state.ssm``. ``to`` says whose arrays it takes: "torch", "jax", "cupy" or a
function of one NumPy array. Outputs may be of any library.

Every argument goes by name, unless ``positional`` lists, by golden's names, the inputs
that go by position. An option that the function does not have is an option that the
adapter does not have: cases with it then count as not provided. What the function needs
besides is given by `functools.partial`.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

import numpy as np

from ..ops import OPS, Op, implementation
from .arrays import converter
from .outputs import axes, flatten

Words = tuple[str, ...]
# What to transpose by, from golden to theirs, for an array's name and number of axes.
Orders = dict[tuple[str, int], tuple[int, ...]]


def adapt(
    op: str,
    function: Callable,
    *,
    names: Mapping[str, str] | None = None,
    layouts: Mapping[str, str] | None = None,
    to: str | Callable[[np.ndarray], Any] | None = None,
    positional: Sequence[str] = (),
) -> Callable:
    """Return `function` with the signature of the golden op; see above.

    Raises ValueError for an op, a name or a layout that golden does not have.
    """
    names, convert = dict(names or {}), converter(to)
    signature = _signature(op, function, names, positional)
    orders = _orders(OPS[op], layouts or {})

    def adapted(*inputs: Any, **options: Any) -> Any:
        arguments = signature.bind(*inputs, **options).arguments
        theirs = {
            name: _outward(name, value, orders, convert)
            for name, value in arguments.items()
        }
        first = [theirs.pop(name) for name in positional]
        by_name = {names.get(name, name): value for name, value in theirs.items()}
        return _inward(OPS[op], function(*first, **by_name), orders)

    adapted.__name__ = OPS[op].function
    adapted.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return adapted


def _signature(
    op: str, function: Callable, names: Mapping[str, str], positional: Sequence[str]
) -> inspect.Signature:
    """Return golden's signature without the options that `function` does not have."""
    if op not in OPS:
        raise ValueError(f"op is {op!r}; ops are: {', '.join(OPS)}")
    golden = inspect.signature(implementation(OPS[op], "ssmref.golden")).parameters
    inputs = [n for n, p in golden.items() if p.default is p.empty]
    _check_known(f"{op} has no argument", names, golden)
    _check_known(f"{op} has no input", positional, inputs)
    theirs = _parameters(function)
    kept = [
        parameter.replace(annotation=parameter.empty)
        for name, parameter in golden.items()
        if name in inputs or theirs is None or names.get(name, name) in theirs
    ]
    return inspect.Signature(kept)


def _parameters(function: Callable) -> set[str] | None:
    """Return the names of parameters, None where any name may be one."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled functions may have no signature
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters}


def _check_known(complaint: str, given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{complaint} {name!r}; it has: {', '.join(known)}")


def _orders(op: Op, layouts: Mapping[str, str]) -> Orders:
    """Return how to transpose each array that has a layout."""
    shapes = _shapes(op)
    _check_known(f"{op.name} has no array", layouts, shapes)
    orders: Orders = {}
    for name, text in layouts.items():
        for layout in text.split("|"):
            theirs = layout.split()
            golden = _fitting(
                f"the layout of {name} in {op.name}", theirs, shapes[name]
            )
            orders[name, len(theirs)] = tuple(golden.index(word) for word in theirs)
    return orders


def _fitting(what: str, theirs: list[str], shapes: list[Words]) -> Words:
    """Return the golden shape that has the same axes."""
    for golden in shapes:
        if sorted(golden) == sorted(theirs):
            return golden
    known = " | ".join(" ".join(golden) for golden in shapes)
    raise ValueError(f"{what} is {' '.join(theirs)!r}; golden has: {known}")


def _shapes(op: Op) -> dict[str, list[Words]]:
    """Return the shapes that golden knows of every array that goes in or out."""
    hints = get_type_hints(implementation(op, "ssmref.golden"))
    found: dict[str, list[Words]] = {name: [words] for name, words in axes(op).items()}
    for name, hint in hints.items():
        if name != "return":
            _collect(name, hint, found)
    return found


def _collect(name: str, hint: Any, found: dict[str, list[Words]]) -> None:
    if hasattr(hint, "dim_str"):
        found.setdefault(name, []).append(tuple(hint.dim_str.split()))
    elif hasattr(hint, "_fields"):
        for field, part in get_type_hints(hint).items():
            _collect(f"{name}.{field}", part, found)
    else:
        for part in get_args(hint):
            _collect(name, part, found)


def _outward(name: str, value: Any, orders: Orders, convert: Callable) -> Any:
    """Return an argument as the function takes it."""
    if hasattr(value, "_fields"):
        parts = zip(value._fields, value, strict=True)
        return type(value)(
            *(_outward(f"{name}.{f}", part, orders, convert) for f, part in parts)
        )
    if not isinstance(value, np.ndarray):
        return value
    if order := orders.get((name, value.ndim)):
        value = np.ascontiguousarray(value.transpose(order))
    return convert(value)


def _inward(op: Op, result: Any, orders: Orders) -> tuple[np.ndarray, ...]:
    """Return the outputs as golden returns them, one after the other."""
    return tuple(
        array.transpose(np.argsort(order))
        if (order := orders.get((name, array.ndim)))
        else array
        for name, array in flatten(op, result).items()
    )
