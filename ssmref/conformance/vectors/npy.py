"""Arrays as ``.npy`` files: a plain writer, and a reader that trusts nothing.

The reader knows what it wants before it looks: a dtype and a shape. It never unpickles,
and it allocates only after the size of the file, the header and the wanted shape agree.
"""

import hashlib
import math
import re
import sys
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from ..precision import dtype_of
from .files import VectorError, opened, size_of

# The only dtypes that vectors have, by name; bfloat16 is stored as its 16 bits.
DESCRIPTIONS = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "complex128": "<c16",
    "complex64": "<c8",
    "int64": "<i8",
    "int32": "<i4",
}
# The last two are what numpy.save makes of a bfloat16 array of ml_dtypes.
_NAMES = {text: name for name, text in DESCRIPTIONS.items()} | {
    "<V2": "bfloat16",
    "|V2": "bfloat16",
}

_MAGIC = b"\x93NUMPY"
# Format 1.0 cannot have a longer header, and one of 2.0 has no reason to.
_LONGEST_HEADER = 2**16
# No array has more axes; a longer number of bytes is not even printed.
_MOST_AXES, _MOST_BYTES = 64, 10**60
# Every value of the header's dictionary is found by a pattern: nothing is evaluated.
_VALUES = (
    r"'descr'\s*:\s*'([^']*)'",
    r"'fortran_order'\s*:\s*(True|False)",
    r"'shape'\s*:\s*\(\s*((?:[0-9]{1,18}\s*,\s*)*(?:[0-9]{1,18}\s*)?)\)",
)


class MismatchError(VectorError):
    """A sound file, but of another dtype or shape than needed: a wrong answer."""


@dataclass(frozen=True)
class Header:
    """What the file says of its array."""

    dtype: str
    fortran: bool
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The bytes that the array takes, as a number that cannot overflow."""
        return math.prod(self.shape) * dtype_of(self.dtype).itemsize


def to_bytes(array: np.ndarray) -> bytes:
    """Return the file of an array: format 1.0, little-endian, C order."""
    descr = DESCRIPTIONS[array.dtype.name]
    shape = tuple(int(n) for n in array.shape)
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    head = _MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    wide = array if array.dtype.name == "bfloat16" else array.astype(descr)
    return head + wide.tobytes()


def read(
    root: Path, name: str, dtype: str, shape: tuple[int, ...], sha256: str = ""
) -> np.ndarray:
    """Return the array of the file `name` under `root`: of this dtype and shape.

    Raises MismatchError where a sound file holds another array, FileNotFoundError where
    there is no file, VectorError for anything else, also for another `sha256`.
    """
    path = root / name
    with opened(root, name) as file:
        header = _header(file, path)
        _check_size(file, header, path)
        _check_wanted(header, dtype, shape, path)
        flat = _empty(math.prod(shape), dtype, path)
        if file.readinto(flat.view(np.uint8).data) != header.size:
            raise VectorError(f"{path} changed while it was read")
        if sha256:
            _check_sha256(file, sha256, path)
    if sys.byteorder == "big":
        flat.byteswap(inplace=True)
    return flat.reshape(shape, order="F" if header.fortran else "C")


def _empty(count: int, dtype: str, path: Path) -> np.ndarray:
    try:
        return np.empty(count, dtype_of(dtype))
    except MemoryError as error:
        raise VectorError(f"{path} does not fit into memory") from error


def _header(file: BufferedReader, path: Path) -> Header:
    start = file.read(8)
    if start[:6] != _MAGIC or start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise VectorError(f"{path} is not a .npy file of format 1.0 or 2.0")
    digits = file.read(2 * start[6])
    length = int.from_bytes(digits, "little")
    if len(digits) != 2 * start[6] or length > _LONGEST_HEADER:
        raise VectorError(f"{path} has a header of {length} bytes, too long for a .npy")
    text = file.read(length)
    if len(text) != length:
        raise VectorError(f"{path} is truncated: it ends within its header")
    return _parse(text.decode("latin-1"), path)


def _parse(text: str, path: Path) -> Header:
    rest, values = text.replace('"', "'"), []
    for pattern in _VALUES:
        found = re.findall(pattern, rest)
        rest = re.sub(pattern, "", rest)
        if len(found) != 1:
            raise _strange(text, path)
        values += found
    if re.sub(r"[\s,]", "", rest) != "{}":
        raise _strange(text, path)
    descr, fortran, shape = values
    if descr not in _NAMES:
        known = ", ".join(DESCRIPTIONS.values())
        raise VectorError(f"{path} has dtype {descr!r}; allowed are {known}")
    axes = tuple(int(n) for n in re.findall("[0-9]+", shape))
    header = Header(_NAMES[descr], fortran == "True", axes[:_MOST_AXES])
    if len(axes) > _MOST_AXES or header.size > _MOST_BYTES:
        raise VectorError(f"{path} declares more axes or bytes than any array has")
    return header


def _strange(text: str, path: Path) -> VectorError:
    return VectorError(f"{path} has no header of a plain array: {text.strip()[:80]!r}")


def _check_size(file: BufferedReader, header: Header, path: Path) -> None:
    rest = size_of(file) - file.tell()
    if rest != header.size:
        what = "is truncated" if rest < header.size else "has trailing bytes"
        raise VectorError(
            f"{path} {what}: {rest} bytes follow a header that declares {header.size}"
        )


def _check_wanted(
    header: Header, dtype: str, shape: tuple[int, ...], path: Path
) -> None:
    if header.shape != shape:
        raise MismatchError(f"{path} has shape {header.shape}, needed is {shape}")
    if DESCRIPTIONS[header.dtype] != DESCRIPTIONS[dtype]:
        raise MismatchError(f"{path} has dtype {header.dtype}, needed is {dtype}")


def _check_sha256(file: BufferedReader, sha256: str, path: Path) -> None:
    file.seek(0)
    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
        raise VectorError(f"{path} is damaged: its sha256 is not that of the manifest")
