"""What the fast paths are held to can fail."""

import numpy as np
import pytest
from numba import get_num_threads
from support.fast_paths import agree, cast, threads_agree_and_runs_repeat, workspace


def test_a_wrong_part_of_a_state_is_found():
    y, state = np.ones(3), (np.ones(2), np.ones(4))
    agree((y, state), (y, state))
    for wrong in ((y, (state[0], 1.001 * state[1])), (y, (state[0], state[1] + 0j))):
        with pytest.raises(AssertionError):
            agree(wrong, (y, state))
    with pytest.raises(ValueError, match="zip"):
        agree((y,), (y, state))
    with pytest.raises(AssertionError):
        agree((np.full(3, np.nan), state), (y, state))


def test_calls_are_cast():
    call = {"x": np.ones(2), "A": np.ones(2) + 1j, "n": np.arange(2), "flag": True}
    kinds = [v.dtype for v in cast(call, np.float32).values() if v is not True]
    assert kinds == [np.float32, np.complex64, np.int64]


def test_what_changes_from_run_to_run_is_found(thread_counts):
    runs = iter(range(100))

    def function():
        return (np.array([float(next(runs))]),)

    with pytest.raises(AssertionError):
        threads_agree_and_runs_repeat(function, {}, thread_counts, 1e-12)


@pytest.mark.skipif(get_num_threads() < 2, reason="two threads are needed")
def test_what_changes_with_the_threads_is_found(thread_counts):
    def function():
        return (np.array([1.0 + 1e-9 * get_num_threads()]),)

    with pytest.raises(AssertionError):
        threads_agree_and_runs_repeat(function, {}, thread_counts, 1e-12)


def test_workspace_is_all_but_the_results():
    def function(size):
        return np.zeros(1000) + np.ones(size).sum()

    small, large = (workspace(lambda n: (function(n),), {"n": n}) for n in (10, 9000))
    assert 8 * 8000 < large - small < 8 * 9000 + 4000
