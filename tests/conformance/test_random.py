"""The portable generator gives the published numbers."""

from pathlib import Path

import numpy as np
import pytest

from ssmref.conformance import random


def stepped(seed, count):
    """SplitMix64 as published: a state that is stepped, in Python integers."""
    mask, numbers = 2**64 - 1, []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(z ^ (z >> 31))
    return numbers


def test_numbers_of_the_documentation():
    expected = [16294208416658607535, 7960286522194355700, 487617019471545679]
    assert random.integers(0, 3).tolist() == expected
    page = (Path(__file__).parents[2] / "docs" / "vectors.md").read_text()
    for text in (str(random.__doc__), page):
        assert all(str(number) in text for number in expected)


@pytest.mark.parametrize("seed", [0, 1, 1234567, 2**64 - 1])
def test_counted_is_stepped(seed):
    assert random.integers(seed, 50).tolist() == stepped(seed, 50)


def test_seed_is_fnv_1a():
    # Test vectors of the FNV authors for the 64-bit variant.
    assert random.seed_of("") == 0xCBF29CE484222325
    assert random.seed_of("a") == 0xAF63DC4C8601EC8C
    assert random.seed_of("foobar") == 0x85944171F73967E8


def test_uniform_is_exact_and_in_range():
    numbers = random.uniform(7, 1000)
    expected = [(n >> 11) * 2.0**-53 for n in stepped(7, 1000)]
    assert numbers.tolist() == expected
    assert 0 <= numbers.min() < 0.01
    assert 0.99 < numbers.max() < 1


def test_normal_is_a_sum_of_twelve():
    terms = random.uniform(3, 24).tolist()
    assert random.normal(3, 2).tolist() == [
        sum(terms[:12], 0.0) - 6,
        sum(terms[12:], 0.0) - 6,
    ]


def test_normal_has_mean_0_and_variance_1():
    numbers = random.normal(1, 20000)
    assert abs(numbers.mean()) < 0.03
    assert abs(numbers.var() - 1) < 0.03
    assert np.abs(numbers).max() <= 6


def test_arrays_do_not_depend_on_order():
    first, second = random.Draw("a/b/c"), random.Draw("a/b/c")
    x, y = first.normal("x", 2, 3), first.uniform("y", -1, 1, 4)
    assert np.array_equal(second.uniform("y", -1, 1, 4), y)
    assert np.array_equal(second.normal("x", 2, 3), x)
    assert not np.array_equal(random.Draw("a/b/d").normal("x", 2, 3), x)
