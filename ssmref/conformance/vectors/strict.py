"""Manifests of strangers: read by hand, only what is used, and nothing is believed.

The published schema (schema.json) says what a manifest looks like; this is what has to
hold before its numbers are used. Whatever does not is a VectorError.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ops import OPS, Op
from ..precision import DTYPES, dtype_of, eps_and_tiny
from ..verdict import LIMIT
from .files import VectorError, read_bytes
from .manifest import FORMAT
from .npy import DESCRIPTIONS
from .parts import annotations
from .schema import misfit

MANIFEST = "manifest.json"
# An id is a path within a set of vectors: three plain names, none of them ``..``.
ID = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]*/){2}[A-Za-z0-9][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = {"case": 2**20, "set": 2**24}
# Far more than any case has; a sparse file may claim as much without a disk.
_MOST_ELEMENTS = 2**26


@dataclass(frozen=True)
class Reference:
    """A case of a set: its id, its dtype and the checksum of its manifest."""

    id: str
    dtype: str
    sha256: str


@dataclass(frozen=True)
class Entry:
    """An array of a case: its file and what has to be in it."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A case of a set, as far as it is used."""

    id: str
    dtype: str
    level: str
    flags: tuple[str, ...]
    reason: str
    inputs: dict[str, Entry]
    options: dict[str, Any]
    golden: dict[str, Entry]
    scales: dict[str, Entry]

    @property
    def op(self) -> Op:
        """The op that the case is of."""
        return OPS[self.id.split("/")[0]]


def load(root: Path, name: str, kind: str) -> tuple[dict[str, Any], bytes]:
    """Return a JSON object and the bytes that it was read from."""
    path = root / name
    try:
        data = read_bytes(root, name, _LONGEST[kind])
    except FileNotFoundError as error:
        raise VectorError(f"{path} is missing") from error
    try:
        document = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        reason = str(error)[:80] or "nested too deeply"
        raise VectorError(f"{path} is not JSON: {reason}") from error
    _need(type(document) is dict, path, "it is not an object")
    _need(document.get("format") == FORMAT, path, f"'format' is not {FORMAT}")
    return document, data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return dict(pairs)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _need(holds: bool, path: Path, problem: str) -> None:
    if not holds:
        raise VectorError(f"{path} is no manifest of this format: {problem}")


def _field(document: Any, key: str, kind: type, path: Path) -> Any:
    value = document.get(key) if type(document) is dict else None
    if type(value) is not kind:
        problem = f"{key!r} has to be of type {kind.__name__}"
        raise VectorError(f"{path} is no manifest of this format: {problem}")
    return value


def _text(document: Any, key: str, path: Path) -> str:
    value = _field(document, key, str, path)
    _need(value.isprintable(), path, f"{key!r} has characters that cannot be printed")
    return value


def _one_of(document: Any, key: str, known: Iterable[str], path: Path) -> str:
    value = _text(document, key, path)
    _need(value in known, path, f"{key!r} is {value[:60]!r}, which is not known")
    return value


def _sha256(document: Any, path: Path) -> str:
    value = _text(document, "sha256", path)
    _need(bool(_SHA256.fullmatch(value)), path, "'sha256' is no checksum")
    return value


def references(document: dict[str, Any], path: Path) -> list[Reference]:
    """Return the cases that the manifest of a set lists."""
    found = []
    for entry in _field(document, "cases", list, path):
        case_id = _text(entry, "id", path)
        known = ID.fullmatch(case_id) and len(case_id) < 200
        _need(bool(known), path, f"{case_id[:60]!r} is no id of a case")
        dtype = _one_of(entry, "dtype", DTYPES, path)
        found.append(Reference(case_id, dtype, _sha256(entry, path)))
    _need(bool(found), path, "it lists no case")
    names = {(r.id, r.dtype) for r in found}
    _need(len(names) == len(found), path, "a case is listed twice")
    _need(not (problem := misfit(document, "set")), path, problem)
    return found


