"""Cases of S4 with more modes than a warp has lanes, and with poles beside a node."""

from typing import Any

import numpy as np

from ..random import Draw
from . import s4
from .case import Case, cycle, family


def _beside_a_node(draw: Draw, **sizes: Any) -> dict[str, Any]:
    """Put all poles next to where the kernel's generating function is evaluated.

    At a quarter of the circle, ``dt A = 2i`` in the letters of S4, nothing has to be
    rounded: neither the node nor the poles nor their distance, about 2^-11. Its square
    is what float32 cannot add to 4. Modes of one phase let errors add up.
    """
    arguments = s4.scan(draw, **sizes)
    channels, state = arguments["A"].shape
    dt = cycle((2.0**-5, 2.0**-4), channels)
    distance = cycle((60.0, 61.0, 62.0, 63.0), channels * state) * 2.0**-17
    A = (2j - distance.reshape(channels, state)) / dt[:, None]
    C = 1 + draw.uniform("C", 0, 1, channels, state)
    return arguments | {"dt": dt, "A": A, "B": np.ones_like(A), "C": C + 0j}


MANY: dict[str, Any] = {"channels": 2, "state": 66, "ranks": 1}
MANY_REASON = "more pairs than two warps have lanes, and no multiple of one"

CASES: tuple[Case, ...] = (
    *family("s4.s4", s4.scan, many_modes=(MANY_REASON, {"length": 32, **MANY})),
    *family(
        "s4.s4",
        _beside_a_node,
        poles_beside_node=(
            "poles whose distance to a node is known exactly: merged fractions lose it",
            {"length": 32, **MANY, "coupling": 0.05},
        ),
    ),
    *family("s4.s4_step", s4.step, many_modes=(MANY_REASON, {"batch": 2, **MANY})),
)
