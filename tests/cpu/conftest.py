"""What the tests of the fast paths share: threads, and what was set before."""

from pathlib import Path

import pytest
from numba import get_num_threads, set_num_threads

from ssmref.ops import OPS

# Ops that are made of the kernels of others.
KERNELS_OF = {"blocks": "s4", "caches": "mamba2", "stages": "mamba2"}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items):
    """Send all tests of a module to one worker, for they compile the same kernels."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            module = _module(item)
            group = KERNELS_OF.get(module, module)
            if not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(group))


def _module(item):
    """Return the module of the op that is a parameter of a test, or of its file."""
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    ops = [OPS[p].module for p in given if isinstance(p, str) and p in OPS]
    return ops[0] if ops else item.path.stem.removeprefix("test_").split("_")[0]


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
