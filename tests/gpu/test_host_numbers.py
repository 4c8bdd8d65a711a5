"""Conversions are exact, and approximations as inexact as they may be."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from hostcupy.module import cupy

CODE = """
#include <ssm_host.h>
extern "C" __global__ void widen(const IO* in, float* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = to_float(in[i]);
}
extern "C" __global__ void narrow(const float* in, IO* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = from_float<IO>(in[i]);
}
extern "C" __global__ void apply(const float* in, float* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = FUNCTION(in[i]);
}
extern "C" __global__ void halves(const float* in, unsigned* words, float* out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  words[i] = pack2<IO>(in[2 * i], in[2 * i + 1]);
  unpack2<IO>(words[i], out[2 * i], out[2 * i + 1]);
}
"""
TYPES = {
    "float": np.dtype(np.float32),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype(np.float16),
}
LOW = [pytest.param(word, id=word) for word in ("bf16", "f16")]
each_type = pytest.mark.parametrize("word", LOW)


def kernel(name: str, word: str = "f16", function: str = "ex2") -> Callable:
    options = f"-DIO={word}", f"-DFUNCTION={function}"
    return cupy.RawModule(code=CODE, options=options).get_function(name)


def mapped(function: Callable, given: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Run a kernel that has an element per thread; the size is a multiple of 64."""
    out = cupy.empty(given.shape, dtype)
    function((given.size // 64,), (64,), (cupy.asarray(given), out))
    return out.get()


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether the bits are equal, but that any NaN is as good as another."""
    lost = np.isnan(expected.astype(np.float32))
    equal = found.view(f"u{found.itemsize}") == expected.view(f"u{found.itemsize}")
    return bool((equal | lost).all() and np.isnan(found[lost].astype(np.float32)).all())


@each_type
def test_every_low_number_is_widened_exactly(word):
    numbers = np.arange(1 << 16, dtype=np.uint16).view(TYPES[word])
    found = mapped(kernel("widen", word), numbers, TYPES["float"])
    assert same(found, numbers.astype(np.float32))


def floats_around(numbers: np.ndarray) -> np.ndarray:
    """Return low numbers, what lies halfway between, and the floats next to it."""
    wide = numbers.astype(np.float32).view(np.uint32)
    steps = [0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
    return (wide[:, None] + np.array(steps, np.uint32)).reshape(-1).view(np.float32)


@each_type
@pytest.mark.filterwarnings("ignore:overflow|invalid")
def test_floats_are_narrowed_to_the_nearest_even(word):
    given = floats_around(np.arange(1 << 16, dtype=np.uint16).view(TYPES[word]))
    found = mapped(kernel("narrow", word), given, TYPES[word])
    assert same(found, given.astype(TYPES[word]))


@each_type
def test_pairs_have_the_first_number_in_the_low_half(word):
    given = np.random.default_rng(0).standard_normal(128, np.float32)
    words, out = cupy.empty(64, np.uint32), cupy.empty(128, np.float32)
    kernel("halves", word)((1,), (64,), (cupy.asarray(given), words, out))
    assert (words.get().view(TYPES[word]) == given.astype(TYPES[word])).all()
    assert (out.get() == given.astype(TYPES[word]).astype(np.float32)).all()


def test_tf32_has_ten_bits_and_ties_go_away_from_zero():
    bits = np.array([0x3F800000, 0x3F800FFF, 0x3F801000, 0x3F803000] * 16, np.uint32)
    code = CODE.replace("FUNCTION(in[i])", "__uint_as_float(to_tf32(in[i]))")
    function = cupy.RawModule(code=code, options=("-DIO=f16",)).get_function("apply")
    found = mapped(function, bits.view(np.float32), TYPES["float"]).view(np.uint32)
    assert list(found[:4]) == [0x3F800000, 0x3F800000, 0x3F802000, 0x3F804000]


FUNCTIONS = {
    "ex2": (np.exp2, -100, 100, 2.0**-22),
    "lg2": (np.log2, 3, 1e30, 2.0**-22),
    "rcp_approx": (np.reciprocal, 1e-3, 1e3, 2.0**-23),
    "rsqrt_approx": (lambda x: 1 / np.sqrt(x), 1e-3, 1e3, 2.0**-22.9),
    "sqrt_approx": (np.sqrt, 1e-3, 1e3, 2.0**-23),
    "tanh_approx": (np.tanh, -9, 9, 2.0**-11),
    "__expf": (np.exp, -1, 1, 1.5 * 2.0**-22),
    "__logf": (np.log, 3, 1e30, 1.5 * 2.0**-22),
}


def relative_errors(name: str) -> np.ndarray:
    function, low, high, bound = FUNCTIONS[name]
    given = np.random.default_rng(1).uniform(low, high, 1 << 14).astype(np.float32)
    found = mapped(kernel("apply", function=name), given, TYPES["float"])
    exact = function(given.astype(np.float64))
    return np.abs(found - exact) / np.abs(exact) / bound


@pytest.mark.parametrize("name", FUNCTIONS)
def test_approximation_errs_by_what_it_may_and_no_more(name):
    errors = relative_errors(name)
    assert errors.max() <= 1
    assert errors.max() > 0.4
    assert np.median(errors) > 0.1


INF = np.inf
SPECIAL = {
    "ex2": [(0.0, 1), (1e-40, 1), (INF, INF), (-INF, 0), (-200, 0), (200, INF)],
    "lg2": [(0.0, -INF), (1e-40, -INF), (INF, INF), (-1, np.nan)],
    "rcp_approx": [(0.0, INF), (-0.0, -INF), (1e-40, INF), (INF, 0), (2e38, 0)],
    "tanh_approx": [(0.0, 0), (INF, 1), (-INF, -1), (50, 1)],
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_numbers_and_subnormal_ones(name):
    given, expected = (
        np.array([*x], np.float32) for x in zip(*SPECIAL[name], strict=True)
    )
    padded = np.full(64, np.nan, np.float32)
    padded[: given.size] = given
    found = mapped(kernel("apply", function=name), padded, TYPES["float"])
    assert same(found[: given.size] + 0, expected + 0)
    assert np.isnan(found[given.size :]).all()


def test_the_same_argument_gives_the_same_result():
    given = np.full(64, 0.3, np.float32)
    assert len({*mapped(kernel("apply"), given, TYPES["float"])}) == 1


def test_logarithm_near_one_errs_absolutely():
    """Softplus by way of ``lg2(1 + x)`` has to look as bad as it is."""
    given = (1 + np.arange(64) * 2.0**-23).astype(np.float32)
    found = mapped(kernel("apply", function="lg2"), given, TYPES["float"])
    errors = np.abs(found - np.log2(given.astype(np.float64)))
    assert 2.0**-23 < errors.max() <= 2.0**-22


def test_multiplication_and_addition_are_fused_unless_told_otherwise():
    code = CODE.replace("FUNCTION(in[i])", "in[i] * in[i] - 1.f")
    given = np.full(64, 1 + 2.0**-12, np.float32)
    options = "-DIO=f16", "--fmad=false"
    fused, apart = (
        mapped(
            cupy.RawModule(code=code, options=options[:n]).get_function("apply"),
            given,
            TYPES["float"],
        )
        for n in (1, 2)
    )
    assert apart[0] == np.float32(2.0**-11)
    # Processors without the instruction do the same as with --fmad=false.
    assert fused[0] in (np.float32(2.0**-11 + 2.0**-24), np.float32(2.0**-11))
