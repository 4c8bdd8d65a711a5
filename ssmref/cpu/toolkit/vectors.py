"""Instructions on vectors, for LLVM: what `kernels` builds kernels from.

The width is chosen for the processor that Numba compiles for (``NUMBA_CPU_FEATURES``
restricts it) and written into the functions that use these instructions as an LLVM
attribute: nobody else's code changes. (LLVM's own default for most processors with
AVX-512 is to use half of the width.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, config

INT32, INT64 = ir.IntType(32), ir.IntType(64)
FLOAT, DOUBLE = ir.FloatType(), ir.DoubleType()


@functools.cache
def features() -> frozenset[str]:
    """Return the instruction sets of the processor that Numba compiles for."""
    given = vars(config)["CPU_FEATURES"] or binding.get_host_cpu_features().flatten()
    return frozenset(f[1:] for f in given.split(",") if f.startswith("+"))


@functools.cache
def vector_bits() -> int:
    """Return the width of the vector registers in bits."""
    if {"avx512f", "avx512vl"} <= features():
        return 512
    return 256 if "avx" in features() else 128


def lane_count(dtype: Any) -> int:
    """Return how many numbers of `dtype` a vector register holds."""
    return vector_bits() // (8 * np.dtype(dtype).itemsize)


class Value:
    """A scalar or vector of a kernel under construction."""

    def __init__(self, lanes: Lanes, ir_value: Any):
        """Keep a value of LLVM, and what emits operations on it."""
        self.lanes, self.ir = lanes, ir_value

    def __add__(self, other: Any) -> Value:
        return self.lanes.binary("fadd", self, other)

    def __sub__(self, other: Any) -> Value:
        return self.lanes.binary("fsub", self, other)

    def __mul__(self, other: Any) -> Value:
        return self.lanes.binary("fmul", self, other)

    def __truediv__(self, other: Any) -> Value:
        return self.lanes.binary("fdiv", self, other)

    def __radd__(self, other: float) -> Value:
        return self.lanes.constant(other) + self

    def __rsub__(self, other: float) -> Value:
        return self.lanes.constant(other) - self

    def __rmul__(self, other: float) -> Value:
        return self.lanes.constant(other) * self

    def __rtruediv__(self, other: float) -> Value:
        return self.lanes.constant(other) / self

    def __lt__(self, other: Any) -> Any:
        return self.lanes.compare("<", self, other)

    def __gt__(self, other: Any) -> Any:
        return self.lanes.compare(">", self, other)


class Lanes:
    """Emits operations on vectors of `count` numbers (0: on scalars) of `element`."""

    def __init__(self, builder: Any, element: Any, count: int):
        """Keep the builder of the function that is being compiled."""
        self.builder, self.element, self.count = builder, element, count
        self.integer = INT32 if element == FLOAT else INT64
        self.type = ir.VectorType(element, count) if count else element
        self.bits_type = ir.VectorType(self.integer, count) if count else self.integer
        widen(builder)

    @property
    def dtype(self) -> Any:
        """The NumPy type of one lane."""
        return np.float32 if self.element == FLOAT else np.float64

    # Constants and arithmetic

    def constant(self, value: float) -> Value:
        """Return `value`, rounded to the element type, in every lane."""
        number = float(self.dtype(value))
        return Value(
            self,
            ir.Constant(self.type, [number] * self.count if self.count else number),
        )

    def bits_constant(self, value: int) -> Any:
        """Return an integer in every lane."""
        return ir.Constant(
            self.bits_type, [value] * self.count if self.count else value
        )

    def wrap(self, value: Any) -> Value:
        """Return a number as a constant; a `Value` as it is."""
        return value if isinstance(value, Value) else self.constant(value)

    def binary(self, name: str, a: Value, b: Any) -> Value:
        """Return the result of a binary instruction."""
        return Value(self, getattr(self.builder, name)(a.ir, self.wrap(b).ir))

    def compare(self, relation: str, a: Value, b: Any) -> Any:
        """Return a mask that is false wherever a NaN is compared."""
        return self.builder.fcmp_ordered(relation, a.ir, self.wrap(b).ir)

    def every(self, mask: Any) -> Any:
        """Return the bit of LLVM that is set where the mask is true in all lanes."""
        bits = ir.IntType(self.count)
        return self.builder.icmp_unsigned(
            "==", self.builder.bitcast(mask, bits), bits(-1)
        )

    def is_nan(self, a: Value) -> Any:
        """Return the mask of the lanes that hold NaN."""
        return self.builder.fcmp_unordered("uno", a.ir, a.ir)

    def select(self, mask: Any, a: Any, b: Any) -> Value:
        """Return a where the mask is true, b elsewhere."""
        return Value(self, self.builder.select(mask, self.wrap(a).ir, self.wrap(b).ir))

    def fma(self, a: Value, b: Any, c: Any) -> Value:
        """Return a b + c, rounded once."""
        return self.call("fma", a, self.wrap(b), self.wrap(c))

    def call(self, name: str, *arguments: Value) -> Value:
        """Return the result of an LLVM intrinsic: ``sqrt``, ``fabs``, ``floor``..."""
        signature = ir.FunctionType(self.type, [self.type] * len(arguments))
        full = f"llvm.{name}.{self.suffix(self.element)}"
        function = cgutils.get_or_insert_function(self.builder.module, signature, full)
        return Value(self, self.builder.call(function, [a.ir for a in arguments]))

    def suffix(self, element: Any) -> str:
        """Return how LLVM spells this vector of `element` in names of intrinsics."""
        scalar = {FLOAT: "f32", DOUBLE: "f64", INT32: "i32", INT64: "i64"}[element]
        return f"v{self.count}{scalar}" if self.count else scalar

    def bits(self, a: Value) -> Any:
        """Return the bit pattern as integers."""
        return self.builder.bitcast(a.ir, self.bits_type)

    def from_bits(self, pattern: Any) -> Value:
        """Return the numbers that have these bits."""
        return Value(self, self.builder.bitcast(pattern, self.type))

    # Memory: a pointer and an offset in elements

    def load(self, pointer: Any, offset: Any, mask: Any = None) -> Value:
        """Return consecutive numbers; lanes outside the mask are 0 and not read."""
        place = self._place(pointer, offset)
        if mask is None:
            return Value(self, self.builder.load(place, align=self._alignment))
        arguments = [place, INT32(self._alignment), mask, self.constant(0.0).ir]
        return Value(self, self._masked("load", self.type, arguments))

    def store(self, value: Value, pointer: Any, offset: Any, mask: Any = None) -> None:
        """Write consecutive numbers; lanes outside the mask stay untouched."""
        place = self._place(pointer, offset)
        if mask is None:
            self.builder.store(value.ir, place, align=self._alignment)
        else:
            arguments = [value.ir, place, INT32(self._alignment), mask]
            self._masked("store", ir.VoidType(), arguments)

    def broadcast(self, pointer: Any, offset: Any) -> Value:
        """Return the number at `offset` in every lane."""
        return self.spread(self.builder.load(self.builder.gep(pointer, [offset])))

    def spread(self, scalar: Any) -> Value:
        """Return a scalar of LLVM in every lane."""
        if not self.count:
            return Value(self, scalar)
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, INT32(0))
        zeros = ir.Constant(ir.VectorType(INT32, self.count), [0] * self.count)
        return Value(self, self.builder.shuffle_vector(first, undefined, zeros))

    def first(self, valid: Any) -> Any:
        """Return the mask of the first `valid` lanes."""
        kind = ir.VectorType(INT64, self.count)
        index = ir.Constant(kind, list(range(self.count)))
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(undefined, valid, INT32(0))
        zeros = ir.Constant(ir.VectorType(INT32, self.count), [0] * self.count)
        limit = self.builder.shuffle_vector(one, undefined, zeros)
        return self.builder.icmp_signed("<", index, limit)

    def total(self, value: Value) -> Any:
        """Return the sum of the lanes as a scalar: halves are added to halves."""
        count, vector = self.count, value.ir
        while count > 1:
            count //= 2
            undefined = ir.Constant(vector.type, ir.Undefined)
            halves = [
                self.builder.shuffle_vector(
                    vector,
                    undefined,
                    ir.Constant(
                        ir.VectorType(INT32, count), list(range(at, at + count))
                    ),
                )
                for at in (0, count)
            ]
            vector = self.builder.fadd(*halves)
        return self.builder.extract_element(vector, INT32(0))

    def prefetch(self, pointer: Any, offset: Any, level: int = 1) -> None:
        """Ask for the line at `offset`, which need not exist, in a level of cache."""
        place = self.builder.gep(pointer, [offset])
        signature = ir.FunctionType(ir.VoidType(), [place.type, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(
            self.builder.module, signature, "llvm.prefetch.p0"
        )
        read, keep, data = INT32(0), INT32(4 - level), INT32(1)
        self.builder.call(function, [place, read, keep, data])

    @property
    def _alignment(self) -> int:
        return np.dtype(self.dtype).itemsize

    def _place(self, pointer: Any, offset: Any) -> Any:
        place = self.builder.gep(pointer, [offset])
        return self.builder.bitcast(place, self.type.as_pointer())

    def _masked(self, name: str, result: Any, arguments: list) -> Any:
        signature = ir.FunctionType(result, [a.type for a in arguments])
        full = f"llvm.masked.{name}.{self.suffix(self.element)}.p0"
        function = cgutils.get_or_insert_function(self.builder.module, signature, full)
        return self.builder.call(function, arguments)

    # Control

    def loop(self, count: Any, values: Sequence[Any], body: Callable) -> list[Any]:
        """Run ``values = body(i, values)`` for i in range(count); return the values.

        Values are `Value` or LLVM integers; they stay in registers.
        """
        builder = self.builder
        head, inside, after = (
            builder.append_basic_block(f"loop.{n}") for n in ("head", "body", "end")
        )
        entry = builder.block
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INT64)
        carried = [builder.phi(_raw(v).type) for v in values]
        builder.cbranch(builder.icmp_signed("<", index, count), inside, after)
        builder.position_at_end(inside)
        new = body(index, self._like(values, carried))
        successor = builder.add(index, INT64(1))
        for phi, first, later in zip(
            [index, *carried],
            [INT64(0), *map(_raw, values)],
            [successor, *map(_raw, new)],
            strict=True,
        ):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return self._like(values, carried)

    def when(self, wanted: Any, values: Sequence[Any], body: Callable) -> list[Any]:
        """Return ``body(values)`` where the integer `wanted` is not 0, else values."""
        builder = self.builder
        before, differs = builder.block, builder.icmp_signed("!=", wanted, INT64(0))
        with builder.if_then(differs):
            new, inside = [_raw(v) for v in body(values)], builder.block
        merged = []
        for old, other in zip(map(_raw, values), new, strict=True):
            merged.append(builder.phi(old.type))
            merged[-1].add_incoming(old, before)
            merged[-1].add_incoming(other, inside)
        return self._like(values, merged)

    def _like(self, values: Sequence[Any], raw: Sequence[Any]) -> list[Any]:
        """Make vectors of LLVM a `Value` where `values` had one."""
        return [
            Value(self, r) if isinstance(v, Value) else r
            for v, r in zip(values, raw, strict=True)
        ]


def _raw(value: Any) -> Any:
    return value.ir if isinstance(value, Value) else value


def widen(builder: Any) -> None:
    """Let LLVM use whole vector registers in the function that is being compiled."""
    # The set refuses what it does not know; what it holds is printed as it is.
    for name in ("prefer-vector-width", "min-legal-vector-width"):
        set.add(builder.function.attributes, f'"{name}"="{vector_bits()}"')
