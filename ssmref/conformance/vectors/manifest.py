"""What is written beside the arrays: ``manifest.json`` and ``case.txt``."""

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...ops import OPS, implementation
from ..cases.case import Case
from ..outputs import flatten
from ..precision import eps_and_tiny, rounded
from ..truth import Truth
from ..verdict import LIMIT, judge_output
from .npy import to_bytes
from .parts import arrays, input_axes, options, output_axes, returned_dtype

FORMAT = 1
# The version of the set of vectors, not of the code. The first number changes when a
# case that was exported before means something else, the second when some are added.
VECTOR_SET = "1.2"
LAYOUT = (
    ".npy format 1.0, little-endian, C order (the last axis is contiguous); "
    "bfloat16 as its 16 bits in uint16; complex numbers as real, imaginary"
)


def json_bytes(document: dict[str, Any]) -> bytes:
    """Return a document as JSON that is the same for the same content."""
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def sha256(data: bytes) -> str:
    """Return the checksum that manifests hold."""
    return hashlib.sha256(data).hexdigest()


def case_manifest(case: Case, truth: Truth) -> dict[str, Any]:
    """Return the manifest of a case without its golden outputs."""
    op = OPS[case.op]
    eps, tiny = eps_and_tiny(truth.dtype)
    return {
        "format": FORMAT,
        "vector_set": VECTOR_SET,
        "id": case.id,
        "op": case.op,
        "dtype": truth.dtype.name,
        "level": case.level,
        "flags": list(case.flags),
        "reason": case.reason,
        "limit": LIMIT,
        "eps": eps,
        "tiny": tiny,
        "layout": LAYOUT,
        "inputs": {
            name: _array(f"in/{name}.npy", array, input_axes(op, name, array.ndim))
            for name, array in arrays(truth.arguments).items()
        },
        "options": {n: _jsonable(v) for n, v in options(truth.arguments).items()},
        "outputs": {
            name: {
                "dtype": returned_dtype(name, golden, truth.dtype).name,
                "shape": list(golden.shape),
                "axes": output_axes(op, name, golden.ndim),
            }
            for name, golden in truth.outputs.items()
        },
    }


def golden_manifest(case: Case, truth: Truth) -> dict[str, Any]:
    """Return the manifest of a case with its golden outputs and their scales."""
    document = case_manifest(case, truth)
    errors = golden_errors(case, truth)
    for name, output in document["outputs"].items():
        golden, scale = truth.outputs[name], truth.scales[name]
        output["golden"] = _file(f"out/{name}.npy", golden)
        output["scale"] = _file(f"scale/{name}.npy", scale)
        output["golden_error"] = errors[name]
    return document


def _array(file: str, array: np.ndarray, axes: list[str]) -> dict[str, Any]:
    stored = _file(file, array)
    return {**stored, "shape": list(array.shape), "axes": axes}


def _file(file: str, array: np.ndarray) -> dict[str, Any]:
    checksum = sha256(to_bytes(array))
    return {"file": file, "dtype": array.dtype.name, "sha256": checksum}


def _jsonable(value: Any) -> Any:
    """Return an option as JSON has it: infinity is the text ``inf``."""
    if isinstance(value, tuple | list):
        return [_jsonable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def golden_errors(case: Case, truth: Truth) -> dict[str, float | None]:
    """Return how far off each golden output may be, in units of 2^-52 times its scale.

    The same function run in float64 shows how many roundings add up; golden has as many
    of the extended precision's, and the one to float64 at the end, half a unit at most.
    None stands for golden outputs that are not finite.
    """
    op, double = OPS[case.op], np.dtype(np.float64)
    golden = implementation(op, "ssmref.golden")
    with np.errstate(all="ignore"):
        run = flatten(op, golden(**rounded(truth.arguments, double)))
    finer = float(np.finfo(np.longdouble).eps / np.finfo(double).eps)
    errors: dict[str, float | None] = {}
    for name, expected in truth.outputs.items():
        scale = truth.scales[name]
        got = run[name].astype(expected.dtype)
        with np.errstate(invalid="ignore"):
            last = np.max(np.abs(expected) / (2 * scale + 1e-300), initial=0)
        rest = judge_output("y", got, expected, scale, double).ratio
        error = float(f"{last + rest * finer:.2g}")
        errors[name] = error if math.isfinite(error) else None
    return errors


def case_text(document: dict[str, Any]) -> str:
    """Return the same for programs without a reader of JSON: ``key=value`` lines."""
    return "".join(f"{key}={value}\n" for key, value in _lines(document))


def _lines(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("format", "id", "op", "dtype"):
        yield key, str(document[key])
    for name, entry in document["inputs"].items():
        yield f"in.{name}", _declared(entry)
    for name, value in document["options"].items():
        yield f"option.{name}", _option(value)
    for name, entry in document["outputs"].items():
        yield f"out.{name}", _declared(entry)


def _declared(entry: dict[str, Any]) -> str:
    return " ".join([entry["dtype"], *map(str, entry["shape"])])


def _option(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_option, value))
    return str(int(value)) if isinstance(value, bool) else str(value)
