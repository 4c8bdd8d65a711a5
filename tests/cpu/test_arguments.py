"""How arguments reach kernels: one kind of array, and nothing copied in vain."""

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from ssmref.cpu import _arguments


class Pair(NamedTuple):
    """A state of two parts."""

    ssm: np.ndarray
    k: np.ndarray


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


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
    found = _arguments.ready(given)
    assert numba_type(found) == numba_type(plain())
    assert found is not given
    assert np.array_equal(found, given)


def numba_type(array: np.ndarray) -> Any:
    """Return what a kernel is compiled for."""
    return numba.typeof(array), array.flags.aligned


def test_ready_copies_nothing_else():
    for array in (plain(), plain()[1:], np.zeros(()), np.zeros((0, 3), np.complex64)):
        assert _arguments.ready(array) is array


def test_flat_tokens_joins_batch_and_length():
    x = plain()
    assert _arguments.flat_tokens(x).shape == (6, 4)
    assert np.shares_memory(_arguments.flat_tokens(x), x)
    assert np.array_equal(_arguments.flat_tokens(x[:, ::-1])[3:], x[1, ::-1])
    assert _arguments.flat_tokens(np.zeros((0, 3, 4, 5))).shape == (0, 4, 5)
    assert _arguments.flat_tokens(np.zeros((2, 3))).shape == (6,)


def test_fresh_shares_nothing():
    state = np.asfortranarray(random(2, 3))
    found = _arguments.fresh(state, (2, 3), state.dtype)
    assert np.array_equal(found, state)
    assert found.flags.carray
    assert not np.shares_memory(found, state)
    zeros = _arguments.fresh(None, (2, 3), np.dtype(np.complex64))
    assert zeros.dtype == np.complex64
    assert not np.any(zeros)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_boundaries_and_rows_are_positions(dtype):
    x, given = random(3, 5, 2), np.array([0, 0, 4, 5], dtype)
    for found, expected in (
        (_arguments.boundaries(x, None), [0, 5, 10, 15]),
        (_arguments.boundaries(x[:0], None), [0]),
        (_arguments.boundaries(x, given), [0, 0, 4, 5]),
        (_arguments.boundaries(x, frozen(given.repeat(2))[::2]), [0, 0, 4, 5]),
        (_arguments.rows_of(None, 3), [0, 1, 2]),
        (_arguments.rows_of(np.array([4, -1], dtype), 2), [4, -1]),
    ):
        assert found.tolist() == expected
        assert numba.typeof(found) == numba.typeof(np.zeros(1, np.int64))


def test_states_are_mapped_part_by_part():
    state = Pair(random(2), random(3))
    found = _arguments.map_state(np.negative, state)
    assert isinstance(found, Pair)
    assert np.array_equal(found.k, -state.k)
    assert np.array_equal(_arguments.map_state(np.negative, state.ssm), -state.ssm)
