"""Micro-benchmarks of `ssmref.cpu` at small sizes: ``pytest -m bench tests/bench``.

What dominates here is the overhead of a call; larger sizes are for `ssmref bench ops`.
"""

from importlib.util import find_spec

import numpy as np
import pytest

from ssmref.bench.contender import UnavailableError
from ssmref.bench.packages import package_contender
from ssmref.bench.verification import check_small
from ssmref.bench.workloads import WORKLOADS

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(
        find_spec("pytest_benchmark") is None, reason="needs pytest-benchmark"
    ),
]
ONE_PER_OP = {w.op: w for w in reversed(WORKLOADS)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("workload", ONE_PER_OP.values(), ids=ONE_PER_OP)
def test_call(request, workload, dtype):
    dtype, small = np.dtype(dtype), workload.resized(**workload.small)
    try:
        contender = package_contender("ssmref.cpu", small)
    except UnavailableError as error:
        pytest.skip(str(error))
    found = check_small(contender, small.small_case(), dtype)
    assert found.passed, found.problem
    benchmark = request.getfixturevalue("benchmark")
    benchmark(contender.prepare(small.arguments(dtype)))
