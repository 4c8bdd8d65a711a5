"""Files of a stranger's folder: regular ones inside it, by names that we chose."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

# Not on every system; without O_NONBLOCK opening a pipe would wait for its writer.
_FLAGS = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


class VectorError(Exception):
    """A folder of vectors or outputs cannot be used; the message names the file."""


@contextmanager
def opened(root: Path, name: str) -> Iterator[BufferedReader]:
    """Open the regular file `name`, like ``in/x.npy``, under `root`.

    No symbolic link below `root` is followed. Raises FileNotFoundError where there is
    no file and VectorError where it cannot be used.
    """
    path = root.joinpath(*name.split("/"))
    _refuse_links(root, path)
    try:
        with open(path, "rb", opener=_opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise VectorError(f"{path} is not a regular file")
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:
        raise VectorError(f"{path} cannot be read: {error.strerror}") from error


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | _FLAGS)


def _refuse_links(root: Path, path: Path) -> None:
    for place in (path, *path.parents):
        if place == root:
            return
        if place.is_symlink():
            raise VectorError(f"{place} is a symbolic link; these are not followed")


def size_of(file: BufferedReader) -> int:
    """Return the true size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def read_bytes(root: Path, name: str, most: int) -> bytes:
    """Return the content of a file that has at most `most` bytes."""
    with opened(root, name) as file:
        size = size_of(file)
        if size > most:
            raise VectorError(
                f"{root / name} has {size} bytes; at most {most} are read"
            )
        return file.read(most)
