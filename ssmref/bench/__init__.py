"""Measuring implementations: verified first, then timed side by side, samples kept."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frames import load

__all__ = ["load"]


def __getattr__(name: str) -> object:
    """Import what is asked for, so that importing the package stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import frames

    return getattr(frames, name)
