"""A part of a report, and the order in which things stand in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .charts import Chart
from .series import Series, is_attention, rank
from .tables import Table

# What is compared over length; explorers and inference have sections of their own.
KINDS = {"block": "whole blocks", "op": "single ops"}


@dataclass(frozen=True)
class Section:
    """Charts, then tables, under a title.

    `only_page` is markup that stands before the tables, on the page alone.
    """

    id: str
    title: str
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    text: str = ""
    only_page: str = ""


def in_order(series: Sequence[Series[Any]]) -> list[Series[Any]]:
    """Return series by implementation, ours first, then attention, then the others."""
    return sorted(series, key=_order)


def _order(one: Series[Any]) -> tuple[Any, ...]:
    s = one.subject
    return rank(s.implementation), not is_attention(s), s.name, s.batch, s.dtype


def several(series: Sequence[Series[Any]]) -> list[Series[Any]]:
    """Return, in order, those that have more than one place on their axis."""
    return in_order([one for one in series if len(one.points) > 1])
