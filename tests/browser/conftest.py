"""What the tests of pages share."""

import pytest
from support.browser import chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started
