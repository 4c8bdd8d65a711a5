"""The peers that are installed are right, for every workload that they have."""

from importlib import import_module

import numpy as np
import pytest

from ssmref.bench.field import LIBRARIES, OFFERED
from ssmref.bench.verification import check_sample, check_small, sample
from ssmref.bench.workloads import WORKLOADS

pytestmark = pytest.mark.peers
ONE_PER_OP = {w.op: w for w in reversed(WORKLOADS)}


def contenders(library):
    pytest.importorskip(library, reason=f"needs {library}")
    return import_module(f"ssmref.bench.peers.{library}").CONTENDERS


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_a_library_is_missed_for_is_what_it_offers(library):
    assert {c.op for c in contenders(library)} == set(OFFERED[library])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_peers_are_right(library, dtype):
    dtype = np.dtype(dtype)
    for contender in contenders(library):
        workload = ONE_PER_OP[contender.op]
        workload = workload.resized(**workload.small)
        arguments = workload.arguments(dtype)
        got = contender.outputs(contender.prepare(arguments)())
        found = check_sample(contender, sample(workload, arguments, dtype), got)
        assert found.passed, (contender.name, found.problem)
        assert check_small(contender, workload.small_case(), dtype).passed, (
            contender.name
        )


@pytest.mark.parametrize("library", LIBRARIES)
def test_workspaces_are_predicted_from_the_sizes(library):
    for contender in contenders(library):
        assert contender.workspace(**ONE_PER_OP[contender.op].sizes) >= 0
