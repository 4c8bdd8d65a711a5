"""How arguments reach kernels, and the checks that are left to the ops."""

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from ssmref.cpu import _contract
from ssmref.golden import _contract as golden_contract


class Pair(NamedTuple):
    """A state of two parts."""

    ssm: np.ndarray
    k: np.ndarray


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def refusal(function: Any, *arguments: Any) -> tuple[type, str] | None:
    """Return the type and message of the error, None where there is none."""
    try:
        function(*arguments)
    except Exception as error:
        return type(error), str(error)
    return None


def plain() -> np.ndarray:
    return np.arange(24.0).reshape(2, 3, 4)


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


class Subclass(np.ndarray):
    """What NumPy lets others derive."""


UNREADY = {
    "strided": np.arange(48.0).reshape(2, 3, 8)[..., ::2],
    "backwards": plain()[::-1, :, ::-1],
    "Fortran": np.asfortranarray(plain()),
    "read-only": frozen(plain()),
    "broadcast": np.broadcast_to(np.arange(4.0), (2, 3, 4)),
    "unaligned": np.frombuffer(bytearray(193), np.int8)[1:]
    .view(float)
    .reshape(2, 3, 4),
    "subclass": plain().view(Subclass),
}


@pytest.mark.parametrize("what", UNREADY)
def test_ready_makes_one_kind_of_array(what):
    given = UNREADY[what]
    assert type(given) is not np.ndarray or numba_type(given) != numba_type(plain())
    found = _contract.ready(given)
    assert numba_type(found) == numba_type(plain())
    assert found is not given
    assert np.array_equal(found, given)


def numba_type(array: np.ndarray) -> Any:
    """Return what a kernel is compiled for."""
    return numba.typeof(array), array.flags.aligned


def test_ready_copies_nothing_else():
    for array in (plain(), plain()[1:], np.zeros(()), np.zeros((0, 3), np.complex64)):
        assert _contract.ready(array) is array


def test_flat_tokens_joins_batch_and_length():
    x = plain()
    assert _contract.flat_tokens(x).shape == (6, 4)
    assert np.shares_memory(_contract.flat_tokens(x), x)
    assert np.array_equal(_contract.flat_tokens(x[:, ::-1])[3:], x[1, ::-1])
    assert _contract.flat_tokens(np.zeros((0, 3, 4, 5))).shape == (0, 4, 5)
    assert _contract.flat_tokens(np.zeros((2, 3))).shape == (6,)


def test_fresh_shares_nothing():
    state = np.asfortranarray(random(2, 3))
    found = _contract.fresh(state, (2, 3), state.dtype)
    assert np.array_equal(found, state)
    assert found.flags.carray
    assert not np.shares_memory(found, state)
    zeros = _contract.fresh(None, (2, 3), np.dtype(np.complex64))
    assert zeros.dtype == np.complex64
    assert not np.any(zeros)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_boundaries_and_rows_are_positions(dtype):
    x, given = random(3, 5, 2), np.array([0, 0, 4, 5], dtype)
    for found, expected in (
        (_contract.boundaries(x, None), [0, 5, 10, 15]),
        (_contract.boundaries(x[:0], None), [0]),
        (_contract.boundaries(x, given), [0, 0, 4, 5]),
        (_contract.boundaries(x, frozen(given.repeat(2))[::2]), [0, 0, 4, 5]),
        (_contract.rows_of(None, 3), [0, 1, 2]),
        (_contract.rows_of(np.array([4, -1], dtype), 2), [4, -1]),
    ):
        assert found.tolist() == expected
        assert numba.typeof(found) == numba.typeof(np.zeros(1, np.int64))


def test_states_are_mapped_part_by_part():
    state = Pair(random(2), random(3))
    found = _contract.map_state(np.negative, state)
    assert isinstance(found, Pair)
    assert np.array_equal(found.k, -state.k)
    assert np.array_equal(_contract.map_state(np.negative, state.ssm), -state.ssm)


@pytest.mark.parametrize("groups", range(8))
@pytest.mark.parametrize("heads", [0, 1, 6])
def test_groups_are_counted_like_golden_does(groups, heads):
    arguments = ("B", np.zeros((1, groups, 2)), heads, 1)
    expected = refusal(golden_contract.expand_groups, *arguments)
    assert refusal(_contract.heads_per_group, *arguments) == expected
    assert (expected is None) == (groups > 0 and heads % groups == 0)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_consecutive_heads_share_a_group(groups):
    numbers = np.arange(groups).reshape(1, groups)
    expanded = golden_contract.expand_groups("B", numbers, 6, 1)
    shared = _contract.heads_per_group("B", numbers, 6, 1)
    assert [h // shared for h in range(6)] == expanded[0].tolist()


@pytest.mark.parametrize("value", [1, 0, -1, -1e-9, float("nan"), float("inf"), True])
def test_limits_are_judged_like_golden_does(value):
    for least in (0, 1, -0.5):
        expected = refusal(golden_contract.at_least, "eps", value, least)
        assert refusal(_contract.at_least, "eps", value, least) == expected
    assert refusal(_contract.at_least, "eps", value, 2) or value > 2


@pytest.mark.parametrize("value", ["a", "b", None, 1, "A", ("a",)])
def test_choices_are_judged_like_golden_does(value):
    expected = refusal(golden_contract.choose, "method", value, "a", None, "b")
    assert refusal(_contract.choose, "method", value, "a", None, "b") == expected
    assert (expected is None) == (value in ("a", "b", None))
