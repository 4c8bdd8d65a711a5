"""The decay of a selective scan: 2^x in as few instructions as AVX-512 allows.

Nearly all of a scan's time goes into decays. `exp2_bounded` takes nine instructions,
three of them on the two units that multiply, which are what a scan keeps busiest. Here
it is eight, two of them there::

    2^x = 2^n T[i] (r^2 + b r + k)          x = n + i / 32 + r,  |r| <= 1 / 64

The quadratic is monic, 1 / k is in the table: as ``r (r + b) + k`` it needs one
product. The remainder r comes from one instruction. The price is a rounding at 4.2
instead of 1: the error is within 3 units of the last place.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from .toolkit.elementary import exp2_bounded, exp2_of, magnitude_of
from .toolkit.kernels import FLOAT, INT32, Value, features

# The least largest relative error of a quadratic, 5.3e-8, among those whose k has a
# reciprocal next to a number of float32: 2^0 is exactly 1.
K, B = 4.1627116203308105, 2.8854141235351562

# Three places from where the table, of numbers from 1 / k on, would leave the normal
# numbers.
MODERATE = 120.0

# Adding this rounds to multiples of 1 / 32 and leaves them in the low bits.
ROUND = 1.5 * 2**18
EXPONENT = 18  # what is left of 32 multiples when shifted into the exponent, 23 up


def decay_of(x: Value) -> Value:
    """Return 2^x where ``|x| < MODERATE``; nothing is promised elsewhere.

    Exactly 1 at 0; NaN comes out as NaN where AVX-512 is used.
    """
    wide = x.lanes.element == FLOAT and x.lanes.count == 16
    return _by_table(x) if wide and "avx512dq" in features() else exp2_bounded(x)


def any_decay_of(x: Value) -> Value:
    """Return 2^x for any x: where ``|x| < MODERATE`` the number of `decay_of`."""
    moderate = magnitude_of(x) < MODERATE
    return x.lanes.select(moderate, decay_of(x), exp2_of(x))


def _by_table(x: Value) -> Value:
    lanes, builder = x.lanes, x.lanes.builder
    shifted = lanes.bits(x + ROUND)
    powers = (np.exp2(np.arange(32) / 32) / K).astype(np.float32).view(np.int32)
    # Less the i that is added below the exponent.
    powers = (powers - (np.arange(32, dtype=np.int32) << EXPONENT)).tolist()
    halves = [ir.Constant(lanes.bits_type, powers[i : i + 16]) for i in (0, 16)]
    # The shift comes first: then the look-up may overwrite what it looks up, and not
    # the table, of which it would need a copy.
    exponent = builder.shl(shifted, lanes.bits_constant(EXPONENT))
    r = _remainder(x)
    entry = _call(lanes, "vpermi2var.d.512", halves[0], shifted, halves[1])
    return lanes.fma(r, r + B, K) * lanes.from_bits(builder.add(entry, exponent))


def _remainder(x: Value) -> Value:
    """Return x less the nearest multiple of 1 / 32."""
    lanes, every = x.lanes, ir.IntType(16)(-1)
    kind, plain = INT32(5 << 4), INT32(4)  # five places behind the point; no options
    arguments = x.ir, kind, lanes.constant(0.0).ir, every, plain
    return Value(lanes, _call(lanes, "mask.reduce.ps.512", *arguments))


def _call(lanes: Any, name: str, *arguments: Any) -> Any:
    """Call an instruction of AVX-512 whose result is like its first argument."""
    signature = ir.FunctionType(arguments[0].type, [a.type for a in arguments])
    full = f"llvm.x86.avx512.{name}"
    module = lanes.builder.module
    function = cgutils.get_or_insert_function(module, signature, full)
    return lanes.builder.call(function, arguments)
