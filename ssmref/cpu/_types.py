"""The dtypes of the kernels: real, complex, either, and integer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Annotated as Complex
    from typing import Annotated as Integer
    from typing import Annotated as Number
    from typing import Annotated as Real
else:
    from jaxtyping import AbstractDtype

    class Real(AbstractDtype):
        """Single or double precision."""

        dtypes = ("float32", "float64")

    class Complex(AbstractDtype):
        """A pair of `Real` numbers."""

        dtypes = ("complex64", "complex128")

    class Number(AbstractDtype):
        """`Real` or `Complex`."""

        dtypes = Real.dtypes + Complex.dtypes

    class Integer(AbstractDtype):
        """Signed integers: positions, boundaries, slots."""

        dtypes = ("int32", "int64")


__all__ = ["Complex", "Integer", "Number", "Real"]
