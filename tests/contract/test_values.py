"""The checks that are left to the ops: values and groups, judged like golden does."""

from typing import Any

import numpy as np
import pytest

from ssmref import contract
from ssmref.golden import _contract


def refusal(function: Any, *arguments: Any) -> tuple[type, str] | None:
    """Return the type and message of the error, None where there is none."""
    try:
        function(*arguments)
    except Exception as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize("groups", range(8))
@pytest.mark.parametrize("heads", [0, 1, 6])
def test_groups_are_counted_like_golden_does(groups, heads):
    arguments = ("B", np.zeros((1, groups, 2)), heads, 1)
    expected = refusal(_contract.expand_groups, *arguments)
    assert refusal(contract.heads_per_group, *arguments) == expected
    assert (expected is None) == (groups > 0 and heads % groups == 0)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_consecutive_heads_share_a_group(groups):
    numbers = np.arange(groups).reshape(1, groups)
    expanded = _contract.expand_groups("B", numbers, 6, 1)
    shared = contract.heads_per_group("B", numbers, 6, 1)
    assert [h // shared for h in range(6)] == expanded[0].tolist()


@pytest.mark.parametrize("value", [1, 0, -1, -1e-9, float("nan"), float("inf"), True])
def test_limits_are_judged_like_golden_does(value):
    for least in (0, 1, -0.5):
        expected = refusal(_contract.at_least, "eps", value, least)
        assert refusal(contract.at_least, "eps", value, least) == expected
    assert refusal(contract.at_least, "eps", value, 2) or value > 2


@pytest.mark.parametrize("value", ["a", "b", None, 1, "A", ("a",)])
def test_choices_are_judged_like_golden_does(value):
    expected = refusal(_contract.choose, "method", value, "a", None, "b")
    assert refusal(contract.choose, "method", value, "a", None, "b") == expected
    assert (expected is None) == (value in ("a", "b", None))
