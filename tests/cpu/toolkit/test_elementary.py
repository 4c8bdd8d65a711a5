"""The errors that docstrings promise, in units of the last place.

Float32 against float64: every number where the result is not trivial, for exponentials;
of the others, one in thirteen. Float64 against the longest type, and against mpmath.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import pytest
from numba import njit

from ssmref.cpu.toolkit import elementary, vectors
from ssmref.cpu.toolkit.kernels import (
    FLAGS,
    INTERPRETED,
    lane_count_of,
    micro_kernel,
    scalar_function,
    use_wide_vectors,
)
from ssmref.cpu.toolkit.vectors import INT64, Value

compiled = pytest.mark.skipif(INTERPRETED, reason="NumPy takes the place of formulas")
# Functions over all of float32 are thinned out by this, but for exponentials.
STEP = 13
# Of these, one in so many is in the gate.
SAMPLE = 17
BLOCK = 1 << 18


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _smooth(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


class Function(NamedTuple):
    """What a function is, its error, and where it is neither trivial nor infinite."""

    reference: Callable
    bound: float
    low: float
    high: float
    tiny: float = 2.0**-26
    step: int = STEP


FLOAT_MAX = float(np.finfo(np.float32).max)
FUNCTIONS = {
    "exp2": Function(np.exp2, 2.1, -150.0, 127.9999, step=1),
    "exp": Function(np.exp, 1.1, -104.0, 88.7228, step=1),
    "decay": Function(np.exp, 1.1, -104.0, 0.0),
    "expm1": Function(np.expm1, 2.0, -30.0, 88.7228),
    "log": Function(np.log, 1.5, 0.0, FLOAT_MAX, 2.0**-149),
    "log1p": Function(np.log1p, 2.0, -0.99999994, FLOAT_MAX),
    "tanh": Function(np.tanh, 3.0, -20.0, 20.0),
    "sigmoid": Function(_sigmoid, 2.5, -104.0, 104.0),
    "silu": Function(lambda x: x * _sigmoid(x), 3.2, -87.0, 104.0),
    "softplus": Function(lambda x: np.where(x > 20, x, _smooth(x)), 2.1, -104.0, 40.0),
    "softplus_smooth": Function(_smooth, 2.1, -104.0, 40.0),
    "sin": Function(np.sin, 2.2, -4194303.0, 4194303.0),
    "cos": Function(np.cos, 2.2, -4194303.0, 4194303.0),
    "reciprocal_root": Function(lambda x: 1 / np.sqrt(x), 1.5, 0, FLOAT_MAX, 2.0**-149),
}


@functools.cache
def looped(function: Any) -> Any:
    """Return a loop over a function for Numba, which LLVM vectorises."""

    @njit(fastmath=FLAGS)
    def run(x, y):
        use_wide_vectors()
        for i in range(x.size):
            y[i] = function(x[i])

    return run


def in_registers(formula: Callable[[Value], Value]) -> Callable:
    """Return a loop over whole vectors; x has a multiple of their length."""

    def plain(x, y, count):
        y[:count] = x[:count]  # never called: for its parameters

    @micro_kernel(plain)
    def emit(lanes, x, y, count):
        def body(i, values):
            place = lanes.builder.mul(i, INT64(lanes.count))
            lanes.store(formula(lanes.load(x, place)), y, place)
            return values

        lanes.loop(count, [], body)

    @njit(fastmath=FLAGS)
    def run(x, y):
        emit(x, y, x.size // lane_count_of(x))

    return run


def ulp(exact: np.ndarray) -> np.ndarray:
    """Return the distances of neighbouring float32 numbers at these, in float64."""
    powers = (exact.astype(np.float32).view(np.int32) & 0x7F800000).view(np.float32)
    return np.maximum(powers, np.float32(2.0**-126)).astype(np.float64) * 2.0**-23


def all_floats(low: float, high: float, step: int):
    """Yield blocks of each float32 from low to high, both of one sign."""
    first, last = sorted(int(np.float32(abs(v)).view(np.int32)) for v in (low, high))
    sign = np.float32(-1 if low < 0 else 1)
    for start in range(first, last + 1, BLOCK * step):
        stop = min(last + 1, start + BLOCK * step)
        yield sign * np.arange(start, stop, step, dtype=np.int32).view(np.float32)


def worst(run: Callable, reference: Callable, low: float, high: float, step: int):
    """Return the largest error between low and high, and where it is; NaN stays."""
    found = (0.0, low)
    for x in all_floats(low, high, step):
        exact, y = reference(x.astype(np.float64)), np.empty_like(x)
        run(x, y)
        errors = np.abs(y - exact) / ulp(exact)
        at = int(np.argmax(errors))
        if not errors[at] <= found[0]:
            found = (float(errors[at]), float(x[at]))
    return found


@compiled
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("fewer", [SAMPLE, pytest.param(1, marks=pytest.mark.thorough)])
def test_error_of_float32_is_as_promised(name, fewer):
    own = FUNCTIONS[name]
    run = looped(getattr(elementary, name))
    halves = [(own.low, -own.tiny)] if own.low < 0 else []
    halves += [(own.tiny, own.high)] if own.high > 0 else []
    for low, high in halves:
        error, place = worst(run, own.reference, low, high, fewer * own.step)
        assert error <= own.bound, f"{error} ulp at {place!r}"


@compiled
@pytest.mark.parametrize(("form", "bound"), [("table", 2.7), ("rounding", 2.1)])
def test_bounded_power_of_two_is_as_exact_as_promised_in_both_forms(form, bound):
    formula = elementary.exp2_bounded
    run = in_registers(formula) if form == "table" else looped(_scalar_bounded())
    for low, high in ((-126.0, -(2.0**-26)), (2.0**-26, 126.99999)):
        error, place = worst(_padded(run), np.exp2, low, high, STEP)
        assert error <= bound, f"{error} ulp at {place!r}"


def _scalar_bounded():
    def exp2_bounded(x: Value) -> Value:
        return elementary.exp2_bounded(x)

    return scalar_function(np.exp2)(exp2_bounded)


def _padded(run: Callable) -> Callable:
    """Return `run` for any number of floats; vectors need whole ones."""

    def padded(x, y):
        whole = np.zeros(-(-x.size // 64) * 64, x.dtype)
        whole[: x.size] = x
        result = np.empty_like(whole)
        run(whole, result)
        y[:] = result[: x.size]

    return padded


def doubles(own: Function, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return numbers of all magnitudes, and evenly spread ones."""
    parts = []
    for limit in (own.low, own.high):
        top = int(np.float64(abs(limit)).view(np.int64))
        patterns = rng.integers(0, max(top, 1), count).view(np.float64)
        parts += [np.copysign(patterns, limit), limit * rng.random(count)]
    x = np.concatenate(parts)
    return x[(x >= own.low) & (x <= own.high) & (x != 0)]


