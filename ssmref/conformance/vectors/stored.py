"""Sets of vectors on disk: the cases and what is right, from the files alone."""

from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ...golden._contract import check_arguments
from ...ops import implementation
from ..cases.case import Case
from ..precision import dtype_of, rounded, wide
from ..truth import Truth
from . import npy
from .files import VectorError
from .folder import place
from .manifest import sha256
from .parts import output_axes, states
from .strict import MANIFEST, Entry, Manifest, Reference, load, manifest, references


def open_set(root: Path) -> list[Reference]:
    """Return the cases of the set in the folder `root`."""
    document, _ = load(root, MANIFEST, "set")
    return references(document, root / MANIFEST)


def read_case(root: Path, reference: Reference) -> tuple[Case, Truth]:
    """Return a case of a set and its truth; every file has to have its checksum."""
    folder = root.joinpath(place(reference.id, reference.dtype))
    name = f"{place(reference.id, reference.dtype)}/{MANIFEST}"
    document, data = load(root, name, "case")
    if sha256(data) != reference.sha256:
        raise VectorError(
            f"{root / name} is damaged: its sha256 is not that of the set"
        )
    found = manifest(document, reference, root / name)
    golden = {n: _array(root, found, e) for n, e in found.golden.items()}
    scales = {n: _array(root, found, e) for n, e in found.scales.items()}
    for output, scale in scales.items():
        if not np.all(~(scale < 0) & ~np.isinf(scale)):
            path = folder / found.scales[output].file
            raise VectorError(
                f"{path} is no scale: it has negative or infinite numbers"
            )
    build = partial(_arguments, root, found)
    arguments = build(None)
    _refuse_misfits(found, arguments, golden, root / name)
    truth = Truth(dtype_of(found.dtype), arguments, golden, scales)
    return _case(found, build), truth


def _refuse_misfits(
    found: Manifest,
    arguments: dict[str, Any],
    golden: dict[str, np.ndarray],
    path: Path,
) -> None:
    """Refuse inputs and outputs that are no arguments and no results of the op."""
    function = implementation(found.op, "ssmref.golden")
    wider = rounded(arguments, wide(dtype_of(found.dtype)))
    try:
        signature(function).bind(**arguments)
        check_arguments(function, wider)
    except (TypeError, ValueError) as error:
        raise VectorError(f"{path} is no case of {found.op.name}: {error}") from error
    for output, array in golden.items():
        if len(output_axes(found.op, output, array.ndim)) != array.ndim:
            problem = f"{output} cannot have {array.ndim} axes"
            raise VectorError(f"{path} is no case of {found.op.name}: {problem}")


def _case(found: Manifest, build: Any) -> Case:
    op, family, sizes = found.id.split("/")
    return Case(op, family, sizes, found.reason, build, found.level, found.flags)


def _array(root: Path, found: Manifest, entry: Entry) -> np.ndarray:
    name = f"{place(found.id, found.dtype)}/{entry.file}"
    try:
        return npy.read(root, name, entry.dtype, entry.shape, entry.sha256)
    except FileNotFoundError as error:
        raise VectorError(f"{root / name} is missing") from error


def _arguments(root: Path, found: Manifest, _draw: Any) -> dict[str, Any]:
    """Return the arguments from the files, as a case builds them."""
    flat = {name: _array(root, found, entry) for name, entry in found.inputs.items()}
    arguments = {n: a for n, a in flat.items() if "." not in n} | found.options
    for name, kind in states(found.op).items():
        parts = {f: flat[f"{name}.{f}"] for f in kind._fields if f"{name}.{f}" in flat}
        if len(parts) == len(kind._fields):
            arguments[name] = kind(**parts)
    return arguments
