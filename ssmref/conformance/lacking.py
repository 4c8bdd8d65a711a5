"""How an adapter says that its library lacks what a case asks for."""

from collections.abc import Callable
from typing import Any

import numpy as np


def lacking(library: str) -> Callable[[str, Any], None]:
    """Return the function that refuses, by name, what a library has not.

    It takes a feature and what asks for it: an option that is given, or a condition
    that holds.
    """

    def lacks(feature: str, asked: Any) -> None:
        holds = asked if isinstance(asked, bool | np.bool_) else asked is not None
        if holds:
            raise NotImplementedError(f"{library} has no {feature}")

    return lacks
