"""Golden checks its shapes in its own tests; here that would take most of the time."""

import jaxtyping
import pytest


@pytest.fixture(autouse=True, scope="module")
def _shapes_are_not_checked_again():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