@compiled
@pytest.mark.skipif(
    bool(np.finfo(np.longdouble).eps > 1e-18), reason="no type longer than float64"
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_of_float64_is_as_promised(name):
    own = FUNCTIONS[name]
    x = doubles(own, np.random.default_rng(3), 50_000)
    y = np.empty_like(x)
    looped(getattr(elementary, name))(x, y)
    exact = own.reference(x.astype(np.longdouble))
    errors = np.abs(y - exact) / np.spacing(np.abs(exact).astype(np.float64))
    at = int(np.argmax(errors))
    assert errors[at] <= own.bound, f"{errors[at]} ulp at {x[at]!r}"


EXACT = {
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "exp": mpmath.exp,
    "decay": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "softplus": lambda x: x if x > 20 else mpmath.log1p(mpmath.exp(x)),
    "softplus_smooth": lambda x: mpmath.log1p(mpmath.exp(x)),
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "reciprocal_root": lambda x: 1 / mpmath.sqrt(x),
}


@compiled
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_agrees_with_mpmath(name):
    own = FUNCTIONS[name]
    x = doubles(own, np.random.default_rng(4), 60)
    y = np.empty_like(x)
    looped(getattr(elementary, name))(x, y)
    with mpmath.workdps(60):
        for given, found in zip(x.tolist(), y.tolist(), strict=True):
            exact = EXACT[name](mpmath.mpf(given))
            error = abs(found - exact) / float(np.spacing(abs(float(exact))))
            assert error <= own.bound, f"{float(error)} ulp at {given!r}"


@compiled
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_float64_takes_large_angles(name):
    x = np.random.default_rng(5).uniform(-1, 1, 300) * 10.0 ** np.arange(300) ** 0.49
    y, exact = np.empty_like(x), np.zeros_like(x)
    looped(getattr(elementary, name))(x, y)
    with mpmath.workdps(60):
        exact[:] = [float(EXACT[name](mpmath.mpf(v))) for v in x.tolist()]
    inside = np.abs(x) < elementary.LARGEST_ANGLE["float64"]
    assert 200 < inside.sum() < 300
    assert np.all(np.abs(y - exact)[inside] <= 3 * np.spacing(np.abs(exact[inside])))
    assert np.isnan(y[~inside]).all()


EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-44, -1e-44, 1.0, -1.0, 200.0, -200.0]
EDGES += [1e4, -1e4, 20.0, 20.000002, -20.0, 88.9, -88.9, 128.0, -150.5, -104.5, 0.5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "decay"])
def test_limits_and_nan_are_those_of_numpy(name, dtype):
    x = np.array(EDGES, dtype)
    y = np.empty_like(x)
    looped(getattr(elementary, name))(x, y)
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name].reference(x)
        # Written so that the reference does not overflow in the middle.
        np.testing.assert_allclose(y, expected, rtol=8 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decay_of_nothing_is_one_and_for_ever_is_zero(dtype):
    x = np.array([0.0, -0.0, -np.inf, np.nan, -1e-40, -800.0], dtype)
    for name in ("decay", "exp", "exp2"):
        y = np.empty_like(x)
        looped(getattr(elementary, name))(x, y)
        np.testing.assert_array_equal(y[:3], [1, 1, 0])
        assert np.isnan(y[3])
        assert y[4] == 1
        assert y[5] == (0 if dtype is np.float32 or name != "exp2" else 2.0**-800)


def test_nan_of_any_payload_stays_nan():
    signs, payloads = np.array([[0x7FC00000], [-0x400000]]), np.array([0, 1, 0x1234])
    patterns = (signs | payloads).astype(np.int32).ravel()
    x = np.repeat(patterns.view(np.float32), 20)
    assert np.isnan(x).all()
    for name in FUNCTIONS:
        y = np.zeros_like(x)
        looped(getattr(elementary, name))(x, y)
        assert np.isnan(y).all(), name


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("sin", "cos")])
def test_vectors_and_scalars_compute_the_same(name, dtype):
    own = FUNCTIONS[name]
    x = doubles(own, np.random.default_rng(6), 4096)[:8192].astype(dtype)
    x = np.concatenate([x, np.array(EDGES, dtype)])
    x = x[: x.size // 64 * 64]
    scalar, vector = np.empty_like(x), np.empty_like(x)
    looped(getattr(elementary, name))(x, scalar)
    in_registers(getattr(elementary, f"{name}_of"))(x, vector)
    np.testing.assert_array_equal(scalar, vector)


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_of_sines_and_cosines_are_the_scalars(dtype):
    x = np.random.default_rng(7).uniform(-30, 30, 640).astype(dtype)
    for which, name in enumerate(("sin", "cos")):
        scalar, vector = np.empty_like(x), np.empty_like(x)
        looped(getattr(elementary, name))(x, scalar)
        in_registers(lambda v, which=which: elementary.sin_cos_of(v)[which])(x, vector)
        np.testing.assert_array_equal(scalar, vector)


@compiled
@pytest.mark.skipif(vectors.vector_bits() != 512, reason="needs AVX-512")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_loops_fill_whole_registers(name):
    run = looped(getattr(elementary, name))
    x = np.zeros(8, np.float32)
    run(x, x.copy())
    for assembly in run.inspect_asm().values():
        assert "zmm" in assembly
        assert "expf" not in assembly
