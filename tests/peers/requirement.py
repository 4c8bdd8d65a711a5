"""Peers are optional in a plain run, and required in the environments made for them."""

import os
import warnings
from importlib import import_module
from types import ModuleType

import pytest


def require(name: str, environment: str) -> ModuleType:
    """Import a peer; skip the file where it is missing.

    With SSMREF_REQUIRE_PEERS=1, as in the tox environment that installs the peer, a
    missing one is an error: nothing is green because nothing ran.
    """
    if os.environ.get("SSMREF_REQUIRE_PEERS") != "1":
        reason = f"{name} is missing: tox -e {environment}"
        return pytest.importorskip(name, reason=reason)
    with warnings.catch_warnings():  # as importorskip does: importing is theirs
        warnings.simplefilter("ignore")
        return import_module(name)
