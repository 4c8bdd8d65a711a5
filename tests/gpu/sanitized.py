"""Run kernels under AddressSanitizer or ThreadSanitizer, in a process of their own.

::

    python tests/gpu/sanitized.py asan tests.module:function
    python tests/gpu/sanitized.py tsan --op mamba1.selective_scan --dtype bfloat16

A function is imported and called without arguments. For an op, its smallest core cases
are judged by the suite. What a sanitizer finds ends the process with a report.
"""

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARIES = {"asan": ("libasan.so", "libubsan.so"), "tsan": ("libtsan.so",)}
OPTIONS = {
    # Python keeps memory until it ends; that is no leak of a kernel.
    "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66:report_signal_unsafe=0:history_size=4",
}
FEWEST = 3


class SanitizerError(AssertionError):
    """The report of a sanitizer, or what else ended the process."""


def run(mode: str, *arguments: str, seconds: float = 120) -> str:
    """Run this file in a child and return its output; raise SanitizerError."""
    command = [sys.executable, __file__, mode, *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment(mode),
            preexec_fn=_fixed_addresses if mode == "tsan" else None,
        )
    except subprocess.TimeoutExpired as error:
        raise SanitizerError(f"{mode}: no end after {seconds} seconds") from error
    if done.returncode:
        raise SanitizerError(f"{mode}, status {done.returncode}:\n{done.stderr}")
    return done.stdout


def environment(mode: str) -> dict[str, str]:
    """Return the environment of a child."""
    found = (_library(name) for name in LIBRARIES[mode])
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        **OPTIONS,
        "LD_PRELOAD": " ".join(found),
        "SSMREF_HOST_MODE": mode,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONMALLOC": "malloc",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _library(name: str) -> str:
    compiler = os.environ.get("CXX", "g++")
    command = [compiler, f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _fixed_addresses() -> None:
    """Turn off the random layout of memory, for which ThreadSanitizer has no room."""
    import ctypes

    no_random_layout = 0x0040000
    ctypes.CDLL(None).personality(no_random_layout)


def main() -> int:
    """Call the function or judge the op that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=LIBRARIES)
    parser.add_argument("function", nargs="?")
    parser.add_argument("--op")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--case", action="append")
    for name in ("resident", "seed", "offset"):
        parser.add_argument(f"--{name}", type=int, default=int(name == "resident"))
    options = parser.parse_args()
    if "SSMREF_HOST_MODE" not in os.environ:
        print(run(options.mode, *sys.argv[2:]), end="")
        return 0
    return _in_child(options)


def _in_child(options: argparse.Namespace) -> int:
    from hostcupy.module import installed
    from hostcupy.settings import using

    wanted = {name: getattr(options, name) for name in ("resident", "seed", "offset")}
    with installed(), using(**wanted):
        if options.op:
            return _judge(options)
        module, _, name = options.function.partition(":")
        getattr(import_module(module), name)()
    return 0


def _judge(options: argparse.Namespace) -> int:
    import emulated

    from ssmref.conformance.testing import check

    function = getattr(emulated, options.op.replace(".", "_"))
    for case in _chosen(options):
        check(function, case, options.dtype, required=True)
        print(f"{options.mode}: {case} in {options.dtype} passed")
    return 0


def _chosen(options: argparse.Namespace) -> list:
    """Return the cases of these ids or families, or some from the smaller half."""
    import numpy as np
    from support.mirror import arrays_of

    from ssmref.conformance.testing import cases

    def numbers(case) -> int:
        return sum(a.size for a in arrays_of(case.arguments(np.dtype(np.float64))))

    known = sorted(cases(options.op), key=numbers)
    if options.case:
        return [c for c in known if {str(c), c.family} & {*options.case}]
    half = known[: len(known) // 2 + 1]
    return half[:: -(-len(half) // FEWEST)]


if __name__ == "__main__":
    sys.exit(main())