def manifest(document: dict[str, Any], reference: Reference, path: Path) -> Manifest:
    """Return the manifest of the case that `reference` names."""
    for key in ("id", "dtype"):
        same = _text(document, key, path) == getattr(reference, key)
        _need(same, path, f"{key!r} is not that of its folder")
    op = OPS[_one_of(document, "op", OPS, path)]
    _need(reference.id.startswith(f"{op.name}/"), path, "'op' is not that of its id")
    _need(document.get("limit") == LIMIT, path, f"'limit' is not {LIMIT:g}")
    outputs = _field(document, "outputs", dict, path)
    _need(set(outputs) == set(op.outputs), path, f"its outputs are not {op.outputs}")
    found = Manifest(
        reference.id,
        reference.dtype,
        _text(document, "level", path),
        _flags(document, path),
        _text(document, "reason", path),
        _inputs(document, op, path),
        _options(document, op, path),
        {n: _result(outputs[n], n, "golden", path) for n in op.outputs},
        {n: _result(outputs[n], n, "scale", path) for n in op.outputs},
    )
    _need(not (problem := misfit(document, "case")), path, problem)
    units = eps_and_tiny(dtype_of(found.dtype))
    same = (document["eps"], document["tiny"]) == tuple(map(float, units))
    _need(same, path, f"'eps' or 'tiny' is not that of {found.dtype}")
    return found


def _flags(document: dict[str, Any], path: Path) -> tuple[str, ...]:
    flags = _field(document, "flags", list, path)
    known = all(type(f) is str and f.isprintable() for f in flags)
    _need(known, path, "'flags' are not names")
    return tuple(flags)


def _inputs(document: dict[str, Any], op: Op, path: Path) -> dict[str, Entry]:
    inputs = _field(document, "inputs", dict, path)
    for name in inputs:
        _need(name in annotations(op), path, f"{op.name} has no input {name[:60]!r}")
    return {
        name: _entry(entry, f"in/{name}.npy", _shape(entry, path), path)
        for name, entry in inputs.items()
    }


def _result(output: Any, name: str, kind: str, path: Path) -> Entry:
    folder = "out" if kind == "golden" else "scale"
    stored = _field(output, kind, dict, path)
    entry = _entry(stored, f"{folder}/{name}.npy", _shape(output, path), path)
    allowed = ("float64", "complex128") if kind == "golden" else ("float64",)
    _need(entry.dtype in allowed, path, f"{kind!r} of {name} has dtype {entry.dtype}")
    return entry


def _entry(stored: Any, file: str, shape: tuple[int, ...], path: Path) -> Entry:
    _need(_text(stored, "file", path) == file, path, f"a 'file' is not {file}")
    dtype = _one_of(stored, "dtype", DESCRIPTIONS, path)
    return Entry(file, dtype, shape, _sha256(stored, path))


def _shape(document: Any, path: Path) -> tuple[int, ...]:
    shape = _field(document, "shape", list, path)
    sizes = all(type(n) is int and 0 <= n <= _MOST_ELEMENTS for n in shape)
    small = sizes and len(shape) <= 8 and math.prod(map(_some, shape)) <= _MOST_ELEMENTS
    _need(small, path, "'shape' is no list of sizes that vectors have")
    return tuple(shape)


def _some(size: int) -> int:
    return max(size, 1)


def _options(document: dict[str, Any], op: Op, path: Path) -> dict[str, Any]:
    options = _field(document, "options", dict, path)
    for name, value in options.items():
        _need(name in annotations(op), path, f"{op.name} has no option {name[:60]!r}")
        parts = value if type(value) is list else [value]
        plain = all(type(v) in (bool, int, float, str) for v in parts)
        _need(plain, path, f"the option {name} is no scalar")
    return {name: _scalar(value) for name, value in options.items()}


def _scalar(value: Any) -> Any:
    if type(value) is list:
        return tuple(map(_scalar, value))
    return float(value) if value in ("inf", "-inf") else value
