import gc

import pytest

from ssmref.bench.measure import Samples, interleaved, order, warm_up


class Machine:
    """A clock that calls advance, and a record of who was called."""

    def __init__(self, **seconds):
        self.now, self.seconds, self.calls = 0.0, seconds, []

    def clock(self):
        return self.now

    def call(self, name):
        def run():
            self.calls.append(name)
            times = self.seconds[name]
            self.now += times.pop(0) if isinstance(times, list) else times

        return run


def measured(machine, rounds, **options):
    calls = {name: machine.call(name) for name in machine.seconds}
    return list(interleaved(calls, rounds, clock=machine.clock, **options))


def test_every_round_times_everybody_once():
    machine = Machine(a=1.0, b=2.0, c=3.0)
    found = measured(machine, 5)
    assert len(found) == 15
    for start in range(0, 15, 3):
        assert {name for name, _ in found[start : start + 3]} == {"a", "b", "c"}
    assert {n: s for n, s in found} == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_nobody_always_follows_the_same_one():
    names = ["a", "b", "c", "d"]
    followed = {tuple(order(names, i)[:2]) for i in range(20)}
    assert len(followed) > 4
    assert order(names, 7) == order(names, 7)
    assert names == ["a", "b", "c", "d"]


def test_who_uses_up_the_budget_leaves_later_rounds():
    found = measured(Machine(slow=10.0, fast=1.0), 8, budget=25.0)
    names = [name for name, _ in found]
    assert names.count("slow") == 3
    assert names.count("fast") == 8


def test_there_are_always_a_few_samples():
    found = measured(Machine(slow=100.0), 8, budget=1.0)
    assert len(found) == 3


def test_short_calls_settle_before_their_sample():
    machine = Machine(short=[0.01, 0.02, 0.01, 0.02])
    assert [s for _, s in measured(machine, 2)] == pytest.approx([0.02, 0.02])


def test_long_calls_are_made_only_once_per_sample():
    machine = Machine(long=5.0)
    assert len(measured(machine, 3, warm={"long": (5.0,)})) == 3
    assert machine.calls == ["long"] * 3


def test_garbage_is_not_collected_while_timing():
    states = []
    list(interleaved({"a": lambda: states.append(gc.isenabled())}, 2))
    assert states
    assert not any(states)
    assert gc.isenabled()


def test_warm_up_ends_when_times_are_stable():
    machine = Machine(a=[9.0, 0.4, 0.1, 0.1, 0.1, 7.0])
    found = warm_up(machine.call("a"), seconds=20.0, clock=machine.clock)
    assert found == pytest.approx((9.0, 0.4, 0.1, 0.1, 0.1))


def test_the_first_call_does_not_make_it_look_stable():
    machine = Machine(a=[0.1, 0.1, 0.1, 0.1, 0.5])
    found = warm_up(machine.call("a"), clock=machine.clock)
    assert len(found) == 4


def test_warm_up_that_never_settles_is_bounded():
    machine = Machine(a=[0.01 * (1 + i % 2) for i in range(100)])
    assert len(warm_up(machine.call("a"), clock=machine.clock)) == 20
    slow = Machine(a=[3.0, 1.0])
    assert len(warm_up(slow.call("a"), seconds=2.0, clock=slow.clock)) == 1


def test_median_and_quartiles():
    samples = Samples((5.0, 1.0, 2.0, 4.0, 3.0))
    assert samples.median == 3.0
    assert samples.quartiles == (2.0, 4.0)
    assert samples.spread == pytest.approx(2 / 3)
    assert Samples((2.0,)).quartiles == (2.0, 2.0)


def test_a_spread_above_ten_per_cent_is_said():
    assert "unstable" in Samples((1.0, 1.0, 1.2, 1.2)).note
    assert "20 %" in Samples((1.0, 1.0, 1.0, 1.2, 1.2)).note
    assert Samples((1.0, 1.01, 1.02, 9.0)).note != ""
    assert Samples((1.0, 1.01, 1.02, 1.03)).note == ""
