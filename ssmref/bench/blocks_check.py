"""Whether a block is right, which has no error bound of its own as ops have.

The truth is the block over `ssmref.golden` one precision higher. The unit of errors is
what the same block over golden loses in the precision of the candidate: the numbers in
between are rounded there as here, so it knows how sensitive the result is. One rounding
of the largest result is added, for where golden happened to lose less. An error may be
`verdict.LIMIT` units, as for ops: another order of sums stays far below, and a wrong
term is some hundred thousand units in float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..conformance.verdict import LIMIT
from .blocks_run import flat, run
from .contender import Outputs
from .verification import Check

GOLDEN = "ssmref.golden"
_HIGHER = {"float32": np.float64, "float64": np.longdouble}


@dataclass(frozen=True)
class Expected:
    """What is right, and the unit of its errors, by output."""

    outputs: Mapping[str, np.ndarray]
    units: Mapping[str, float]


def expected(arguments: Mapping[str, Any], dtype: np.dtype) -> Expected:
    """Compute golden on these arguments, which are of this dtype."""
    right = _golden(arguments, np.dtype(_HIGHER[dtype.name]))
    lost = _golden(arguments, dtype)
    eps = float(np.finfo(dtype).eps)
    units = {
        name: _largest(_errors(name, lost[name], exact)) + eps * _largest(exact)
        for name, exact in right.items()
    }
    return Expected(right, units)


def _golden(arguments: Mapping[str, Any], dtype: np.dtype) -> dict[str, np.ndarray]:
    raised = {name: _cast(value, dtype) for name, value in arguments.items()}
    return flat(run(**raised, ops=GOLDEN))


def _cast(value: Any, dtype: np.dtype) -> Any:
    """Return the arrays inside of tuples, lists and dictionaries in a dtype."""
    if isinstance(value, np.ndarray):
        return value.astype(dtype)
    if isinstance(value, Mapping):
        return {name: _cast(part, dtype) for name, part in value.items()}
    if isinstance(value, list):
        return [_cast(part, dtype) for part in value]
    if fields := getattr(value, "_fields", ()):
        return type(value)(*(_cast(getattr(value, f), dtype) for f in fields))
    return value


def last_row(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the last row of the batch."""
    caches = _last_row(arguments["caches"])
    return {**arguments, "x": arguments["x"][-1:], "caches": caches}


def _last_row(value: Any) -> Any:
    if isinstance(value, list):
        return [_last_row(part) for part in value]
    if fields := getattr(value, "_fields", ()):
        return type(value)(*(_last_row(getattr(value, f)) for f in fields))
    return None if value is None else value[-1:]


def judged(right: Expected, got: Outputs, place: str) -> Check:
    """Judge the outputs that there are; y has to be."""
    if "y" not in got:
        return Check(False, float("inf"), (place,), "there is no output y")
    found = [_judged(right, name, array, place) for name, array in got.items()]
    worst = max(found, key=lambda check: (not check.passed, check.ratio))
    return Check(worst.passed, worst.ratio, (place,), worst.problem)


def _judged(right: Expected, name: str, got: np.ndarray, place: str) -> Check:
    exact = right.outputs.get(name)
    if exact is None or got.shape != exact.shape:
        needed = "no such output" if exact is None else f"shape {exact.shape}"
        problem = f"{place}: {name} has shape {got.shape}; needed is {needed}"
        return Check(False, float("inf"), (place,), problem)
    error = _errors(name, got.astype(exact.dtype), exact)
    ratio = _largest(error) / right.units[name] if error.size else 0.0
    if ratio <= LIMIT:
        return Check(True, ratio, (place,))
    at = np.unravel_index(np.argmax(np.nan_to_num(error, nan=np.inf)), error.shape)
    words = f"{name} at {tuple(map(int, at))} is {got[at]:.6g}, expected"
    problem = f"{place}: {words} {exact[at]:.6g}, ratio {ratio:.3g}, limit {LIMIT:g}"
    return Check(
        False, ratio if np.isfinite(ratio) else float("inf"), (place,), problem
    )


def _errors(name: str, got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return how far numbers are apart; of angles, a turn more is no error."""
    if not name.endswith(".angle"):
        return np.abs(got - exact)
    return np.hypot(np.cos(got) - np.cos(exact), np.sin(got) - np.sin(exact))


def _largest(array: np.ndarray) -> float:
    return float(np.max(np.abs(array), initial=0))
