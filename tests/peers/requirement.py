"""Peers are optional in a plain run, and required in the environments made for them."""

import os
import sys
import warnings
from importlib import import_module
from types import ModuleType

import pytest

# Set by the tox environments that install the peers: a missing peer then is an error,
# so that nothing is green because nothing ran.
REQUIRED = os.environ.get("SSMREF_REQUIRE_PEERS") == "1"


def require(name: str, environment: str) -> ModuleType:
    """Import a peer; skip the file where it is missing and not required."""
    if not REQUIRED:
        reason = f"{name} is missing: tox -e {environment}"
        return pytest.importorskip(name, reason=reason)
    with warnings.catch_warnings():  # as importorskip does: importing is theirs
        warnings.simplefilter("ignore")
        return import_module(name)


def keep_apart_from(name: str) -> None:
    """Skip the file, or fail where it is required, if `name` is in this process."""
    if name not in sys.modules:
        return
    reason = f"needs a process without {name}: run each folder of tests/peers by itself"
    if REQUIRED:
        raise RuntimeError(reason)
    pytest.skip(reason, allow_module_level=True)
