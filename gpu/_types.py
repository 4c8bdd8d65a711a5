"""The dtypes of the GPU ops, as annotations and as words for kernels.

What comes per token may be in a low precision; parameters and states are in float32, as
in the suite's cases of mixed precision. There is no float64: GPUs for machine learning
have hardly any units for it, and `ssmref.cpu` is there.
"""

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

# Arrays of CuPy, which is not imported for an annotation.
Array = Any

if TYPE_CHECKING:
    from typing import Annotated as Complex
    from typing import Annotated as Integer
    from typing import Annotated as Number
    from typing import Annotated as Real
    from typing import Annotated as Wide
else:
    from jaxtyping import AbstractDtype

    class Real(AbstractDtype):
        """What comes per token: one precision in a call."""

        dtypes = ("float32", "bfloat16", "float16")

    class Wide(AbstractDtype):
        """Parameters and states."""

        dtypes = ("float32",)

    class Complex(AbstractDtype):
        """Complex parameters and states."""

        dtypes = ("complex64",)

    class Number(AbstractDtype):
        """Parameters and states that may be real or complex."""

        dtypes = ("float32", "complex64")

    class Integer(AbstractDtype):
        """Sequence boundaries, slots and positions."""

        dtypes = ("int32", "int64")


FLOAT32 = np.dtype(np.float32)
FLOAT16 = np.dtype(np.float16)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# How a kernel file calls what it reads and writes per token.
WORDS = {FLOAT32: "float", BFLOAT16: "bf16", FLOAT16: "f16"}


def dtype_of(name: str) -> np.dtype:
    """Return a dtype by its name; bfloat16 is that of ml_dtypes, as for CuPy."""
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


def word(array: Array) -> str:
    """Return the C++ type of the numbers of an array, for the macro IO."""
    return WORDS[array.dtype]


__all__ = [
    "BFLOAT16",
    "FLOAT16",
    "FLOAT32",
    "WORDS",
    "Array",
    "Complex",
    "Integer",
    "Number",
    "Real",
    "Wide",
    "dtype_of",
    "word",
]
