import os

import pytest

from ssmref.bench.threads import limited, usable_cpus

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="the system cannot limit CPUs"
)


def test_cpus_are_limited_and_given_back():
    before = os.sched_getaffinity(0)
    with limited(1) as done:
        assert usable_cpus() == 1
        assert done["requested"] == 1
        assert done["cpus"] == str(min(before))
    assert os.sched_getaffinity(0) == before


def test_cpus_are_given_back_after_a_failure():
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), limited(1):
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


def test_blas_is_limited():
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="needs threadpoolctl")
    with limited(1) as done:
        pools = threadpoolctl.threadpool_info()
        assert done["blas"] == 1
        assert {p["num_threads"] for p in pools if p["user_api"] == "blas"} <= {1}


def test_numba_is_limited():
    numba = pytest.importorskip("numba", reason="needs numba")
    before = numba.get_num_threads()
    with limited(1) as done:
        assert numba.get_num_threads() == done["numba"] == 1
    assert numba.get_num_threads() == before


@pytest.mark.parametrize("threads", [0, -1, 10_000])
def test_impossible_numbers_are_refused(threads):
    with pytest.raises(ValueError, match=f"threads is {threads}; usable are 1 to"):
        limited(threads).__enter__()
