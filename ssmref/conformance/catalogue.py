"""All cases, by op and by id."""

from ..ops import OPS
from .cases import (
    attention,
    blocks,
    caches,
    corners,
    endurance,
    extended,
    extended_parts,
    h3,
    layers,
    mamba1,
    mamba2,
    mamba3,
    norms,
    pairs,
    parameters,
    s4,
    s4_modes,
    s5,
    stages,
)
from .cases.case import Case

_CASES: tuple[Case, ...] = (
    *layers.CASES,
    *norms.CASES,
    *mamba1.CASES,
    *mamba2.CASES,
    *mamba3.CASES,
    *s4.CASES,
    *s5.CASES,
    *h3.CASES,
    *attention.CASES,
    *caches.CASES,
    *parameters.CASES,
    *stages.CASES,
    *blocks.CASES,
    *s4_modes.CASES,
    *corners.CASES,
    *pairs.CASES,
)
# From what everybody should run to what takes minutes or tolerates less.
LEVELS = ("core", "extended", "long", "precision")
_ALL = (*_CASES, *extended.EXTENDED, *extended_parts.EXTENDED, *endurance.ENDURANCE)
ALL_CASES: dict[str, Case] = {case.id: case for case in _ALL}
CASES: dict[str, Case] = {i: c for i, c in ALL_CASES.items() if c.level == "core"}


def cases_of(op: str, level: str = "core") -> list[Case]:
    """Return the cases of an op at one of the `LEVELS`, in the catalogue's order."""
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; it needs to be one of {LEVELS}")
    return [c for c in ALL_CASES.values() if c.op == op and c.level == level]


def covered_ops() -> list[str]:
    """Return the ops that have core cases, in the order of the table of ops."""
    return [op for op in OPS if cases_of(op)]
