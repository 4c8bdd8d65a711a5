"""All cases, by op and by id."""

from ..ops import OPS
from .cases import layers, mamba1, mamba2, mamba3
from .cases.case import Case

_CASES = (*layers.CASES, *mamba1.CASES, *mamba2.CASES, *mamba3.CASES)
CASES: dict[str, Case] = {case.id: case for case in _CASES}


def cases_of(op: str) -> list[Case]:
    """Return the cases of an op in the order of the catalogue."""
    return [case for case in CASES.values() if case.op == op]


def covered_ops() -> list[str]:
    """Return the ops that have cases, in the order of the table of ops."""
    return [op for op in OPS if cases_of(op)]
