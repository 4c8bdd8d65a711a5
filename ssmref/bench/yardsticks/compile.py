"""Compile the C programs once, with the system's compiler, into a cache folder."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path

from ..contender import UnavailableError
from ..environment import cpu_model

FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")


def cache_folder() -> Path:
    """Return where compiled programs are kept, by the conventions of the system."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "ssmref" / "yardsticks"


@cache
def library(source: str) -> ctypes.CDLL:
    """Return a compiled program; raise UnavailableError where that is impossible."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise UnavailableError("there is no C compiler (cc)")
    text = files(__name__.rpartition(".")[0]).joinpath(source).read_text()
    target = cache_folder() / f"{Path(source).stem}-{_key(compiler, text)}.so"
    if not target.exists():
        _compile(compiler, text, target)
    return ctypes.CDLL(str(target))


def compiler_version() -> str:
    """Return the first line that the compiler says of itself, empty without one."""
    compiler = shutil.which("cc")
    if compiler is None:
        return ""
    said = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, check=False
    )
    return said.stdout.partition("\n")[0]


def _key(compiler: str, text: str) -> str:
    """Return a hash of all that the result depends on; native means this CPU."""
    parts = (compiler_version(), compiler, *FLAGS, cpu_model(), text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(compiler: str, text: str, target: Path) -> None:
    """Compile beside the target and rename: another process may do the same."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        source, made = Path(folder, "source.c"), Path(folder, "made.so")
        source.write_text(text)
        command = [compiler, *FLAGS, str(source), "-o", str(made), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            first = next((x for x in done.stderr.splitlines() if "error" in x), "")
            raise UnavailableError(f"the C compiler failed: {first.strip()}")
        made.replace(target)
