"""The comparison of the tests rejects wrong answers."""

import numpy as np
import pytest
from support.compare import assert_close

RIGHT = np.random.default_rng(0).standard_normal((2, 5, 3))


def _with(index, value):
    wrong = RIGHT.copy()
    wrong[index] = value
    return wrong


WRONG = {
    "nan": _with((0, 1, 2), np.nan),
    "inf": _with((1, 4, 0), np.inf),
    "zeros": np.zeros_like(RIGHT),
    "one element off": _with((0, 0, 0), RIGHT[0, 0, 0] + 1e-10),
    "shifted by one step": np.roll(RIGHT, 1, axis=1),
    "one percent": RIGHT * 1.01,
    "shape": RIGHT[:, :4],
    "broadcastable shape": RIGHT[:1, :1, :1],
    "axes swapped": RIGHT.swapaxes(1, 2),
    "dtype": RIGHT.astype(np.float32).astype(np.float32),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_answer_is_rejected(wrong):
    with pytest.raises(AssertionError):
        assert_close(wrong, RIGHT)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_part_of_a_tuple_is_rejected(wrong):
    with pytest.raises(AssertionError):
        assert_close((RIGHT, wrong), (RIGHT, RIGHT))


def test_missing_part_is_rejected():
    with pytest.raises(AssertionError):
        assert_close((RIGHT,), (RIGHT, RIGHT))


def test_nan_is_no_truth():
    with pytest.raises(AssertionError):
        assert_close(WRONG["nan"], WRONG["nan"])


def test_right_answer_is_accepted():
    assert_close((RIGHT + 1e-14, RIGHT), (RIGHT, RIGHT))
