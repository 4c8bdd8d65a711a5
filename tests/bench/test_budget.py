import pytest

from ssmref.bench.budget import (
    COMPILING,
    LEAST_CALLS,
    USUAL_START,
    Budget,
    Took,
    as_text,
    seconds_of,
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_what_is_left_shrinks_to_nothing(clock):
    budget = Budget(100.0, 20.0, clock)
    assert budget.left == 100.0
    clock.now = 30.0
    assert budget.left == 70.0
    clock.now = 300.0
    assert budget.left == 0.0
    assert budget.limit(5) == 0.0


def test_a_point_gets_a_part_and_no_more_than_its_own_limit(clock):
    budget = Budget(100.0, 60.0, clock)
    assert budget.limit(1000) == 25.0  # a quarter
    assert budget.limit(4) == 50.0  # two even shares
    assert budget.limit(1) == 60.0
    clock.now = 80.0
    assert budget.limit(1) == 20.0


def test_nobody_can_use_up_the_budget_alone(clock):
    budget = Budget(100.0, 1000.0, clock)
    for _ in range(5):
        clock.now += budget.limit(50)
    assert 20.0 < (budget.left or 0) < 25.0


def test_the_first_point_may_compile(clock):
    assert Budget(1000.0, 20.0, clock).limit(50, first=True) == COMPILING
    assert Budget(None, 20.0, clock).limit(50, first=True) == COMPILING
    short = Budget(10.0, 20.0, clock)
    assert short.limit(50, first=True) == COMPILING
    clock.now = 10.0
    assert short.limit(50, first=True) == 0.0


def test_what_was_compiled_comes_on_top(clock):
    budget = Budget(100.0, 20.0, clock)
    clock.now = 50.0
    budget.compiled(40.0)
    assert budget.left == 50.0 + 40.0 - USUAL_START
    budget.compiled(1.0)  # as others take
    assert budget.left == 50.0 + 40.0 - USUAL_START


def test_without_a_budget_there_is_the_limit_of_a_point(clock):
    budget = Budget(None, 60.0, clock)
    clock.now = 1e6
    assert budget.left is None
    assert budget.limit(50) == 60.0


def test_time_grows_with_its_power_of_length():
    took = Took(start=2.0, setup=1.0, call=0.5)
    assert took.at(1, 1) == 1.0 + LEAST_CALLS * 0.5
    assert took.at(4, 1) == 4.0 + LEAST_CALLS * 2.0
    assert took.at(4, 2) == 4.0 + LEAST_CALLS * 8.0
    assert took.at(4, 2, calls=1) == 4.0 + 8.0


def test_what_was_stopped_takes_at_least_as_long_again():
    took = Took(start=2.0, least=30.0)
    assert took.at(1, 1) == 30.0
    assert took.at(4, 2) == 120.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("10m", 600), ("2h", 7200)],
)
def test_times_have_units(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "ten", "-5s", "0", "0m", "nan", "infm", "10d", "1e999", "5 5"]
)
def test_what_is_no_time_is_named(text):
    with pytest.raises(ValueError, match="needed is one like 90s, 10m or 2h"):
        seconds_of(text)


def test_times_are_readable():
    assert as_text(45.2) == "45 s"
    assert as_text(432) == "7 m 12 s"
    assert as_text(59.7) == "1 m 0 s"
