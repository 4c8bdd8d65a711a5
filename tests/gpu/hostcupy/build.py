"""Compile kernels for the host: g++, once for each text, macros and mode."""

import fcntl
import functools
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

HOST = Path(__file__).resolve().parents[1] / "host"
# A GPU fuses multiplication and addition by default; so does the host, where it can.
COMMON = ("-fPIC", "-fno-strict-aliasing", "-ffp-contract=fast", "-Wno-unknown-pragmas")
# Of debugging symbols, reports need lines alone; the compiler takes longer than what it
# compiles runs, but for threads.
MODES = {
    "plain": ("-O1", "-fexpensive-optimizations"),
    "asan": (
        *("-O0", "-g1", "-fno-omit-frame-pointer"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    ),
    "tsan": ("-O1", "-g1", "-fsanitize=thread", "-DSSM_THREADS"),
    "ucontext": ("-O1", "-fexpensive-optimizations", "-DSSM_UCONTEXT"),
}
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+([^;{]*?)\b(\w+)\s*\([^(){}]*\)\s*\{')


class HostCompileError(Exception):
    """What g++ said."""


def cache_folder() -> Path:
    """Return where compiled kernels are kept."""
    default = Path(tempfile.gettempdir()) / f"ssmref-host-{os.getuid()}"
    folder = Path(os.environ.get("SSMREF_HOST_CACHE", default))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compiler() -> str:
    """Return the C++ compiler, by the usual variable."""
    return os.environ.get("CXX", "g++")


def run(*command: str | Path, text: str | None = None) -> str:
    """Run the compiler; raise HostCompileError with what it said."""
    # A sanitizer that is loaded into this process has no business in the compiler.
    own = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=own)
    if done.returncode:
        raise HostCompileError(done.stderr or f"{command[0]}: {done.returncode}")
    return done.stdout


@functools.cache
def _machine() -> tuple[str, ...]:
    """Return the options by which the compiler uses fused instructions."""
    try:
        run(compiler(), "-march=x86-64-v3", "-E", "-", text="")
        flags = Path("/proc/cpuinfo").read_text()
    except (HostCompileError, OSError):
        return ()
    found = all(f" {word} " in flags for word in ("fma", "avx2", "f16c", "bmi2"))
    return ("-march=x86-64-v3",) if found else ()


def flags(mode: str) -> tuple[str, ...]:
    """Return the options of a mode."""
    return (*COMMON, *_machine(), *MODES[mode])


@functools.cache
def _compiler_and_headers() -> str:
    """Return what a build depends on besides its own text."""
    files = sorted(p for p in HOST.iterdir() if p.suffix in (".h", ".cpp"))
    texts = [path.read_text() for path in files]
    return "\0".join([run(compiler(), "--version"), *texts])


def built(name: str, parts: Sequence[str], make) -> Path:
    """Return the file or folder of these parts; ``make(path)`` makes it once.

    Processes that want the same wait for one another; it is there only when it is
    complete.
    """
    key = hashlib.sha256("\0".join([*parts, _compiler_and_headers()]).encode())
    path = cache_folder() / f"{name}-{key.hexdigest()[:24]}.so"
    if path.exists():
        return path
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = path.with_suffix(f".{os.getpid()}")
            make(unfinished)
            unfinished.rename(path)
    return path


def runtime(mode: str) -> Path:
    """Return the host runtime, which all kernels of a mode share."""
    # ThreadSanitizer is told by hand what the runtime orders; see threads.cpp.
    options = [o for o in flags(mode) if o != "-fsanitize=thread"]
    main = "threads.cpp" if mode == "tsan" else "runtime.cpp"
    sources = [HOST / main, HOST / "async_copy.cpp"]

    def make(path: Path) -> None:
        command = [compiler(), "-std=c++20", *options, "-shared", *sources, "-o", path]
        run(*command, "-ldl", "-pthread")

    return built(f"runtime-{mode}", [*options, *map(str, sources)], make)


def header(command: Sequence[str]) -> Path:
    """Return a folder with the host's half of port.cuh, read for a command once.

    It is half of the work for a kernel. A compiler that cannot use it goes on to the
    header itself.
    """

    def make(path: Path) -> None:
        path.mkdir()
        whole = path / "whole_host.h"
        _ = whole.write_text("#include <ssm_host.h>\n")
        run(
            *(compiler(), *command, "-DSSM_HOST", f"-I{HOST}", "-fvisibility=hidden"),
            *("-x", "c++-header", whole, "-o", whole.with_suffix(".h.gch")),
        )

    return built("header", command, make)


def kernels(code: str, options: Sequence[str]) -> dict[str, str]:
    """Return the kernels of a text with their bounds of threads, "0" for none."""
    command = [compiler(), *options, "-DSSM_HOST", "-DSSM_NAMES_ONLY", f"-I{HOST}"]
    text = run(*command, "-E", "-P", "-x", "c++", "-", text=code)
    return {name: _bound(words) for words, name in KERNEL.findall(text)}


def _bound(words: str) -> str:
    """Return the first argument of ``__launch_bounds__`` among the qualifiers."""
    _, found, rest = words.partition("__launch_bounds__")
    if not found:
        return "0"
    depth = 0
    for end, letter in enumerate(rest):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter in ",)" and depth <= (letter == ","):
            return rest[rest.index("(") + 1 : end]
    raise HostCompileError(f"cannot read the launch bounds in: {words}")


def library(code: str, options: Sequence[str], mode: str) -> Path:
    """Compile kernels with their entries. Raises HostCompileError."""
    macros = [option[2:] for option in options if option.startswith("-D")]
    command = [*flags(mode), *(o for o in options if not o.startswith("-D"))]

    def make(path: Path) -> None:
        found = kernels(code, options)
        entries = [f"SSM_ENTRY({name}, ({bound}))" for name, bound in found.items()]
        entries.append(f'SSM_NAMES("{" ".join(found)}")')
        # A kernel's macros come after the runtime, which may use the names itself.
        head = ["#include <whole_host.h>", *map(_define, macros), '#line 1 "kernel.cu"']
        text = "\n".join([*head, code, '#line 1 "entries"', *entries, ""])
        run(
            *(compiler(), *command, "-DSSM_HOST", f"-I{header(command)}", f"-I{HOST}"),
            *("-fvisibility=hidden", "-shared", "-x", "c++", "-", "-x", "none"),
            *(runtime(mode), "-o", path),
            text=text,
        )

    return built("kernels", [code, *macros, *command], make)


def _define(macro: str) -> str:
    name, _, value = macro.partition("=")
    return f"#define {name} {value or 1}"
