"""Convolutions by Fourier transforms, alone and as forms of S4 and S4D.

A transform spreads rounding over its whole row. So an error is judged by eps times the
product of the norms of a row of inputs and its taps, plus what D adds.
"""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import sanitized
from emulated import on_numpy
from hostcupy.settings import using
from ssmref.gpu import convolution, s4, s4d
from support.s4_inputs import s4_inputs

from ssmref.golden import convolution as golden
from ssmref.golden import s4 as golden_s4
from ssmref.golden import s4d as golden_s4d

DTYPES = {
    "float32": (np.dtype(np.float32), 2.0**-23),
    "bfloat16": (np.dtype(ml_dtypes.bfloat16), 2.0**-7),
    "float16": (np.dtype(np.float16), 2.0**-10),
}
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
# Tokens, channels and taps: around tiles of 32, with more taps than tokens and fewer.
SIZES = [(1, 1, 1), (7, 3, 7), (32, 32, 5), (33, 31, 100), (64, 65, 1), (100, 2, 99)]
ROUNDINGS = 8
FORMS = {
    "s4": (s4.s4_convolution, golden_s4.s4_convolution, golden_s4.s4_kernel),
    "s4d": (s4d.s4d_convolution, golden_s4d.s4d_convolution, golden_s4d.s4d_kernel),
}
each_form = pytest.mark.parametrize("form", FORMS)


def inputs(length: int, channels: int, taps: int, dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(length)
    return {
        "u": rng.standard_normal((2, length, channels)).astype(DTYPES[dtype][0]),
        "kernel": rng.standard_normal((channels, taps)).astype(np.float32),
        "D": rng.standard_normal(channels).astype(np.float32),
    }


def wide(call: dict[str, Any]) -> dict[str, Any]:
    """Return the same numbers in double precision."""
    kinds = {"f": np.float64, "V": np.float64, "c": np.complex128, "i": np.int64}
    return {
        name: v.astype(kinds[v.dtype.kind]) if isinstance(v, np.ndarray) else v
        for name, v in call.items()
    }


def roundings(found, expected, call: dict[str, Any], size, dtype: str) -> float:
    """Return the worst error in units of its measure; `size` is that of the taps."""
    assert found.dtype == DTYPES[dtype][0]
    assert found.shape == expected.shape
    u = call["u"].astype(np.float64)
    scale = np.linalg.norm(u, axis=1)[:, None] * size + np.abs(call["D"] * u)
    error = np.abs(found.astype(np.float64) - expected)
    return float(np.max(error / (DTYPES[dtype][1] * scale), initial=0))


@each_dtype
@pytest.mark.parametrize(("length", "channels", "taps"), SIZES)
def test_convolution_is_that_of_golden(length, channels, taps, dtype):
    call = inputs(length, channels, taps, dtype)
    with using(seed=taps, offset=1):
        found = on_numpy(convolution.fft_convolution)(**call)
    expected = golden.fft_convolution(**wide(call))
    size = np.linalg.norm(call["kernel"], axis=1)
    assert roundings(found, expected, call, size, dtype) <= ROUNDINGS


@each_dtype
@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("later", [0, 1, 5, 40])
@pytest.mark.parametrize(("length", "channels", "taps"), SIZES[1:4])
def test_both_directions_are_those_of_golden(length, channels, taps, later, lag, dtype):
    call = {**inputs(length, channels, taps, dtype), "lag": lag}
    rng = np.random.default_rng(later)
    call["backward"] = rng.standard_normal((channels, later)).astype(np.float32)
    found = on_numpy(convolution.bidirectional_convolution)(**call)
    expected = golden.bidirectional_convolution(**wide(call))
    size = sum(np.linalg.norm(call[name], axis=1) for name in ("kernel", "backward"))
    assert roundings(found, expected, call, size, dtype) <= ROUNDINGS


def test_nothing_wraps_around():
    """The last input must not reach the first output, however long the kernel."""
    u = np.zeros((1, 30, 1), np.float32)
    u[0, -1] = 1e6
    kernel = np.ones((1, 30), np.float32)
    found = on_numpy(convolution.fft_convolution)(u, kernel)
    assert np.abs(found[0, :-1]).max() <= 1e6 * 2.0**-20


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3), (2, 4, 0)])
def test_nothing_to_convolve(shape):
    u = np.zeros(shape, np.float32)
    kernel = np.ones((shape[2], 3), np.float32)
    assert on_numpy(convolution.fft_convolution)(u, kernel).shape == shape


def test_a_kernel_without_taps_gives_zeros():
    u = np.ones((1, 4, 2), np.float32)
    found = on_numpy(convolution.fft_convolution)(u, np.ones((2, 0), np.float32))
    np.testing.assert_array_equal(found, np.zeros_like(u))


def test_sizes_of_transforms_have_small_primes_only():
    for least in (*range(1, 300), 65537, 10**6 + 3):
        size = convolution.fast_size(least)
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1
        assert size % 2 == 0
        assert least <= size <= 2 * least


def call_of(form: str, dtype: str, **sizes: Any) -> dict[str, Any]:
    """Return a call of S4 or S4D in a precision."""
    call = s4_inputs(np.random.default_rng(3), **sizes)
    if form == "s4d":
        del call["P"]
    kinds = {"f": np.float32, "c": np.complex64}
    narrow = {name: v.astype(kinds[v.dtype.kind]) for name, v in call.items()}
    return {**narrow, "u": narrow["u"].astype(DTYPES[dtype][0])}


def assert_form(form: str, call: dict[str, Any], dtype: str) -> None:
    """Compare a convolution with the recurrence of golden."""
    ours, golden_form, kernel = FORMS[form]
    y, state = on_numpy(ours)(**call)
    exact = wide(call)
    expected, last = golden_form(**exact)
    system = {n: exact[n] for n in ("dt", "A", "B", "C", "P") if n in exact}
    size = np.linalg.norm(kernel(**system, length=call["u"].shape[1]), axis=1)
    if call.get("initial_state") is not None:
        size = size + np.abs(expected).max(axis=(0, 1))
    assert roundings(y, expected, call, size, dtype) <= ROUNDINGS
    np.testing.assert_allclose(state, last, rtol=0, atol=1e-5 * np.abs(last).max())


@each_form
@each_dtype
@pytest.mark.parametrize("initial", [True, False])
def test_forms_are_those_of_golden(form, dtype, initial):
    call = call_of(form, dtype, length=50, channels=3, ranks=2)
    if not initial:
        del call["initial_state"]
    assert_form(form, call, dtype)


@each_form
@pytest.mark.parametrize("initial", [True, False])
def test_packed_forms_are_those_of_golden(form, initial):
    call = call_of(form, "float32", batch=1, length=60, rows=4, channels=3)
    call["cu_seqlens"] = np.array([0, 13, 13, 14, 60])
    if not initial:
        del call["initial_state"]
    assert_form(form, call, "float32")


@each_form
def test_forms_without_tokens_return_the_state(form):
    call = call_of(form, "float32", length=0)
    y, state = on_numpy(FORMS[form][0])(**call)
    assert y.shape == call["u"].shape
    np.testing.assert_array_equal(state, call["initial_state"])


def small_convolution():
    """Convolve in both directions: for AddressSanitizer."""
    call = inputs(33, 5, 40, "bfloat16")
    with using(offset=1):
        _ = on_numpy(convolution.fft_convolution)(**call)


def test_kernels_touch_only_their_memory():
    _ = sanitized.run("asan", "test_long_convolution:small_convolution")
