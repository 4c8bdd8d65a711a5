"""Whether a document fits schema.json."""

import json
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

# Of what a stranger wrote, so much is shown: how it begins and what is wrong with it.
_BEGINNING, _END = 60, 100


def misfit(document: Any, kind: str) -> str:
    """Return why a document is no `kind` (``set``, ``case``), "" if it is one."""
    from jsonschema.exceptions import best_match

    try:
        # The first error alone: a document may have as many as it has places.
        first = next(_validator(kind).iter_errors(document), None)
        error = best_match([first]) if first else None
        return (
            f"{_place(error.absolute_path)}: {_short(error.message)}" if error else ""
        )
    except RecursionError:
        return "the whole: it is nested too deeply"


@cache
def _validator(kind: str) -> "Validator":
    """Return what checks a document; the library is loaded with the first one."""
    from jsonschema import Draft202012Validator

    text = resources.files(__package__ or "").joinpath("schema.json").read_text()
    defined = json.loads(text)["$defs"]
    return Draft202012Validator(_inlined(defined[kind], defined))


def _inlined(schema: Any, defined: dict[str, Any]) -> Any:
    """Return a schema without references, which take most of the time.

    And without uniqueItems, which compares all with all: `references` finds what is
    listed twice.
    """
    if isinstance(schema, list):
        return [_inlined(item, defined) for item in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {k: v for k, v in schema.items() if k not in ("$ref", "uniqueItems")}
    whole = {key: _inlined(value, defined) for key, value in rest.items()}
    name = schema.get("$ref", "").rpartition("/")[2]
    return _inlined(defined[name], defined) | whole if name else whole


def _place(path: Iterable[str | int]) -> str:
    keys = (f"[{key if isinstance(key, int) else key[:60]!r}]" for key in path)
    return "".join(keys) or "the whole"


def _short(message: str) -> str:
    if len(message) <= _BEGINNING + _END:
        return message
    return f"{message[:_BEGINNING]} ... {message[-_END:]}"
