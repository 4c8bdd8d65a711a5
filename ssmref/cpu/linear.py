"""Linear maps, on the threads of the other ops.

Blocks alternate between linear maps and scans. Were the maps those of a BLAS, its
threads would spin for some 25 ms after every product, and Numba's after every scan, on
the same cores: a token of a block then takes ten times as long as it should.
"""

import math

import numpy as np

from ._arguments import checked, ready
from ._linear_kernels import product
from ._outputs import output
from ._types import Real


@checked
def linear(
    x: Real[np.ndarray, "*batch inputs"],
    weight: Real[np.ndarray, "outputs inputs"],
    bias: Real[np.ndarray, " outputs"] | None = None,
) -> Real[np.ndarray, "*batch outputs"]:
    """Return ``x weight^T + bias``; threads divide tokens and outputs."""
    rows = ready(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = output((len(rows), len(weight)), x.dtype)
    offsets = np.zeros(len(weight), x.dtype) if bias is None else ready(bias)
    product(y, rows, ready(weight), offsets)
    return y.reshape(*x.shape[:-1], len(weight))
