"""Rates are measured in the rounds, as everybody is, and disturb nobody."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from support.toys import Toy

from ssmref.bench import probes, rates
from ssmref.bench.probes import Gauge, Probes, wait_until_idle
from ssmref.bench.rounds import take_turns
from ssmref.bench.task import OpTask

F32 = np.dtype(np.float32)
CACHE = 2**12
SIZES = {"batch": 2, "channels": 8, "state": 4}
STEP = OpTask("mamba1.selective_scan_step", "steps", "", SIZES, SIZES)


@pytest.fixture
def gauge():
    with Gauge(1, F32, CACHE) as made:
        yield made


def test_a_gauge_measures_each_rate_once_in_a_round(gauge):
    gauge.prepare(STEP)
    for _ in range(3):
        gauge.sample()
    found = gauge.rates()
    assert {"triad", "triad_same_size"} < set(found)
    assert any(name in found for name in ("fma_float32", "gemm_float32"))
    for name, rate in found.items():
        assert rate.name == name
        assert len(rate.samples) == 3
        assert all(0 < s < 1e15 for s in rate.samples)
    gauge.prepare(STEP)
    assert gauge.rates() == {}


def test_a_gauge_whose_process_dies_does_without(gauge):
    gauge.prepare(STEP)
    gauge.sample()
    assert gauge.child
    os.kill(gauge.child.process.pid, signal.SIGKILL)
    gauge.sample()
    assert gauge.rates() == {}
    gauge.prepare(STEP)
    gauge.sample()
    assert gauge.rates() == {}
    assert gauge.child is None


def test_what_has_no_cost_needs_no_process(gauge):
    gauge.prepare(Toy())
    gauge.sample()
    assert gauge.child is None
    assert gauge.rates() == {}


def test_it_touches_as_many_bytes_as_the_op_from_as_many_copies(monkeypatch):
    made = Probes(1, F32, CACHE)
    touched, copies = 4 * round(STEP.cost.elements), STEP.copies(F32, CACHE)
    assert copies > 3
    kinds = made.prepare(touched, copies, products=False)
    same_size = made.now[[kind[0] for kind in kinds].index("triad_same_size")]
    assert same_size.work == pytest.approx(touched * copies, abs=3 * 64 * copies)
    monkeypatch.setattr(probes, "multiply_adds", lambda *_, **__: ())
    kinds = Probes(1, F32, CACHE).prepare(touched, copies, products=False)
    assert "gemm_float32" in [kind[0] for kind in kinds]  # in the place of fma


def test_each_call_reads_all_copies_and_writes_to_one_memory(monkeypatch):
    made, real = [], rates._vectors

    def vectors(size, number):
        made.append(real(size, number)[1])
        return made[0][0].size, made[0]

    monkeypatch.setattr(rates, "_vectors", vectors)
    call = rates.triad("x", 4000, 1, copies=3).call
    a, *read = made[0]
    assert len(read) == 6
    seen = []
    for b, c in zip(read[::2], read[1::2], strict=True):
        b[:], c[:] = np.arange(b.size), 2 * len(seen)
        call()
        seen.append(a[1])
    np.testing.assert_array_equal(a, read[4] + np.float32(0.5) * read[5])
    assert seen[-1] == 3


class Clock:
    """Time that passes when slept, while `busy` seconds of it are computed in."""

    def __init__(self, busy):
        self.now, self.busy = 0.0, busy

    def sleep(self, seconds):
        self.now += seconds

    def used(self):
        return min(self.now, self.busy)


@pytest.mark.parametrize(("busy", "least", "most"), [
    (0.0, 0.002, 0.0021), (0.05, 0.052, 0.055), (1e9, 0.5, 0.51),
])  # fmt: skip
def test_a_process_is_waited_for_until_its_threads_sleep(
    monkeypatch, busy, least, most
):
    clock = Clock(busy)
    monkeypatch.setattr(probes.time, "sleep", clock.sleep)
    wait_until_idle(lambda: clock.now, clock.used)
    assert least <= clock.now <= most


class Turn:
    """A racer that answers at once, and a gauge that writes down when it is asked."""

    def __init__(self, name, seen, most):
        self.point = SimpleNamespace(implementation=name)
        self.name, self.seen, self.most, self.left = name, seen, most, False
        self.samples, self.child, self.limit = [], self, 1e9
        self.spent = self.call = 0.0

    @property
    def is_over(self):
        return len(self.samples) >= self.most

    def ask(self, *_):
        self.seen.append(self.name)
        return {"seconds": 1.0}

    def sample(self):
        self.seen.append("rates")


def test_rates_take_their_turn_as_long_as_anybody_does():
    seen = []
    racers = [Turn("a", seen, 2), Turn("b", seen, 9)]
    found = take_turns(racers, Turn("", seen, 0), 40, lambda *_: None)  # type: ignore[arg-type]
    assert list(found) == []
    assert seen.count("a") == 2
    assert seen.count("b") == seen.count("rates") == 9
    rounds = [seen[:3], seen[3:6], *(seen[i : i + 2] for i in range(6, 20, 2))]
    assert [set(r) for r in rounds] == [{"a", "b", "rates"}] * 2 + [{"b", "rates"}] * 7
    assert {r.index("rates") for r in rounds} >= {0, 1}  # not always the first
