"""Adapters say what they need where it is missing."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[{package!r}] = None
import ssmref.conformance.peers.{adapter}
"""
NEEDS = [
    ("jax", "jax", "'ssmref[peers]'"),
    ("mamba_ssm", "mamba_ssm", "not installed: "),
    ("mamba_ssm", "triton", "not installed: "),
    ("mambapy", "mambapy", "'ssmref[peers]'"),
    ("mambapy", "torch", "'ssmref[peers]'"),
    ("s5", "s5", "'ssmref[peers]'"),
    ("transformers", "torch", "'ssmref[peers]'"),
    ("transformers", "transformers", "'ssmref[peers]'"),
]


@pytest.mark.parametrize(("adapter", "package", "words"), NEEDS)
def test_adapter_names_the_packages_that_it_needs(adapter, package, words):
    code = WITHOUT.format(package=package, adapter=adapter)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: the adapter for {adapter} needs")
    assert words in last
