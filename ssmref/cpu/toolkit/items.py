"""Work items of large kernels, called by their address.

Numba compiles a function anew into each function that calls it, and a loop over
`prange` is three of those: for a scan of a dozen parts that is twice the time of the
scan itself. `Item` compiles the function of one work item by itself, and the loop calls
it where it lies in memory.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange, typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

from .kernels import INTERPRETED, kernel, parallel_kernel
from .threads import launch


class Item:
    """The function of one work item, to be called by `call_item`."""

    def __init__(self, function: Callable):
        """Compile `function`, which returns nothing, when it is first needed."""
        self.kernel = kernel(function)
        self.addresses: dict[Any, int] = {}

    def address(self, dtype: Any, *arguments: Any) -> Any:
        """Return what `call_item` needs; `dtype` decides the types of arguments."""
        if INTERPRETED:
            return self.kernel
        if dtype not in self.addresses:
            kinds = tuple(typeof(a) for a in arguments)
            self.kernel.compile(kinds)
            compiled = self.kernel.overloads[kinds]
            name = compiled.fndesc.llvm_func_name
            self.addresses[dtype] = compiled.library.get_pointer_to_function(name)
        return np.int64(self.addresses[dtype])


def _call_item(address, arguments):
    """Call an `Item` with a tuple of arguments."""
    address(*arguments)


@intrinsic
def _typed_call_item(_context, address, arguments):
    del address  # an integer by now; intrinsics are told types

    def generate(context, builder, signature, values):
        kinds = signature.args[1]
        convention = context.call_conv
        function = convention.get_function_type(types.none, kinds)
        place = builder.inttoptr(values[0], function.as_pointer())
        parts = cgutils.unpack_tuple(builder, values[1])
        status, _ = convention.call_function(builder, place, types.none, kinds, parts)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), generate


call_item: Any = _call_item if INTERPRETED else _typed_call_item


def for_each(
    item: Item, count: int, operations: int, dtype: Any, *arguments: Any
) -> None:
    """Call `item` with the arguments and each of ``range(count)``, on all threads.

    `operations` is the work of all, see `launch`; `dtype` decides the types of all
    arguments.
    """
    address = item.address(dtype, *arguments, 0)
    launch(_each, operations, address, arguments, count)


@parallel_kernel
def _each(address, arguments, count):
    for job in prange(count):
        call_item(address, (*arguments, np.int64(job)))
