"""The functions of mathematics as formulas over `Value`, for vectors and scalars alike.

NaN comes out as NaN, infinities as the limits; results below the normal numbers are
rounded like all others. Errors are relative, in units of the last place (ulp), over all
arguments; `tests/cpu/toolkit/test_elementary.py` measures them, for float32
exhaustively.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from . import coefficients as table
from .vectors import FLOAT, Value, features

LOG2_E = 1.4426950408889634
TWO_OVER_PI = 0.63661977236758134

# Constants in parts: each is the remainder of those before, rounded. A product with an
# integer is exact inside a fused operation, so the parts subtract without loss.
LN2 = {
    "float32": (0.6931471824645996, -1.9046542121259336e-09),
    "float64": (0.6931471805599453, 2.3190468138462996e-17),
}
HALF_PI = {
    "float32": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    "float64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}

# Adding this rounds to an integer and leaves it in the low bits of the result.
ROUND = {"float32": 1.5 * 2**23, "float64": 1.5 * 2**52}
MANTISSA = {"float32": 23, "float64": 52}
BIAS = {"float32": 127, "float64": 1023}
# Between these 2^x is a normal number.
SMALLEST = {"float32": -126.0, "float64": -1022.0}
LARGEST = {"float32": 128.0, "float64": 1024.0}
# Beyond these 2^x and e^x are 0 and infinity, and e^x - 1 is -1.
EXP2_RANGE = {"float32": (-150.0, 128.0), "float64": (-1075.0, 1024.0)}
EXP_RANGE = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}
EXPM1_LEAST = {"float32": -20.0, "float64": -40.0}
# Decays are computed larger by this power of two, so that they stay normal numbers.
LIFT = {"float32": 64, "float64": 512}
# Where an angle still has digits behind the point, and half-turns can be counted.
LARGEST_ANGLE = {"float32": 2.0**22, "float64": 2.0**50}


def _for(x: Value, constants: dict[str, Any]) -> Any:
    """Return the one of the constants that belongs to the type of x."""
    return constants[x.lanes.dtype.__name__]


def _pick(x: Value, single: tuple, double: tuple) -> tuple[float, ...]:
    return single if x.lanes.element == FLOAT else double


def polynomial(r: Value, coefficients: tuple[float, ...]) -> Value:
    """Return the polynomial with these coefficients, highest first (Horner)."""
    total = r.lanes.constant(coefficients[0])
    for c in coefficients[1:]:
        total = r.lanes.fma(total, r, c)
    return total


def _at_least(x: Value, least: float) -> Value:
    """Return the larger one; NaN stays."""
    return x.lanes.select(x < least, least, x)


def _at_most(x: Value, most: float) -> Value:
    """Return the smaller one; NaN stays."""
    return x.lanes.select(x > most, most, x)


def magnitude_of(x: Value) -> Value:
    """Return ``|x|``."""
    return x.lanes.call("fabs", x)


def reciprocal_root_of(x: Value) -> Value:
    """Return ``1 / sqrt(x)`` within 1.5 ulp: a root, then a division."""
    return 1.0 / x.lanes.call("sqrt", x)


# Powers of two


def exp2_bounded(x: Value) -> Value:
    """Return 2^x where ``SMALLEST <= x < LARGEST - 1``; nothing is promised elsewhere.

    Within 2.7 ulp, without any of the operations that limits, NaN and results below the
    normal numbers need.
    """
    if x.lanes.element == FLOAT and x.lanes.count == 16 and "avx512f" in features():
        return _exp2_by_table(x)
    return _exp2_by_rounding(x)


def exp2_of(x: Value) -> Value:
    """Return 2^x within 2.1 ulp; exactly 2^x where x is an integer."""
    low, high = _for(x, EXP2_RANGE)
    inside = _at_most(_at_least(x, low), high)
    bias = _for(x, ROUND) + 2 * _for(x, BIAS)
    shifted = inside + bias
    r = inside - (shifted - bias)
    p = polynomial(r, _pick(x, table.EXP2_FLOAT, table.EXP2_DOUBLE))
    return _times_power(p, shifted)


def _exp2_by_rounding(x: Value) -> Value:
    """Split x into an integer, which goes into the exponent, and r, |r| <= 1/2."""
    shifted = x + _for(x, ROUND)
    r = x - (shifted - _for(x, ROUND))
    p = polynomial(r, _pick(x, table.EXP2_FLOAT, table.EXP2_DOUBLE))
    return _scale(p, shifted, _for(x, MANTISSA))


def _scale(p: Value, shifted: Value, places: int) -> Value:
    """Add the low bits of `shifted` to p, `places` up: into the exponent."""
    builder, lanes = p.lanes.builder, p.lanes
    exponent = builder.shl(lanes.bits(shifted), lanes.bits_constant(places))
    return lanes.from_bits(builder.add(lanes.bits(p), exponent))


def _exp2_by_table(x: Value) -> Value:
    """Split x into an integer, i / 32 and r: two terms fewer in the polynomial.

    AVX-512 holds a table of 32 in two registers. Entry i is 2^(i/32) less the i that
    stands below the exponent when the bits of the rounded number are added.
    """
    lanes = x.lanes
    shifted = x + ROUND["float32"] / 32
    r = x - (shifted - ROUND["float32"] / 32)
    powers = np.exp2(np.arange(32) / 32).astype(np.float32).view(np.int32)
    powers = (powers - (np.arange(32, dtype=np.int32) << 18)).tolist()
    kind = lanes.bits_type
    signature = ir.FunctionType(kind, [kind] * 3)
    lookup = cgutils.get_or_insert_function(
        lanes.builder.module, signature, "llvm.x86.avx512.vpermi2var.d.512"
    )
    halves = (ir.Constant(kind, powers[:16]), ir.Constant(kind, powers[16:]))
    entry = lanes.builder.call(lookup, [halves[0], lanes.bits(shifted), halves[1]])
    power = _scale(lanes.from_bits(entry), shifted, MANTISSA["float32"] - 5)
    return polynomial(r, table.EXP2_TABLE_FLOAT) * power


def _power(x: Value, biased: Any) -> Value:
    """Return the power of two whose biased exponent stands in the low bits."""
    places = x.lanes.bits_constant(_for(x, MANTISSA))
    return x.lanes.from_bits(x.lanes.builder.shl(biased, places))


def _halves(x: Value, shifted: Value) -> tuple[Any, Any]:
    """Split the low bits of `shifted`, an exponent biased twice, into two biased once.

    2^128 and 2^-149 are no normal numbers of float32, but products of two.
    """
    builder, both = x.lanes.builder, x.lanes.bits(shifted)
    one = builder.lshr(both, x.lanes.bits_constant(1))
    return one, builder.sub(both, one)


def _times_power(p: Value, shifted: Value) -> Value:
    """Return p 2^n, where n, biased twice, stands in the low bits of `shifted`."""
    one, other = _halves(p, shifted)
    return p * _power(p, one) * _power(p, other)


# Exponentials


def _natural(x: Value, bias: float) -> tuple[Value, Value]:
    """Split x into n log(2) + r, |r| <= log(2) / 2; return r and n + bias."""
    lanes = x.lanes
    shifted = lanes.fma(x, LOG2_E, bias)
    n, r = shifted - bias, x
    for part in _for(x, LN2):
        r = lanes.fma(n, -part, r)
    return r, shifted


def _exp_reduced(r: Value) -> Value:
    p = polynomial(r, _pick(r, table.EXP_FLOAT, table.EXP_DOUBLE))
    return r.lanes.fma(r.lanes.fma(p, r, 1.0), r, 1.0)


def exp_of(x: Value) -> Value:
    """Return e^x within 1.1 ulp; exactly 1 at 0."""
    low, high = _for(x, EXP_RANGE)
    inside = _at_most(_at_least(x, low), high)
    r, shifted = _natural(inside, _for(x, ROUND) + 2 * _for(x, BIAS))
    return _times_power(_exp_reduced(r), shifted)


def decay_of(x: Value) -> Value:
    """Return e^x where ``x <= 0``, four operations cheaper than `exp_of`.

    Nothing is promised where x is positive.
    """
    inside = _at_least(x, _for(x, EXP_RANGE)[0])
    lift = _for(x, LIFT)
    r, shifted = _natural(inside, _for(x, ROUND) + _for(x, BIAS) + lift)
    power = _power(x, x.lanes.bits(shifted))
    return _exp_reduced(r) * power * 2.0**-lift


def expm1_of(x: Value) -> Value:
    """Return e^x - 1 within 2 ulp, also where x is tiny."""
    lanes = x.lanes
    inside = _at_most(_at_least(x, _for(x, EXPM1_LEAST)), _for(x, EXP_RANGE)[1])
    bias = _for(x, ROUND) + 2 * _for(x, BIAS)
    r, shifted = _natural(inside, bias)
    p = polynomial(r, _pick(x, table.EXP_FLOAT, table.EXP_DOUBLE))
    # 2^n (r + r^2 p + 1 - 2^-n); from n = 64 on the last term is lost in any case.
    minus_n = bias - _at_most(shifted, bias + 64) + (_for(x, ROUND) + _for(x, BIAS))
    rest = 1.0 - _power(x, lanes.bits(minus_n))
    return _times_power(lanes.fma(r * r, p, r) + rest, shifted)


def tanh_of(x: Value) -> Value:
    """Return tanh(x) within 3 ulp, by e^(-2|x|) - 1."""
    e = expm1_of(-2.0 * magnitude_of(x))
    return x.lanes.call("copysign", e / (2.0 + e), x)


def sigmoid_of(x: Value) -> Value:
    """Return 1 / (1 + e^-x) within 2.5 ulp, by e^-|x|."""
    e = decay_of(-1.0 * magnitude_of(x))
    return x.lanes.select(x < 0.0, e, 1.0) / (1.0 + e)


def silu_of(x: Value) -> Value:
    """Return x sigmoid(x), NaN at minus infinity, as the product is.

    Within 3.2 ulp where sigmoid(x) is a normal number.
    """
    return x * sigmoid_of(x)


# Logarithms


def _log1p_reduced(f: Value, coefficients: tuple[float, ...]) -> Value:
    return f.lanes.fma(f * f, polynomial(f, coefficients), f)


def softplus_smooth_of(x: Value) -> Value:
    """Return log(1 + e^x) within 2.1 ulp, as max(x, 0) + log(1 + e^-|x|)."""
    e = decay_of(-1.0 * magnitude_of(x))
    coefficients = _pick(x, table.LOG1P_FLOAT, table.LOG1P_DOUBLE)
    return _at_least(x, 0.0) + _log1p_reduced(e, coefficients)


def softplus_of(x: Value) -> Value:
    """Return `softplus_smooth_of`, but x itself where x > 20."""
    return x.lanes.select(x > 20.0, x, softplus_smooth_of(x))


def _exponent(x: Value) -> tuple[Any, Value]:
    """Return k as an integer, 2^k the power next to x > 0, and x / 2^k - 1."""
    builder, lanes = x.lanes.builder, x.lanes
    bits, places = lanes.bits(x), lanes.bits_constant(_for(x, MANTISSA))
    kind = np.int32 if lanes.element == FLOAT else np.int64
    root = int(lanes.dtype(math.sqrt(0.5)).view(kind))
    k = builder.ashr(builder.sub(bits, lanes.bits_constant(root)), places)
    mantissa = lanes.from_bits(builder.sub(bits, builder.shl(k, places)))
    return k, mantissa - 1.0


def _with_limits(x: Value, u: Value, y: Value) -> Value:
    """Return y = log(u), or the limit where u is not positive or not finite."""
    lanes = x.lanes
    y = lanes.select(u > 0.0, y, lanes.select(u < 0.0, math.nan, -math.inf))
    y = lanes.select(u < math.inf, y, u)
    return lanes.select(lanes.is_nan(x), x, y)


def _log_parts(k: Value, f: Value) -> Value:
    """Return k log(2) + log(1 + f)."""
    high, low = _for(f, LN2)
    y = _log1p_reduced(f, _pick(f, table.LOG_FLOAT, table.LOG_DOUBLE))
    return f.lanes.fma(k, high, f.lanes.fma(k, low, y))


def _number(x: Value, integer: Any) -> Value:
    return Value(x.lanes, x.lanes.builder.sitofp(integer, x.lanes.type))


def log_of(x: Value) -> Value:
    """Return log(x) within 1.5 ulp: minus infinity at 0, NaN below."""
    lanes, places = x.lanes, _for(x, MANTISSA)
    tiny = x < 2.0 ** _for(x, SMALLEST)
    k, f = _exponent(lanes.select(tiny, x * 2.0**places, x))
    exponent = _number(x, k) - lanes.select(tiny, float(places), 0.0)
    return _with_limits(x, x, _log_parts(exponent, f))


def log1p_of(x: Value) -> Value:
    """Return log(1 + x) within 2 ulp, also where x is tiny."""
    builder, lanes = x.lanes.builder, x.lanes
    u = 1.0 + x
    k, f = _exponent(u)
    # (1 + x) / 2^k - 1 without the rounding of 1 + x, which a large x does not need.
    opposite = builder.sub(lanes.bits_constant(_for(x, BIAS)), k)
    power = _power(x, opposite)
    f = lanes.select(u < 2.0**60, lanes.fma(power, x, power - 1.0), f)
    return _with_limits(x, u, _log_parts(_number(x, k), f))


# The circle


def sin_cos_of(x: Value) -> tuple[Value, Value]:
    """Return sin(x) and cos(x) where ``|x| < LARGEST_ANGLE``, else NaN.

    Within 2.2 ulp: the nearest multiple of pi / 2 is subtracted by Cody and Waite, in
    three parts.
    """
    lanes, builder = x.lanes, x.lanes.builder
    inside = magnitude_of(x) < _for(x, LARGEST_ANGLE)
    r = lanes.select(inside, x, math.nan)
    shifted = lanes.fma(r, TWO_OVER_PI, _for(x, ROUND))
    n, quarter = shifted - _for(x, ROUND), lanes.bits(shifted)
    for part in _for(x, HALF_PI):
        r = lanes.fma(n, -part, r)
    sin, cos = _sin_cos_reduced(r)
    one = lanes.bits_constant(1)
    odd = builder.icmp_signed("!=", builder.and_(quarter, one), lanes.bits_constant(0))
    return (
        _turned(lanes.select(odd, cos, sin), quarter),
        _turned(lanes.select(odd, sin, cos), builder.add(quarter, one)),
    )


def _sin_cos_reduced(r: Value) -> tuple[Value, Value]:
    lanes, square = r.lanes, r * r
    p = polynomial(square, _pick(r, table.SIN_FLOAT, table.SIN_DOUBLE))
    q = polynomial(square, _pick(r, table.COS_FLOAT, table.COS_DOUBLE))
    sin = lanes.fma(r * square, p, r)
    return sin, lanes.fma(square * square, q, lanes.fma(square, -0.5, 1.0))


def _turned(value: Value, quarter: Any) -> Value:
    """Return minus `value` where bit 1 of `quarter` is set: past half a turn."""
    builder, lanes = value.lanes.builder, value.lanes
    half = builder.and_(quarter, lanes.bits_constant(2))
    places = _for(value, MANTISSA) + (7 if lanes.element == FLOAT else 10)
    sign = builder.shl(half, lanes.bits_constant(places))
    return lanes.from_bits(builder.xor(lanes.bits(value), sign))
