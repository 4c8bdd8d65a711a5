"""Without the compiler every op gives the same numbers, only slowly.

In a process of its own, since Numba reads the variable when it is imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssmref.ops import OPS

ROOT = Path(__file__).parents[2]
PROGRAM = """
from importlib import import_module
from pkgutil import iter_modules

import certify
import numpy as np
from numba import config
from support.exact import cast
from support.mirror import difference, refusal

from ssmref import cpu
from ssmref.ops import OPS, implementation

assert config.DISABLE_JIT, "this is compiled"
for module in iter_modules(cpu.__path__):
    import_module(f"ssmref.cpu.{module.name}")
for name, example in certify.examples().items():
    for dtype, limit in ((np.float64, 1e-11), (np.float32, 1e-4)):
        call = cast(example(np.random.default_rng(0)), dtype)
        golden, ours = (
            implementation(OPS[name], package)
            for package in ("ssmref.golden", "ssmref.cpu")
        )
        error = refusal(ours, call)
        text = error or difference(ours(**call), golden(**call), limit)
        print(name, np.dtype(dtype), text or "agrees")
"""


def printed(**environment: str) -> list[str]:
    """Run the program in an interpreter of its own and return what it says."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_op_agrees_with_golden():
    lines = printed(NUMBA_DISABLE_JIT="1")
    dtypes = "float64", "float32"
    assert lines == [f"{op} {dtype} agrees" for op in examples() for dtype in dtypes]


def examples() -> list[str]:
    """Return the ops in the order of their examples."""
    import certify

    names = list(certify.examples())
    assert sorted(names) == sorted(OPS)
    return names


def test_the_program_needs_the_variable():
    with pytest.raises(AssertionError, match="AssertionError: this is compiled"):
        printed(NUMBA_DISABLE_JIT="0")
