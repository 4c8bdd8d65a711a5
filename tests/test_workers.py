"""Tests of a group run in one worker: fails if ``--dist loadgroup`` does nothing."""

import pytest


@pytest.mark.xdist_group("together")
def test_groups_reach_the_scheduler(request):
    """Under pytest 9.2, pytest-xdist 3.8 silently loses them (its issue 1386)."""
    grouping = getattr(request.config.option, "loadgroup", False)
    assert request.node.nodeid.endswith("@together") == grouping
