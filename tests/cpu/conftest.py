"""What the tests of the fast paths share: threads, and what was set before."""

import pytest
from numba import get_num_threads, set_num_threads


@pytest.fixture
def use_threads():
    """Return a function that sets the number of threads, of those that there are."""
    available = get_num_threads()
    yield lambda count: set_num_threads(min(count, available))
    set_num_threads(available)


@pytest.fixture
def thread_counts(use_threads):
    """Return an iterator over all numbers of threads, each of which is set in turn."""

    def counts():
        for count in range(1, available + 1):
            use_threads(count)
            yield count

    available = get_num_threads()
    return counts()


@pytest.fixture
def one_thread(use_threads):
    """Let one thread do everything: the parts of a sequence are a number per thread."""
    use_threads(1)


@pytest.fixture
def no_serial_paths(monkeypatch):
    """Let several threads do also what one would do as fast."""
    monkeypatch.setattr("ssmref.cpu.toolkit.threads.SERIAL", 0)
