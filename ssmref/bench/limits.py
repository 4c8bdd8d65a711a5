"""How fast a workload can be at best on this machine, by the rates that it has."""

from dataclasses import dataclass

import numpy as np

from .costs import Cost
from .rates import Rates


@dataclass(frozen=True)
class Limit:
    """Seconds that each resource needs at least; the largest is the limit."""

    parts: dict[str, float]

    @property
    def seconds(self) -> float:
        """The time below which no call can be."""
        return max(self.parts.values(), default=0.0)

    @property
    def binding(self) -> str:
        """The resource that sets the limit."""
        return max(self.parts, key=lambda name: self.parts[name], default="")


def limit(cost: Cost, rates: Rates, dtype: np.dtype) -> Limit:
    """Divide what a call needs by the best of each rate.

    Products and all other vector instructions go through the same units, at two
    operations per instruction: their time adds up. The rate is the higher one of
    multiply-adds in registers and of matrix products, which are made of them, so that
    a disturbance while one of the two was measured does not make the limit longer.
    """
    names = (f"fma_{dtype}", f"gemm_{dtype}")
    arithmetic = max(rates[name].best for name in names if name in rates)
    products = cost.products / arithmetic
    vector = 2 * cost.instructions / arithmetic
    major = "products" if products > vector else "vector"
    return Limit(
        {
            "memory": cost.elements * dtype.itemsize / rates["triad"].best,
            major: products + vector,
        }
    )
