"""What the tests of pages share."""

import pytest
from support.browser import chromium


@pytest.fixture(scope="session")
def _started(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def browser(_started):
    """A browser, that computes no longer than it is used."""
    yield _started
    _started.get("about:blank")
