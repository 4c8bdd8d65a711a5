"""What a case is, and the pieces that all families share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...golden._contract import map_state
from ...ops import OPS
from ..precision import per_token, rounded
from ..random import Draw
from .flags import flags_of

Arguments = dict[str, Any]
Builder = Callable[..., Arguments]
States = Callable[[Draw, Arguments, int], Any]

# Rates A for a step of about 0.05: decays per token of 0.9999, 0.99, 0.9 and 0.3.
RATES = (-0.002, -0.2, -2.0, -24.0)


@dataclass(frozen=True)
class Case:
    """One designed input of an op.

    `build` returns the arguments in float64 by name, options included; `reason` says
    which mistake the case can see and others cannot; `flags` name kinds of bugs.
    """

    op: str
    family: str
    sizes: str
    reason: str
    build: Callable[[Draw], dict[str, Any]]
    level: str = "core"
    flags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The stable, readable name: ``mamba2.ssd/groups-inner/g2h6l37``."""
        return f"{self.op}/{self.family}/{self.sizes}"

    def __str__(self) -> str:
        return self.id

    def arguments(self, dtype: np.dtype) -> dict[str, Any]:
        """Return the arguments in the precision of `dtype`; see `precision`."""
        return rounded(self.build(Draw(self.id)), dtype, per_token(OPS[self.op]))


def family(
    op: str, arguments: Callable[..., dict[str, Any]], **rows: tuple[str, dict]
) -> Iterator[Case]:
    """Yield one core case per row: ``family_name=(reason, keyword arguments)``.

    The sizes in the id are those that the row states.
    """
    for name, (reason, sizes) in rows.items():
        yield member(op, arguments, name.replace("_", "-"), reason, sizes)


def member(
    op: str,
    arguments: Callable[..., dict[str, Any]],
    name: str,
    reason: str,
    sizes: dict[str, Any],
    level: str = "core",
) -> Case:
    """Return the case of a family that has these sizes."""

    def build(draw: Draw) -> dict[str, Any]:
        return arguments(draw, **sizes)

    flags = flags_of(op, name, sizes)
    return Case(op, name, _label(sizes), reason, build, level, flags)


_LETTERS = {
    "batch": "b",
    "length": "l",
    "channels": "d",
    "heads": "h",
    "headdim": "p",
    "kv_heads": "kv",
    "valuedim": "v",
    "cached": "c",
    "inputs": "i",
    "outputs": "o",
    "groups": "g",
    "ranks": "r",
    "state": "n",
    "width": "w",
    "taps": "k",
    "angles": "s",
}


def _label(sizes: dict[str, Any]) -> str:
    given = ((letter, sizes.get(name)) for name, letter in _LETTERS.items())
    return "".join(f"{x}{n}" for x, n in given if n is not None) or "default"


def scan_of(arguments: Builder, states: States) -> Builder:
    """Return what draws a sequence or a pack, with `states` for its rows if initial."""

    def scan(
        draw: Draw,
        *,
        lengths: tuple[int, ...] = (),
        initial: bool = False,
        **sizes: Any,
    ) -> Arguments:
        drawn = arguments(draw, **sizes)
        rows = len(lengths) or len(next(iter(drawn.values())))
        if initial:
            drawn["initial_state"] = states(draw, drawn, rows)
        if lengths:
            drawn["cu_seqlens"] = bounds(*lengths)
        return drawn

    return scan


def step_of(arguments: Builder, states: States) -> Builder:
    """Return what draws one token and the states that it meets, zeros if `fresh`."""

    def step(
        draw: Draw,
        *,
        slots: tuple[int, ...] = (),
        pool: int = 0,
        fresh: bool = False,
        **sizes: Any,
    ) -> Arguments:
        drawn = arguments(draw, **sizes)
        state = states(draw, drawn, pool or len(next(iter(drawn.values()))))
        drawn["state"] = map_state(np.zeros_like, state) if fresh else state
        if slots:
            drawn["slots"] = np.array(slots, np.int64)
        return drawn

    return step


def complex_normal(draw: Draw, name: str, *shape: int) -> np.ndarray:
    """Return complex numbers whose two parts are normal."""
    return draw.normal(name, *shape) + 1j * draw.normal(f"{name}.imag", *shape)


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
