"""How kernels run on the host, and what the device pretends to be."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Settings:
    """What a test may choose.

    `resident` blocks are in work at once. A `seed` other than 0 lets one warp after the
    other run ahead, in an order that depends on it; with 0 threads take turns. Arrays
    that come from NumPy begin `offset` elements after a multiple of 16 bytes. The
    `mode` is how kernels are compiled, one of `build.MODES`; asan and tsan need a
    process of their own.
    """

    resident: int = 1
    seed: int = 0
    offset: int = 0
    patience: int = 1_000_000
    compute_capability: str = "90"
    shared_limit: int = 232_448
    processors: int = 4
    mode: str = os.environ.get("SSMREF_HOST_MODE", "plain")


class _Current:
    settings = Settings()


def current() -> Settings:
    """Return the settings that hold now."""
    return _Current.settings


@contextmanager
def using(**changes: int | str) -> Iterator[Settings]:
    """Run with other settings, by the names of `Settings`."""
    before = _Current.settings
    _Current.settings = replace(before, **changes)  # type: ignore[arg-type]
    try:
        yield _Current.settings
    finally:
        _Current.settings = before
