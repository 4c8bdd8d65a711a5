"""What all tests share."""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# All workers of pytest-xdist, and processes that tests start, share what is compiled.
os.environ.setdefault("NUMBA_CACHE_DIR", str(TESTS.parent / ".numba_cache"))

# Folders whose fixtures take seconds: a worker has all tests of a file, or of a folder.
BY_FILE = (TESTS / "bench", TESTS / "examples")
BY_FOLDER = (TESTS / "browser", TESTS / "conformance" / "vectors")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items):
    for item in items:
        if (group := _group(item.path)) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group))


def _group(path):
    places = [path for folder in BY_FILE if folder in path.parents]
    places += [folder for folder in BY_FOLDER if folder in path.parents]
    return str(places[0].relative_to(TESTS)) if places else ""
