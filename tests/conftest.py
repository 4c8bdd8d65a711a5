"""What all tests share."""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Two processes that compile one function for two dtypes at once confuse Numba's cache:
# the index names one file for both. Each worker of pytest-xdist keeps its own.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    caches = Path(os.environ.get("NUMBA_CACHE_DIR", TESTS.parent / ".numba_cache"))
    os.environ["NUMBA_CACHE_DIR"] = str(caches / worker)

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
