"""Two implementations of one function: do they return, and refuse, the same?

Also the ways in which arguments can be laid out, wrong, or of other sizes.
"""

import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

import numpy as np

Call = dict[str, Any]
EMPTY = inspect.Parameter.empty
# What Python and NumPy say where golden says nothing of its own: any error will do.
FOREIGN = re.compile("integer division or modulo|cannot reshape")


def required(function: Callable) -> list[str]:
    return [name for name, _, default in signature(function) if default is EMPTY]


def signature(function: Callable) -> list[tuple]:
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


def arrays_of(value: Any) -> list[np.ndarray]:
    """Return the arrays of a call or a result."""
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | tuple):
        return [array for part in parts for array in arrays_of(part)]
    return [value] if isinstance(value, np.ndarray) else []


def each(function: Callable, value: Any) -> Any:
    """Apply `function` to the arrays of a call, a result or a state."""
    if isinstance(value, dict):
        return {name: each(function, part) for name, part in value.items()}
    if hasattr(value, "_fields"):
        return type(value)(*(each(function, part) for part in value))
    return function(value) if isinstance(value, np.ndarray) else value


def quietly(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call a function on arguments that may lead to NaN or to infinity."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def refusal(function: Callable, call: Call) -> tuple[type, str] | None:
    """Return the type and message of the error, None where there is none."""
    try:
        quietly(function, **call)
    except Exception as error:
        # Golden knows longer floats.
        return type(error), re.sub(r"(needs one of: ).*", r"\1dtypes", str(error))
    return None


def difference(found: Any, expected: Any, limit: float, name: str = "") -> str:
    """Say where the structure or the numbers of two results differ; "" if nowhere."""
    if isinstance(expected, tuple):
        kind, needed = kind_of(found), kind_of(expected)
        if kind != needed:
            return f"{name} is {kind}, not {needed}"
        names = getattr(expected, "_fields", map(str, range(len(expected))))
        parts = zip(names, found, expected, strict=True)
        return "".join(difference(f, e, limit, f"{name}.{n}") for n, f, e in parts)
    if not isinstance(found, np.ndarray):
        return f"{name} is {found!r}"
    kind, needed = (found.dtype, found.shape), (expected.dtype, expected.shape)
    if kind != needed:
        return f"{name} is {kind}, not {needed}"
    return "" if close(name, found, expected, limit) else f"{name} has other numbers"


def kind_of(value: Any) -> tuple:
    if not isinstance(value, tuple):
        return (type(value).__name__,)
    return type(value).__name__, len(value), getattr(value, "_fields", ())


def close(name: str, found: np.ndarray, expected: np.ndarray, limit: float) -> bool:
    """Return whether NaN and infinities are the same and the rest is within a limit."""
    if not limit:
        return found.tobytes() == expected.tobytes()
    if name.endswith(".angle"):
        found, expected = (quietly(np.exp, 1j * x) for x in (found, expected))
    finite = np.isfinite(expected)
    size = np.max(np.abs(expected[finite]), initial=0)
    same = np.array_equal(found[~finite], expected[~finite], equal_nan=True)
    apart = np.abs(found[finite] - expected[finite])
    return same and bool(np.all(apart <= limit * size))


def strided(array: np.ndarray) -> np.ndarray:
    wide = np.repeat(array[..., None], 3, axis=-1)
    wide[..., 1:] = 0
    return wide[..., 0]


def backwards(array: np.ndarray) -> np.ndarray:
    every = (slice(None, None, -1),) * array.ndim
    return np.ascontiguousarray(array[every])[every]


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def changed(array: np.ndarray) -> Iterator[tuple[str, Any]]:
    """Yield what may stand in the place of an array, after what is done to it."""
    yield "None", None
    yield "a list", array.tolist()
    yield "a number", array.flat[0]
    for dtype in ("int64", "float16", "float32", "float64", "complex64", "complex128"):
        yield dtype, quietly(array.astype, dtype)
    yield "bool", array != 0
    yield "extra axis", array[None]
    yield "extra last axis", array[..., None]
    yield "dropped axis", array[0]
    for axis, size in enumerate(array.shape):
        yield f"axis {axis} longer", np.take(array, [*range(size), size - 1], axis)
        yield f"axis {axis} shorter", np.take(array, range(size - 1), axis)
        yield f"axis {axis} empty", np.take(array, [], axis)


def replaced(call: Call) -> dict[str, Call]:
    """Return calls with one array, or one array of a state, in another way."""
    calls = {}
    for name, value in call.items():
        if isinstance(value, np.ndarray):
            calls |= {f"{name} {w}": {**call, name: new} for w, new in changed(value)}
        elif hasattr(value, "_fields"):
            others = {"None": None, "tuple": tuple(value), "array": value[0]}
            for field, part in value._asdict().items():
                for what, new in changed(part):
                    others[f".{field} {what}"] = value._replace(**{field: new})
            calls |= {f"{name} {w}": {**call, name: o} for w, o in others.items()}
    return calls


def others(value: Any) -> tuple:
    """Return other values of an option, of which some make no sense."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return -1, 0, 1, 4, 7
    if isinstance(value, float):
        return -1.0, 0.0, 0.5, math.inf, math.nan
    if isinstance(value, str):
        return "wrong", value.upper(), ""
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return value[::-1], (value[0], value[0]), (math.nan, value[1]), (-1.0, math.inf)
    return ()


def axis_of(hint: Any, array: np.ndarray, words: tuple[str, ...]) -> int | None:
    """Return the axis that one of the words stands for."""
    for kind in get_args(hint) or (hint,):
        names = getattr(kind, "dim_str", "").split()
        if len(names) == array.ndim or any(n.startswith("*") for n in names):
            found = [i for i, n in enumerate(names) if n.lstrip("*") in words]
            return found[0] if found else None
    return None


def along(
    function: Callable, words: tuple[str, ...], rows: list[int], call: Call
) -> Call:
    """Return a call of `function` with some of the entries of an axis."""
    hints = get_type_hints(function)

    def taken(hint: Any, value: Any) -> Any:
        kinds = [k for k in get_args(hint) or (hint,) if hasattr(k, "_fields")]
        if hasattr(value, "_fields"):
            own = get_type_hints(kinds[0])
            return type(value)(*map(taken, (own[f] for f in value._fields), value))
        if not isinstance(value, np.ndarray):
            return value
        axis = axis_of(hint, value, words)
        return value if axis is None else np.take(value, rows, axis)

    return {name: taken(hints.get(name), value) for name, value in call.items()}
