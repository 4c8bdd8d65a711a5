"""One loop over `prange` for all work items that need no more: see `_items`."""

from typing import Any

import numpy as np
from numba import prange

from ._items import Item, call_item
from ._lanes import parallel_kernel
from ._threads import launch


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
