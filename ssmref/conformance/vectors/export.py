"""Sets of vectors: written whole or not at all, and frozen into one file."""

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import Case
from ..truth import truth
from .files import VectorError
from .folder import place, write_golden, write_inputs
from .manifest import FORMAT, VECTOR_SET, json_bytes, sha256
from .parts import arrays, returned_dtype
from .strict import MANIFEST

# The frozen set has the core cases in float32 whose folder is not larger than this; the
# few that are, are there for their length, and have the same equations as others.
FROZEN_BYTES = 22 * 1024
FROZEN_MOST = 5_000_000
_EARLIEST = (1980, 1, 1, 0, 0, 0)

Job = tuple[Case, np.dtype]


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give a folder that becomes `target` at the end, unless something fails before.

    `target` may exist if it is empty; nothing is left behind by a failure.
    """
    target = target.resolve()
    if target.is_dir() and any(target.iterdir()):
        raise VectorError(f"{target} is not empty; vectors need a folder of their own")
    if target.exists() and not target.is_dir():
        raise VectorError(f"{target} is not a folder")
    if not target.parent.is_dir():
        raise VectorError(f"{target.parent} is not a folder")
    try:
        hidden = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:  # it would name the hidden folder
        raise VectorError(f"{target} cannot be made: {error.strerror}") from error
    try:
        whole = hidden / "set"
        whole.mkdir()
        yield whole
        if target.exists():
            target.rmdir()
        whole.rename(target)
    finally:
        shutil.rmtree(hidden)


def write_set(root: Path, jobs: Iterable[Job]) -> Iterator[tuple[Case, np.dtype, bool]]:
    """Write the vectors of each case in its dtype, and at the end their manifest.

    Yields each job and whether it was written: cases that a dtype cannot hold are not.
    """
    listed = []
    for case, dtype in jobs:
        fitting = fits(case, dtype)
        if fitting:
            listed.append(_write(root / place(case.id, dtype.name), case, dtype))
        yield case, dtype, fitting
    if not listed:
        raise VectorError("no case is left: their numbers exceed the dtype")
    root.joinpath(MANIFEST).write_bytes(json_bytes(set_manifest(listed)))


def _write(folder: Path, case: Case, dtype: np.dtype) -> dict[str, Any]:
    write_inputs(folder, case, truth(case, dtype))
    write_golden(folder, case, truth(case, dtype))
    checksum = sha256(folder.joinpath(MANIFEST).read_bytes())
    return {"id": case.id, "dtype": dtype.name, "sha256": checksum}


def set_manifest(listed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the manifest of a set of the listed cases."""
    return {"format": FORMAT, "vector_set": VECTOR_SET, "cases": list(listed)}


def fits(case: Case, dtype: np.dtype) -> bool:
    """Return whether a dtype can hold the arguments and the results of a case.

    Numbers of 1e10 are infinite in float16: such a case says nothing there.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        given = arrays(case.arguments(np.dtype(np.float64)))
        if not all(
            _held(given[n], a) for n, a in arrays(case.arguments(dtype)).items()
        ):
            return False
        return all(
            _held(golden, golden.astype(returned_dtype(name, golden, dtype)))
            for name, golden in truth(case, dtype).outputs.items()
        )


def _held(wide: np.ndarray, narrow: np.ndarray) -> bool:
    return np.array_equal(np.isfinite(wide), np.isfinite(narrow))


def freeze(target: Path, jobs: Iterable[Job]) -> Iterator[tuple[Case, np.dtype, bool]]:
    """Write the vectors that are small enough into one file, the same every time."""
    parent = target.absolute().parent
    if not parent.is_dir():
        raise VectorError(f"{target.parent} is not a folder")
    with tempfile.TemporaryDirectory(prefix=".frozen.", dir=parent) as temporary:
        root, whole = Path(temporary, "set"), Path(temporary, "zip")
        yield from write_set(root, jobs)
        leave_small(root)
        whole.write_bytes(packed(root))
        if (size := whole.stat().st_size) > FROZEN_MOST:
            raise VectorError(f"{target} would have {size} bytes; lower FROZEN_BYTES")
        whole.replace(target)


def leave_small(root: Path) -> None:
    """Remove the cases of a set that are too large to be frozen."""
    document = json.loads(root.joinpath(MANIFEST).read_bytes())
    listed = []
    for entry in document["cases"]:
        folder = root / place(entry["id"], entry["dtype"])
        files = (p for p in folder.rglob("*") if p.is_file())
        if sum(p.stat().st_size for p in files) <= FROZEN_BYTES:
            listed.append(entry)
        else:
            shutil.rmtree(folder)
    root.joinpath(MANIFEST).write_bytes(json_bytes(set_manifest(listed)))


def packed(root: Path) -> bytes:
    """Return a folder as a zip archive that has no times and one order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(path.relative_to(root).as_posix(), _EARLIEST)
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
    return buffer.getvalue()


def unpack_frozen(root: Path) -> None:
    """Write the frozen set that comes with this package into a folder."""
    with (
        resources.files(__package__ or "").joinpath("core.zip").open("rb") as file,
        zipfile.ZipFile(file) as archive,
    ):
        archive.extractall(root)
