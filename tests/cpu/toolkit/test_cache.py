"""Processes that compile one function at once leave nothing wrong on disk."""

import os
import subprocess
import sys
from contextlib import ExitStack
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

from ssmref.cpu.toolkit import cache

# A process that stops before it writes a file of the cache, until it is told to go on.
PROGRAM = """
import sys
import numpy as np
from numba import njit
from numba.core.caching import IndexDataCacheFile
from ssmref.cpu.toolkit.kernels import kernel

write = IndexDataCacheFile._open_for_write

def stopped(self, path):
    print("before a file", flush=True)
    sys.stdin.readline()
    return write(self, path)

IndexDataCacheFile._open_for_write = stopped
sys.path.insert(0, sys.argv[1])
import module

for dtype in sys.argv[2:]:
    x = np.ones(3, dtype)
    module.double(x)
    assert np.array_equal(x, np.full(3, 2.0)), x
print("done", flush=True)
"""
FUNCTION = """
from numba import njit
from ssmref.cpu.toolkit.kernels import kernel

@{decorator}
def double(x):
    for i in range(x.size):
        x[i] = 2 * x[i]
"""


class Process:
    """One that compiles `double` for some dtypes, one file after the other."""

    def __init__(self, folder: Path, *dtypes: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), *dtypes],
            env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_):
        self.process.kill()
        _ = self.process.communicate()

    def stop(self) -> str:
        """Return where it stops: before a file, ``done``, or nothing if it failed."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def go_on(self) -> str:
        """Let it write, up to where it stops again."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.stop()


def race(folder: Path, decorator: str) -> str:
    """Return how a process ends that finds what two left that compiled at once."""
    _ = (folder / "module.py").write_text(FUNCTION.format(decorator=decorator))
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(Process(folder, dtype))
            for dtype in ("float32", "float64")
        )
        # Both have read the index; two writes it last, and one its code.
        _ = one.stop(), two.stop(), one.go_on(), two.go_on()
        assert (two.go_on(), one.go_on()) == ("done", "done")
        third = stack.enter_context(Process(folder, "float32", "float64"))
        word = third.stop()
        while word not in ("done", ""):
            word = third.go_on()
        return word


def test_a_race_leaves_nothing_wrong(tmp_path):
    assert race(tmp_path, "kernel") == "done"


def test_a_race_leaves_wrong_code_with_names_of_numba(tmp_path):
    assert race(tmp_path, "njit(cache=True)") == ""


@pytest.mark.parametrize("name", ["_kernels.py", "toolkit/new.py"])
def test_code_counts_as_old_when_any_module_changes(tmp_path, monkeypatch, name):
    (tmp_path / "toolkit").mkdir()
    _ = (tmp_path / "_kernels.py").write_text("x = 1")
    monkeypatch.setattr(cache, "PACKAGE", tmp_path)
    digest = cache.sources.__wrapped__
    before = digest()
    assert digest() == before
    _ = (tmp_path / name).write_text("x = 2")
    assert digest() != before


def test_what_other_versions_have_compiled_is_removed(tmp_path):
    old, new = (cache.Files(str(tmp_path), "of[it]", stamp) for stamp in ("1", "2"))
    old.save("float32", "old")
    other = cache.Files(str(tmp_path), "of[it]-too", "1")
    other.save("float32", "another")
    for key in ("float32", "float64"):
        new.save(key, key)
    assert [new.load(key) for key in ("float32", "float64")] == ["float32", "float64"]
    assert other.load("float32") == "another"
    assert len(list(tmp_path.glob("*.nbc"))) == 3


def test_keys_that_cannot_be_imported_are_no_keys(tmp_path, monkeypatch):
    (tmp_path / "gone.py").write_text("class Kind: pass")
    monkeypatch.syspath_prepend(tmp_path)
    files = cache.Files(str(tmp_path), "double", "stamp")
    files._save_index({import_module("gone").Kind: "a file"})
    assert list(files._load_index().values()) == ["a file"]
    monkeypatch.delitem(sys.modules, "gone")
    (tmp_path / "gone.py").unlink()
    invalidate_caches()
    assert files._load_index() == {}
