"""Parts of limits are of the same rounds as the times that they are compared with."""

from dataclasses import replace

import numpy as np
import pytest

from ssmref.bench.costs import Cost
from ssmref.bench.limits import share, share_of_triad, usual_limit
from ssmref.bench.measure import Samples
from ssmref.bench.rates import Rate
from ssmref.bench.run import Measurement
from ssmref.bench.workloads import WORKLOADS

F32 = np.dtype(np.float32)
# 4 MB, and 2 million operations.
COPY = Cost(elements=1e6, instructions=1e6)
SCAN = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan_step")


def rates(triad, same_size=None, fma=None):
    """Return rates of rounds: GB/s of large arrays and of as many bytes, GFLOP/s."""
    given = {
        "triad": triad,
        "triad_same_size": same_size or triad,
        "fma_float32": fma or [1000.0] * len(triad),
    }
    return {
        name: Rate(name, "B/s", "made up", tuple(1e9 * s for s in samples))
        for name, samples in given.items()
    }


def seconds(*milliseconds):
    return [1e-3 * m for m in milliseconds]


def test_a_machine_that_slows_down_between_rounds_changes_no_share():
    """4 MB at 40 GB/s are 0.1 ms, of which 0.125 ms are 80 %; then all is slower."""
    found = rates([40.0, 40.0, 10.0, 10.0])
    times = seconds(0.125, 0.125, 0.5, 0.5)
    assert share(COPY, times, found, F32) == pytest.approx(0.8)
    assert share(COPY, times[::-1], found, F32) != pytest.approx(0.8)


def test_a_round_in_which_one_was_disturbed_changes_no_share():
    found = rates([40.0, 4.0, 40.0, 40.0, 40.0])
    times = seconds(0.2, 0.2, 0.2, 2.0, 0.2)
    assert share(COPY, times, found, F32) == pytest.approx(0.5)


def test_who_left_rounds_is_compared_in_those_that_were_taken():
    found = rates([40.0, 40.0, 40.0, 10.0, 10.0, 10.0, 10.0])
    assert share(COPY, seconds(0.2, 0.2, 0.2), found, F32) == pytest.approx(0.5)


def test_the_triad_of_as_many_bytes_is_another_rate():
    found = rates([40.0] * 3, [20.0] * 3)
    assert share_of_triad(COPY, seconds(*[0.25] * 3), found, F32) == pytest.approx(0.8)
    assert share(COPY, seconds(*[0.25] * 3), found, F32) == pytest.approx(0.4)


def test_the_resource_that_sets_the_limit_is_that_of_the_round():
    """2 million operations take 0.2 ms at 10 GFLOP/s, more than the bytes."""
    found = rates([40.0] * 3, fma=[1000.0, 10.0, 10.0])
    assert share(COPY, seconds(0.4, 0.4, 0.4), found, F32) == pytest.approx(0.5)


def test_without_rates_there_is_no_share():
    assert share(COPY, seconds(0.2), {}, F32) is None
    assert share_of_triad(COPY, seconds(0.2), {}, F32) is None
    assert share(COPY, [], rates([40.0]), F32) is None


def test_the_limit_is_by_medians_of_the_rounds_or_by_the_best_of_the_machine():
    machine, rounds = rates([10.0, 20.0, 80.0]), rates([10.0, 20.0, 40.0])
    assert usual_limit(COPY, machine, rounds, F32).seconds == pytest.approx(2e-4)
    assert usual_limit(COPY, machine, {}, F32).seconds == pytest.approx(5e-5)


@pytest.fixture
def measured():
    found = rates([40.0] * 3, [20.0] * 3)
    best = usual_limit(SCAN.cost, {}, found, F32)
    times = Samples((4 * best.seconds,) * 3)
    named = (SCAN, "float32", 1, "ours", "measured", best)
    return Measurement(*named, samples=times, rates=found)


def test_a_measurement_has_both_shares(measured):
    assert measured.limit.binding == "memory"
    assert measured.share == pytest.approx(0.25)
    assert measured.share_of_triad == pytest.approx(0.5)


def test_a_measurement_of_a_machine_alone_has_one_share(measured):
    alone = replace(measured, rates={})
    assert alone.share == pytest.approx(0.25)
    assert alone.share_of_triad is None


def test_the_triad_is_nothing_to_who_is_limited_by_arithmetic(measured):
    slow = rates([40.0] * 3, fma=[0.001] * 3)
    best = usual_limit(SCAN.cost, {}, slow, F32)
    assert best.binding == "vector"
    assert replace(measured, limit=best, rates=slow).share_of_triad is None


def test_without_a_time_there_is_no_share(measured):
    missing = replace(measured, samples=None)
    assert (missing.share, missing.share_of_triad) == (None, None)
