"""What a case is, and the pieces that all families share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..random import Draw

# Rates A for a step of about 0.05: decays per token of 0.9999, 0.99, 0.9 and 0.3.
RATES = (-0.002, -0.2, -2.0, -24.0)


@dataclass(frozen=True)
class Case:
    """One designed input of an op.

    `build` returns the arguments in float64 by name, options included; `reason` says
    which mistake the case can see and others cannot.
    """

    op: str
    family: str
    sizes: str
    reason: str
    build: Callable[[Draw], dict[str, Any]]
    level: str = "core"

    @property
    def id(self) -> str:
        """The stable, readable name: ``mamba2.ssd/groups-inner/g2h6l37``."""
        return f"{self.op}/{self.family}/{self.sizes}"

    def arguments(self, dtype: np.dtype) -> dict[str, Any]:
        """Return the arguments with every floating array rounded to `dtype`."""
        return rounded(self.build(Draw(self.id)), dtype)


def rounded(arguments: dict[str, Any], dtype: np.dtype) -> dict[str, Any]:
    """Return the arguments with every floating array, also of states, in `dtype`."""
    return {name: _to(value, dtype) for name, value in arguments.items()}


def _to(value: Any, dtype: np.dtype) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_to(part, dtype) for part in value))
    if isinstance(value, np.ndarray) and np.iscomplexobj(value):
        return value.astype(np.result_type(dtype, np.complex64))
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
        return value.astype(dtype)
    return value


def family(
    op: str, arguments: Callable[..., dict[str, Any]], **rows: tuple[str, dict]
) -> Iterator[Case]:
    """Yield one case per row: ``family_name=(reason, keyword arguments)``.

    The sizes in the id are those that the row states.
    """
    for name, (reason, sizes) in rows.items():

        def build(draw: Draw, sizes: dict = sizes) -> dict[str, Any]:
            return arguments(draw, **sizes)

        yield Case(op, name.replace("_", "-"), _label(sizes), reason, build)


_LETTERS = {
    "batch": "b",
    "length": "l",
    "channels": "d",
    "heads": "h",
    "headdim": "p",
    "groups": "g",
    "ranks": "r",
    "state": "n",
    "width": "w",
    "angles": "s",
}


def _label(sizes: dict[str, Any]) -> str:
    given = ((letter, sizes.get(name)) for name, letter in _LETTERS.items())
    return "".join(f"{x}{n}" for x, n in given if n is not None) or "default"


def bounds(*lengths: int) -> np.ndarray:
    """Return cu_seqlens of sequences of these lengths."""
    return np.cumsum((0, *lengths), dtype=np.int64)


def cycle(values: tuple[float, ...], count: int) -> np.ndarray:
    """Return `count` of the `values`, repeated in order."""
    return np.resize(np.array(values, np.float64), count)


def sprinkle(array: np.ndarray, values: tuple[float, ...]) -> None:
    """Put the `values` at about every eighth entry of a new contiguous array."""
    if values:
        entries = array.reshape(-1)[:: max(array.size // 9, 1)]
        entries[:] = cycle(values, entries.size)
