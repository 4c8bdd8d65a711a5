"""The dtypes of golden: real, complex, either, and integer, in any precision."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Annotated as Complex
    from typing import Annotated as Integer
    from typing import Annotated as Number
    from typing import Annotated as Real
else:
    from jaxtyping import AbstractDtype

    # The width in the name of the longest type depends on the platform.
    class Real(AbstractDtype):
        """Float32, float64 or the platform's longest float."""

        dtypes = ("float32", "float64", "longdouble", "float96", "float128")

    class Complex(AbstractDtype):
        """The complex counterparts of `Real`."""

        dtypes = ("complex64", "complex128", "clongdouble", "complex192", "complex256")

    class Number(AbstractDtype):
        """`Real` or `Complex`."""

        dtypes = Real.dtypes + Complex.dtypes

    class Integer(AbstractDtype):
        """Signed integers: positions, boundaries, slots."""

        dtypes = ("int32", "int64")


__all__ = ["Complex", "Integer", "Number", "Real"]
