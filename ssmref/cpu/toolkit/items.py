"""Work items of kernels, called by their address.

Numba compiles a function anew into each function that calls it, and a loop over
`prange` is three of those, which take numbers and arrays only. `Item` compiles the
function of one work item by itself, for arguments of any kind; one loop, compiled
once, calls all items where they lie in memory.

A thread begins with a share of its own, the same in each call, as caches like it. When
that is done it takes items of others, whose processors may do other work as well. Which
thread computes an item does not change its results.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

from .kernels import (
    INT64,
    INTERPRETED,
    inner,
    kernel,
    parallel_kernel,
    stay_apart,
    together,
)
from .references import Reference
from .threads import workers

# Counters of threads lie on lines of their own: so many numbers apart.
APART = 8
# Arguments of what calls an item, and of a loop.
THREE, FIVE = (types.int64,) * 3, (types.int64,) * 5


class Item:
    """The function of one work item: `for_each` calls it."""

    def __init__(self, function: Callable):
        """Compile `function`, which returns nothing, when it is first needed."""
        self.kernel = inner(function)
        self.runners: dict[Any, tuple[Callable, int]] = {}

    def runner(self, dtype: Any, arguments: tuple) -> tuple[Callable, int]:
        """Return what runs a loop over the item, and what the loop calls."""
        if dtype not in self.runners:
            kinds = tuple(map(typeof, arguments))
            run = _compiled(_run, (*FIVE[1:], types.Tuple(kinds))).entry_point
            address = _address(self.kernel, (*map(_given, kinds), types.int64))
            self.runners[dtype] = run, address
        return self.runners[dtype]


def for_each(
    item: Item, count: int, operations: int, dtype: Any, *arguments: Any
) -> None:
    """Call `item` with the arguments and each of ``range(count)``, in several threads.

    On as many threads as `operations` in all are worth. `dtype` decides the types of
    all arguments.
    """
    if INTERPRETED:
        for job in range(count):
            item.kernel(*arguments, job)
        return
    run, address = item.runner(dtype, arguments)
    available = workers(operations)
    run(_loop(available == 1), address, count, available, arguments)


def _given(kind: Any) -> Any:
    """Return the type that an item gets for an argument of a loop."""
    return Reference(kind) if isinstance(kind, types.BaseNamedTuple) else kind


LOOPS: dict[bool, int] = {}


def _loop(alone: bool) -> int:
    """Return the address of the loop over items: for one thread, or for all."""
    if alone not in LOOPS:
        LOOPS[alone] = _address(_each_alone if alone else _each, FIVE)
    return LOOPS[alone]


def _compiled(function: Any, kinds: tuple) -> Any:
    function.compile(kinds)
    return function.overloads[kinds]


def _address(function: Any, kinds: tuple) -> int:
    """Return where a compiled function lies in memory."""
    code = _compiled(function, kinds)
    return code.library.get_pointer_to_function(code.fndesc.llvm_func_name)


@parallel_kernel
def _each(caller, item, record, count, workers):
    taken = np.empty(APART * workers, np.int64)
    for i in range(len(taken)):
        taken[i] = 0
    for worker in prange(workers):
        job = next_item(taken, worker, count)
        while job < count:
            call_item(caller, (item, record, job))
            job = next_item(taken, worker, count)


@kernel
def _each_alone(caller, item, record, count, _workers):
    for job in range(count):
        call_item(caller, (item, record, job))


def _plain_count_up(numbers, place):
    """Add one to a number; return what it was before. Several threads may do so."""
    numbers[place] += 1
    return numbers[place] - 1


@intrinsic
def _typed_count_up(_context, numbers, place):
    def generate(context, builder, signature, values):
        array = context.make_array(signature.args[0])(context, builder, values[0])
        number = builder.gep(array.data, [values[1]])
        return builder.atomic_rmw("add", number, INT64(1), "monotonic")

    return types.int64(numbers, place), generate


count_up: Any = _plain_count_up if INTERPRETED else _typed_count_up


@inner
def next_item(taken, worker, count):
    """Return one of `count` items that nobody has taken, or `count`.

    Workers have shares of equal size; `taken` counts, `APART` numbers for each.
    """
    stay_apart()
    workers = len(taken) // APART
    for other in range(workers):
        owner = (worker + other) % workers
        first, stop = count * owner // workers, count * (owner + 1) // workers
        item = first + count_up(taken, APART * owner)
        if item < stop:
            return item
    return count


@intrinsic
def _call_item(_context, address, arguments):
    """Call what lies at an address with a tuple of arguments."""

    def generate(context, builder, signature, values):
        parts = cgutils.unpack_tuple(builder, values[1])
        _emit_call(context, builder, values[0], signature.args[1], parts)
        return context.get_dummy_value()

    return types.void(address, arguments), generate


call_item: Any = _call_item


@intrinsic
def _lend_and_call(_context, loop, item, count, workers, arguments):
    """Call a loop with the address of `_caller`, the item's, and that of a record."""

    def generate(context, builder, signature, values):
        lent = _lent(context, builder, signature.args[4], values[4])
        record = cgutils.alloca_once_value(builder, lent)
        caller = _caller(context, builder.module, signature.args[4], record.type)
        places = [builder.ptrtoint(p, INT64) for p in (caller, record)]
        given = [places[0], values[1], places[1], *values[2:4]]
        _emit_call(context, builder, values[0], FIVE, given)
        return context.get_dummy_value()

    return types.void(loop, item, count, workers, arguments), generate


_call_loop: Any = _lend_and_call


def _lent(context, builder, kind, value):
    """Return a value whose arrays belong to nobody.

    Else threads would count references to them in one place, item by item.
    """
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        parts: Any = kind
        for i, part in enumerate(parts):
            own = builder.extract_value(value, i)
            lent = _lent(context, builder, part, own)
            value = builder.insert_value(value, lent, i)
    return value


@together
def _run(loop, item, count, workers, arguments):
    """Run a loop over an item, for which the arguments lie in one place."""
    _call_loop(loop, item, count, workers, arguments)


def _caller(context, module, kinds, pointer):
    """Emit a function of three integers: the item, where its arguments are, a job."""
    convention = context.call_conv
    kind = convention.get_function_type(types.none, THREE)
    function = ir.Function(module, kind, module.get_unique_name("caller"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block())
    item, record, job = convention.get_arguments(function)
    place = builder.inttoptr(record, pointer)
    fields = [cgutils.gep_inbounds(builder, place, 0, i) for i in range(len(kinds))]
    given = [*map(_given, kinds), types.int64]
    values = [
        field if isinstance(kind, Reference) else builder.load(field)
        for field, kind in zip(fields, given, strict=False)
    ]
    _emit_call(context, builder, item, given, [*values, job])
    convention.return_value(builder, context.get_dummy_value())
    return function


def _emit_call(context, builder, address, kinds, values):
    """Call the function for Numba at an address; pass on what it raises."""
    convention = context.call_conv
    kind = convention.get_function_type(types.none, kinds).as_pointer()
    place = builder.inttoptr(address, kind)
    status, _ = convention.call_function(builder, place, types.none, kinds, values)
    with cgutils.if_unlikely(builder, status.is_error):
        convention.return_status_propagate(builder, status)
