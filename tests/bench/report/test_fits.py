import math
from itertools import pairwise

import numpy as np
import pytest

from ssmref.bench.pages import fits
from ssmref.bench.pages.fits import Spread

LENGTHS = (256, 512, 1024, 2048, 4096, 8192)


def exact(*values):
    return {n: Spread(v, v, v) for n, v in zip(LENGTHS, values, strict=False)}


def around(function, wide=0.02):
    return {
        n: Spread(function(n), (1 - wide) * function(n), (1 + wide) * function(n))
        for n in LENGTHS
    }


def test_median_and_quartiles():
    assert fits.spread([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert fits.spread([7.0]) == Spread(7.0, 7.0, 7.0)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_power_of_a_power_is_exact(power):
    found = fits.power(LENGTHS, [3e-9 * n**power for n in LENGTHS])
    assert found is not None
    assert found.power == pytest.approx(power, abs=1e-12)
    assert found.low == pytest.approx(power, abs=1e-9)
    assert found.high == pytest.approx(power, abs=1e-9)
    assert (found.first, found.last, found.points) == (512, 8192, 5)


def test_the_smallest_length_does_not_count():
    values = [1e-9 * n for n in LENGTHS]
    found = fits.power(LENGTHS, [1.0, *values[1:]])
    assert found is not None
    assert found.power == pytest.approx(1.0)


def test_the_order_of_the_points_does_not_matter():
    values = [n**1.3 + 5 * i for i, n in enumerate(LENGTHS)]
    turned = fits.power(LENGTHS[::-1], values[::-1])
    assert turned == fits.power(LENGTHS, values)


def test_the_interval_is_the_one_of_least_squares():
    """By hand: x = 0, 1, 2 and y = 0, 1, 1 in logarithms; t for one degree: 12.706."""
    x, y = [1, math.e, math.e**2], [1, math.e, math.e]
    found = fits.power([0.1, *x], [0.5, *y])  # type: ignore[arg-type]
    assert found is not None
    assert found.power == pytest.approx(0.5)
    assert found.high is not None
    error = math.sqrt(1 / 6 / 2)
    assert found.high - found.power == pytest.approx(12.706204736 * error)


def test_two_points_have_a_power_without_an_interval():
    found = fits.power((1, 2, 4), (9.0, 2.0, 4.0))
    assert found is not None
    assert found.power == pytest.approx(1.0)
    assert found.low is None
    assert found.high is None


def test_one_point_has_no_power():
    assert fits.power((1, 2), (1.0, 2.0)) is None
    assert fits.power((), ()) is None


def test_the_interval_holds_the_power_as_often_as_it_says():
    """2000 times with noise of 10 %: 95 % of intervals, give or take 1.5 %."""
    draw = np.random.default_rng(5)
    hits = 0
    for _ in range(2000):
        noise = np.exp(0.1 * draw.standard_normal(len(LENGTHS)))
        values = [n**1.2 * e for n, e in zip(LENGTHS, noise, strict=True)]
        found = fits.power(LENGTHS, values)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.2 <= found.high
    assert 0.935 <= hits / 2000 <= 0.965


@pytest.mark.parametrize("at", [300.0, 1000.0, 5000.0])
def test_a_crossing_of_powers_is_exact(at):
    first = around(lambda n: n**2)
    second = around(lambda n: at * n)
    found = fits.crossing(first, second)
    assert found is not None
    assert found.length == pytest.approx(at)
    assert found.changes == 1


def test_quartiles_bound_the_crossing():
    """With 2 % each, the ratio n / 1000 is 1.02 / 0.98 and its inverse at the ends."""
    found = fits.crossing(around(lambda n: n**2), around(lambda n: 1000.0 * n))
    assert found is not None
    assert found.low == pytest.approx(1000 * 0.98 / 1.02)
    assert found.high == pytest.approx(1000 * 1.02 / 0.98)


def test_an_end_that_the_quartiles_leave_open_is_unknown():
    first = around(lambda n: n**2, wide=0.6)
    found = fits.crossing(first, around(lambda n: 7000.0 * n, wide=0.6))
    assert found is not None
    assert found.high is None
    assert found.low is not None


def test_without_a_crossing_there_is_none():
    low, high = exact(1, 1, 1), exact(2, 2, 2)
    assert fits.crossing(low, high) is None
    assert fits.crossing(high, low) is None
    assert fits.crossing({}, {}) is None


def test_the_last_of_several_crossings_counts():
    found = fits.crossing(exact(2, 1, 2, 4), exact(1, 2, 2 * math.sqrt(2), 1))
    assert found is not None
    assert 1024 < found.length < 2048
    assert found.changes == 2


def test_who_falls_back_in_the_end_has_not_overtaken():
    assert fits.crossing(exact(1, 2, 1), exact(2, 1, 2)) is None


def test_only_common_lengths_count():
    first = {1: Spread(1, 1, 1), 4: Spread(16, 16, 16), 9: Spread(1, 1, 1)}
    second = {1: Spread(2, 2, 2), 4: Spread(8, 8, 8), 7: Spread(99, 99, 99)}
    found = fits.crossing(first, second)
    assert found is not None
    assert found.length == pytest.approx(2.0)


def test_equal_at_a_length_is_a_crossing_there():
    found = fits.crossing(exact(1, 2, 4), exact(2, 2, 2))
    assert found is not None
    assert found.length == pytest.approx(512)


def stepped(factor, wide=0.01):
    return around(lambda n: n * (factor if n > 1024 else 1.0), wide)


def test_a_step_is_found_and_measured():
    found = fits.step(stepped(1.5), 1024, 2048)
    assert found is not None
    assert (found.before, found.after) == (1024, 2048)
    assert found.factor == pytest.approx(1.5)


def test_no_step_is_seen_elsewhere_or_without_one():
    smooth = stepped(1.0)
    assert all(fits.step(smooth, a, b) is None for a, b in pairwise(LENGTHS))
    assert fits.step(stepped(1.5), 4096, 8192) is None


def test_a_step_that_the_quartiles_could_explain_is_not_seen():
    assert fits.step(stepped(1.15, wide=0.001), 1024, 2048) is not None
    assert fits.step(stepped(1.15, wide=0.1), 1024, 2048) is None


def test_too_few_gaps_show_no_step():
    curve = {n: stepped(9.0)[n] for n in (512, 1024, 2048)}
    assert fits.step(curve, 1024, 2048) is None


def test_geometric_mean():
    assert fits.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert fits.geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10.0)
    assert fits.geometric_mean([]) is None


def test_a_ratio_of_constants_has_no_width():
    found = fits.ratio([2.0] * 5, [3.0] * 5)
    assert (found.ratio, found.low, found.high) == (1.5, 1.5, 1.5)


def test_a_ratio_is_the_same_every_time_and_turns_around():
    first, second = [1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.2, 2.1, 2.6, 2.4]
    found = fits.ratio(first, second)
    assert found == fits.ratio(first, second)
    assert found.low < found.ratio < found.high
    back = fits.ratio(second, first)
    assert back.ratio == pytest.approx(1 / found.ratio)
    assert back.low == pytest.approx(1 / found.high, rel=0.05)


def test_the_interval_of_a_ratio_holds_it_about_as_often_as_it_says():
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        first, second = np.exp(0.05 * draw.standard_normal((2, 15)))
        found = fits.ratio(list(first), list(1.1 * second))
        hits += found.low <= 1.1 <= found.high
    # The bootstrap of medians of 15 samples is a little wide.
    assert 0.9 <= hits / 200 <= 1.0
    assert hits < 200
