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

    Vector instructions go at the rate of multiply-adds, of which each is two
    operations. Without a measurement of it that rate is the one of matrix products,
    which is a little less.
    """
    gemm = rates[f"gemm_{dtype}"].best
    adds = rates.get(f"fma_{dtype}", rates[f"gemm_{dtype}"]).best
    return Limit(
        {
            "memory": cost.elements * dtype.itemsize / rates["triad"].best,
            "products": cost.products / gemm,
            "vector": cost.instructions / (adds / 2),
        }
    )
