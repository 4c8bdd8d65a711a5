import pytest

from ssmref.bench.measure import Samples, order, settled, warm_up


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


def test_nobody_always_follows_the_same_one():
    names = ["a", "b", "c", "d"]
    followed = {tuple(order(names, i)[:2]) for i in range(20)}
    assert len(followed) > 4
    assert order(names, 7) == order(names, 7)
    assert names == ["a", "b", "c", "d"]


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


@pytest.mark.parametrize(
    ("latest", "times", "seconds", "calls"),
    [
        (0.01, [0.05, 0.01, 0.012], 0.06, 3),  # threads wake up in the first one
        (0.01, [0.011, 0.012], 0.0, 2),  # one call at least
        (0.3, [0.012], 0.06, 1),  # what is long has its own
        (0.01, [0.5, 0.012], 9.0, 2),  # and so has what turns out to be
    ],
)
def test_a_sample_comes_after_calls_that_settle(latest, times, seconds, calls):
    machine = Machine(a=[*times, 99.0])
    call = machine.call("a")
    found = settled(call, latest, seconds=seconds, clock=machine.clock)
    assert found == pytest.approx(0.012)
    assert len(machine.calls) == calls


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
