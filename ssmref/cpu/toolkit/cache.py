"""Compiled code on disk, for processes that compile the same functions at once.

Numba numbers the files of a function by the index that it has read, and writes the
index first. Two processes that read it together take one number for two dtypes, and
the index then names code for other arguments; and code that stems from a function of
another file stays when that file changes. Here a file is named by what it holds,
and the index names it once it is there. An index that two processes write at once loses
an entry of one: that is compiled again, some time later. Files that no index names any
more are removed by the first who writes a new one.
"""

import contextlib
import functools
import glob
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.serialize import dumps

PACKAGE = Path(__file__).parents[1]


@functools.cache
def sources() -> str:
    """Return a digest of all modules of the package: kernels are made of many."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class Files(IndexDataCacheFile):
    """The index and the files of one function."""

    def save(self, key: Any, data: Any) -> None:
        """Write what was compiled for a key, then enter it in the index."""
        own = dumps((self._version, self._source_stamp, key))
        base, digest = self._index_name.removesuffix(".nbi"), hashlib.sha256(own)
        name = f"{base}.{digest.hexdigest()[:32]}.nbc"
        if not self._load_index():
            self._remove(f"{glob.escape(base)}.*.nbc")
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})

    def _load_index(self) -> dict:
        """Return which file holds the code for a key.

        Nothing where keys name what cannot be imported here: another program has
        compiled a kernel for tuples of its own.
        """
        try:
            return super()._load_index()
        except (ImportError, AttributeError):
            return {}

    def _remove(self, pattern: str) -> None:
        """Remove what other versions of the package have compiled.

        A file that somebody still needs is compiled again.
        """
        for path in Path(self._cache_path).glob(pattern):
            with contextlib.suppress(OSError):
                path.unlink()


class Cache(FunctionCache):
    """What Numba asks for code, and gives it."""

    def __init__(self, function: Callable):
        """Find the place of a function as Numba does."""
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp(), sources()
        self._cache_file = Files(self.cache_path, self._impl.filename_base, stamp)


def cached(dispatcher: Any) -> Any:
    """Return a function for Numba that keeps what is compiled on disk."""
    dispatcher._cache = Cache(dispatcher.py_func)
    return dispatcher
