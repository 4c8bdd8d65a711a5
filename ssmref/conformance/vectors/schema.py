"""Whether a document fits schema.json, by the keywords that this one uses."""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def _is(value: Any, names: str | list[str]) -> bool:
    listed = [names] if isinstance(names, str) else names
    return any(type(value) in _TYPES[name] for name in listed)


def _object(value: Any) -> dict[str, Any]:
    return value if _is(value, "object") else {}


def _array(value: Any) -> list[Any]:
    return value if _is(value, "array") else []


def _unique(values: list[Any]) -> bool:
    return len({json.dumps(v, sort_keys=True) for v in values}) == len(values)


# What a keyword asks of a value; one that does not apply to its type asks nothing.
_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "type": _is,
    "enum": lambda v, known: v in known,
    "const": lambda v, only: _is(v, "number") and v == only,
    "anyOf": lambda v, options: any(not any(_misfits(v, o, "")) for o in options),
    "required": lambda v, keys: not _is(v, "object") or set(keys) <= set(v),
    "dependentRequired": lambda v, needs: all(
        set(keys) <= set(v) for name, keys in needs.items() if name in _object(v)
    ),
    "minProperties": lambda v, n: not _is(v, "object") or len(v) >= n,
    "minItems": lambda v, n: not _is(v, "array") or len(v) >= n,
    "maxItems": lambda v, n: len(_array(v)) <= n,
    "uniqueItems": lambda v, _: _unique(_array(v)),
    "minimum": lambda v, n: not _is(v, "number") or v >= n,
    "maximum": lambda v, n: not _is(v, "number") or v <= n,
    "exclusiveMinimum": lambda v, n: not _is(v, "number") or v > n,
    "maxLength": lambda v, n: not _is(v, "string") or len(v) <= n,
    "pattern": lambda v, p: not _is(v, "string") or re.search(p, v) is not None,
}


def misfit(document: Any, kind: str) -> str:
    """Return why a document is no `kind` (``set``, ``case``), "" if it is one."""
    return next(_misfits(document, {"$ref": f"#/$defs/{kind}"}, ""), "")


@cache
def _schema() -> dict[str, Any]:
    return json.loads(
        resources.files(__package__ or "").joinpath("schema.json").read_text()
    )


def _misfits(value: Any, schema: dict[str, Any], place: str) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _misfits(value, _schema()["$defs"][name], place)
    for keyword, holds in _HOLDS.items():
        if keyword in schema and not holds(value, schema[keyword]):
            needed = json.dumps(schema[keyword])[:80]
            yield f"{place or 'the whole'} does not fit the schema: {keyword} {needed}"
    for i, item in enumerate(_array(value) if "items" in schema else ()):
        yield from _misfits(item, schema["items"], f"{place}[{i}]")
    yield from _in_object(_object(value), schema, place)


def _in_object(
    value: dict[str, Any], schema: dict[str, Any], place: str
) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key, inner in value.items():
        below = f"{place}[{key[:60]!r}]"
        yield from _misfits(key, schema.get("propertyNames", {}), below)
        if key not in known and others is False:
            yield f"{below} does not fit the schema: it is not known"
        yield from _misfits(inner, known.get(key, others or {}), below)
