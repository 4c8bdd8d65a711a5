"""Figures of others, with their sources; the data are in claims.json.

``quoted`` has a list for each table of a report that knows it ("memory",
"throughput"): who is quoted, the text for each length, the source, and if it is known
which configuration gives these figures. ``published`` has one entry for each claim.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from .tables import Cell, Row, Table

COLUMNS = {
    "claim": "claim",
    "hardware": "hardware",
    "shape": "shape",
    "dtype": "dtype",
    "provenance": "how it came about",
    "checked": "what can be checked here",
}

_UNKNOWN = "An empty cell: not named there, or not confirmed."


@dataclass(frozen=True)
class Quote:
    """A row of figures of somebody else, by length."""

    who: str
    values: dict[int, str]
    source: str
    note: str = ""


@cache
def _data() -> dict[str, Any]:
    text = files(str(__package__)).joinpath("claims.json").read_text(encoding="utf-8")
    return json.loads(text)


def quoted(table: str) -> list[Quote]:
    """Return the figures that are commonly quoted where this table has its own."""
    return [
        Quote(
            entry["who"],
            {int(length): text for length, text in entry["values"].items()},
            entry["source"],
            entry.get("note", ""),
        )
        for entry in _data()["quoted"].get(table, [])
    ]


def quoted_lengths(table: str) -> set[int]:
    """Return the lengths for which something is quoted."""
    return {length for quote in quoted(table) for length in quote.values}


def quoted_rows(table: str, columns: Sequence[int]) -> list[Row]:
    """Return a row for each quotation, in the columns of the table."""
    return [
        Row(
            f"{quote.who}: commonly quoted",
            [_quoted_cell(quote, length) for length in columns],
        )
        for quote in quoted(table)
    ]


def _quoted_cell(quote: Quote, length: int) -> Cell:
    text = quote.values.get(length)
    if text is None:
        return Cell("")
    return Cell(text, "quoted", "quoted", quote.note, quote.source)


def published() -> list[Table]:
    """Return a table of the claims of each publication."""
    entries: dict[str, list[dict[str, str]]] = {}
    for entry in _data()["published"]:
        entries.setdefault(entry["publication"], []).append(entry)
    return [
        Table(
            f"claims-{number}",
            title,
            ["no.", *COLUMNS.values()],
            [_claim(n, entry) for n, entry in enumerate(own, 1)],
            _UNKNOWN,
        )
        for number, (title, own) in enumerate(entries.items(), 1)
    ]


def _claim(number: int, entry: dict[str, str]) -> Row:
    cells = [Cell(entry.get(name, "")) for name in COLUMNS]
    first = Cell(entry["claim"], "quoted", "quoted", "", entry["source"])
    return Row(str(number), [first, *cells[1:]])
