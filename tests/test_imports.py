"""Importing is light, and a missing CuPy is one clear sentence."""

import subprocess
import sys

import pytest

LIBRARIES = "numba pandas scipy cupy torch matplotlib numpy rich jsonschema"
HEAVY = set(LIBRARIES.split())


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = [sys.executable, "-P", "-c", code]  # the installed package
    return set(subprocess.check_output(run, text=True).split())


def test_import_ssmref_loads_nothing_heavy():
    assert not modules_after("import ssmref") & HEAVY


def test_the_check_can_fail():
    assert "numpy" in modules_after("import ssmref, numpy")


@pytest.mark.parametrize("module", ["ssmref.golden.mamba2", "ssmref.conformance.run"])
def test_golden_and_conformance_need_numpy_alone(module):
    found = modules_after(f"import {module}") & (HEAVY | {"click", "beartype"})
    assert found <= {"numpy"}


def test_gpu_is_installed_and_imports_without_cupy():
    assert "ssmref.gpu" in modules_after("import ssmref.gpu")
    assert "cupy" not in modules_after("import ssmref.gpu")


def test_missing_cupy_is_explained():
    code = (
        "import sys; sys.modules['cupy'] = None\n"
        "from ssmref.gpu._launch import cupy\ncupy()"
    )
    run = [sys.executable, "-P", "-c", code]  # the installed package
    result = subprocess.run(run, capture_output=True, text=True, check=False)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ssmref.gpu needs CuPy")
    assert "pip install 'ssmref[gpu]'" in last
