"""NVRTC and nvdisasm from pip packages: kernels compiled without a GPU or a toolkit."""

import ctypes
import functools
import platform
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from ssmref.gpu._launch import Macro, Program, options

# Ampere, Ampere and Ada for desktops, Hopper, Blackwell, Blackwell for desktops.
ARCHITECTURES = (80, 86, 89, 90, 100, 120)

needs_nvrtc = pytest.mark.skipif(
    platform.system() != "Linux", reason="NVRTC comes as a wheel for Linux"
)

# What CuPy adds to the options of a launch, and what makes the assembler talk.
COMMON = ("--device-as-default-execution-space", "-Xptxas=-v")

ENTRY = re.compile(r"Compiling entry function '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores")
REGISTERS = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


class RefusedError(Exception):
    """NVRTC refused a source; the message is its log."""


@dataclass(frozen=True)
class Usage:
    """What the assembler says that a kernel takes: bytes, and registers per thread."""

    registers: int
    stack: int
    spilled: int
    shared: int


@dataclass(frozen=True)
class Compiled:
    """A program for one architecture: what each kernel takes, and its instructions."""

    usage: dict[str, Usage]
    code: dict[str, bytes]


def compiled(program: Program, architecture: int, macros: dict[str, Macro]) -> Compiled:
    """Compile a program as CuPy would; raise RefusedError where NVRTC refuses it."""
    given = (f"-arch=sm_{architecture}", *COMMON, *options(macros))
    log, cubin = _run_nvrtc(program.source, program.file, given)
    return Compiled(dict(_usages(log)), dict(_code(cubin)))


def _usages(log: str) -> Iterator[tuple[str, Usage]]:
    pieces = ENTRY.split(log)[1:]
    for name, text in zip(pieces[::2], pieces[1::2], strict=True):
        stack = STACK.search(text)
        registers = REGISTERS.search(text)
        assert stack is not None, text
        assert registers is not None, text
        shared = SHARED.search(text)
        yield (
            name,
            Usage(
                registers=int(registers[1]),
                stack=int(stack[1]),
                spilled=int(stack[2]),
                shared=int(shared[1]) if shared else 0,
            ),
        )


@functools.cache
def packaged(package: str, stem: str) -> Path:
    """Return the file of an installed package whose name begins with `stem`."""
    for file in metadata.files(package) or ():
        if file.name.startswith(stem) and ".alt." not in file.name:
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{package} has no file {stem}*")


@functools.cache
def _nvrtc() -> ctypes.CDLL:
    return ctypes.CDLL(str(packaged("nvidia-cuda-nvrtc", "libnvrtc.so")))


def _run_nvrtc(source: str, name: str, given: Sequence[str]) -> tuple[str, bytes]:
    """Return the log and the cubin."""
    library, handle = _nvrtc(), ctypes.c_void_p()
    failed = library.nvrtcCreateProgram(
        ctypes.byref(handle), source.encode(), name.encode(), 0, None, None
    )
    assert not failed
    try:
        texts = (ctypes.c_char_p * len(given))(*(text.encode() for text in given))
        failed = library.nvrtcCompileProgram(handle, len(given), texts)
        log = _read(handle, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise RefusedError(log)
        return log, _read(handle, "CUBIN")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(handle))


def _read(handle: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    assert not getattr(_nvrtc(), f"nvrtcGet{what}Size")(handle, ctypes.byref(size))
    room = ctypes.create_string_buffer(size.value)
    assert not getattr(_nvrtc(), f"nvrtcGet{what}")(handle, room)
    return room.raw


def _code(cubin: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each kernel and its instructions: the sections .text.* of an ELF file."""
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, count, naming = struct.unpack_from("<HHH", cubin, 58)
    heads = [
        struct.unpack_from("<IIQQQQ", cubin, table + i * size) for i in range(count)
    ]
    names = heads[naming][4]
    for head in heads:
        start = names + head[0]
        name = cubin[start : cubin.index(b"\0", start)].decode()
        if name.startswith(".text."):
            yield name.removeprefix(".text."), cubin[head[4] : head[4] + head[5]]


def disassembled(architecture: int, code: bytes) -> str:
    """Return the listing of instructions, one per line, with absolute targets."""
    tool = packaged("nvidia-cuda-nvdisasm", "nvdisasm")
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        _ = file.write(code)
        file.flush()
        done = subprocess.run(
            [tool, "-b", f"SM{architecture}", file.name],
            capture_output=True,
            text=True,
            check=True,
        )
    return done.stdout
