"""Adapters say what they need where it is missing."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[{package!r}] = None
from ssmref.conformance.peers import transformers
"""


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_adapter_names_the_packages_that_it_needs(package):
    command = [sys.executable, "-c", WITHOUT.format(package=package)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the adapter for transformers needs")
    assert "pip install 'ssmref[peers]'" in last
