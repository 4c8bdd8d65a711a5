"""How the tensor cores multiply float32: as float32, or, where asked for, as TF32.

::

    from ssmref.gpu import mamba2
    from ssmref.gpu.precision import tf32

    with tf32():
        y, state = mamba2.ssd(...)

By default a float32 is the sum of two TF32, and a product takes three: the error is
that of float32. Within `tf32()` it is rounded to TF32, 11 bits, and a product takes
one. Inputs in bfloat16 and float16 are multiplied as they are, either way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ._types import FLOAT32

_COARSE: ContextVar[bool] = ContextVar("float32 is multiplied as TF32", default=False)


@contextmanager
def tf32() -> Iterator[None]:
    """Multiply float32 as TF32 here: in this thread, or asynchronous task, only."""
    token = _COARSE.set(True)
    try:
        yield
    finally:
        _COARSE.reset(token)


def parts(dtype: np.dtype) -> int:
    """Return of how many numbers a factor of this dtype is the sum, in products now.

    It is the macro PARTS of kernels with products of tiles.
    """
    return 2 if dtype == FLOAT32 and not _COARSE.get() else 1
