from typing import Any

import numpy as np
import pytest
from support.compare import assert_close
from support.s4_inputs import hippo_system, s4_inputs

from ssmref.golden import hippo
from ssmref.golden import s4 as module
from ssmref.golden.s4 import s4

SYSTEM = ("dt", "A", "B", "C", "P")
LENGTHS = [1, 2, 33, 64]


def call(seed=0, **sizes) -> dict[str, Any]:
    return s4_inputs(np.random.default_rng(seed), **sizes)


def system(seed=0, **sizes) -> dict[str, Any]:
    given = call(seed, **sizes)
    return {name: given[name] for name in SYSTEM}


def test_dense_kernel_of_legs_is_the_known_one():
    A, B = hippo.legs(2)
    found = module.dense_kernel(
        np.array([0.1]), A[None], B[None], np.array([[1, -0.5]]), 4
    )
    known = [[0.0202575407979, 0.0319610792781, 0.0400712990314, 0.0453810928915]]
    np.testing.assert_allclose(found, known, rtol=1e-11)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("ranks", [0, 1, 3])
def test_kernels_agree(ranks, length):
    given = system(ranks=ranks)
    found = module.s4_kernel(**given, length=length)
    assert_close(found, module.s4_kernel_dense(**given, length=length))


@pytest.mark.parametrize("length", LENGTHS)
def test_kernel_is_the_response_to_an_impulse(length):
    given = system()
    impulse = np.zeros((1, length, 5))
    impulse[:, 0] = 1
    y, _ = s4(impulse, **given)
    assert_close(module.s4_kernel(**given, length=length), y[0].T)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("N", [4, 16, 64])
@pytest.mark.parametrize("name", ["legs", "legt", "fourier"])
def test_real_hippo_kernel_is_the_dplr_kernel(name, N, length):
    given = hippo_system(name, N)
    A, B = (np.stack([X] * 3) for X in hippo.TRANSITIONS[name](N))
    V = hippo.dplr(name, N).V
    C = 2 * np.real(given["C"] @ np.conj(V.T))  # C_full V_full*, which is real
    expected = module.dense_kernel(given["dt"], A, B, C, length)
    assert_close(module.s4_kernel_dense(**given, length=length), expected)
    if name == "legs":
        assert_close(module.s4_kernel(**given, length=length), expected)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", ["legt", "fourier"])
def test_kernels_agree_where_real_parts_are_clamped_as_officially(name, length):
    given = hippo_system(name, 16)
    given["A"] = -1e-4 + 1j * np.imag(given["A"])
    found = module.s4_kernel(**given, length=length)
    # A pole at the distance dt 1e-4 from a node costs four digits.
    expected = module.s4_kernel_dense(**given, length=length)
    assert_close(found, expected, limit=1e-11)


def test_real_parts_of_zero_are_refused():
    given = hippo_system("fourier", 4)
    with pytest.raises(ValueError, match="A has real parts >= 0; the kernel needs"):
        module.s4_kernel(**given, length=4)


@pytest.mark.parametrize("length", [2, 64])
def test_nyquist_value_is_half_dt_times_c_tilde_b(length):
    given = system()
    dt, A, B, C, P = (given[name] for name in SYSTEM)
    C_tilde = module.s4_c_tilde(dt, A, C, P, length)
    kernel = module.s4_kernel(**given, length=length)
    alternating = kernel @ (-1.0) ** np.arange(length)
    expected = dt * np.real(np.sum(C_tilde * B, axis=1))
    assert_close(alternating, expected)


@pytest.mark.parametrize("length", [1, 2, 33])
def test_c_tilde_and_back(length):
    dt, A, _, C, P = (system()[name] for name in SYSTEM)
    C_tilde = module.s4_c_tilde(dt, A, C, P, length)
    assert not np.any(np.abs(C_tilde - C) < 1e-6)
    assert_close(module.s4_c_from_tilde(dt, A, C_tilde, P, length), C)


def test_doubling_the_length_multiplies_c_tilde():
    """(I + A_bar^L)^T C~_L = C~_2L, the official way to longer kernels."""
    dt, A, _, C, P = (system()[name] for name in SYSTEM)
    once = module.s4_c_tilde(dt, A, C, P, 16)
    twice = module.s4_c_tilde(dt, A, once, P, 16)  # (I - A_bar^16)^T C~
    assert_close(2 * once - twice, module.s4_c_tilde(dt, A, C, P, 32))


def test_rate_with_c_tilde_held_is_not_the_kernel_of_the_new_step():
    """Official ``rate=2``: half the nodes, twice the step, and the old C~."""
    dt, A, B, C, P = (system()[name] for name in SYSTEM)
    held = module.s4_c_tilde(dt, A, C, P, 64)
    found = module.s4_kernel_from_tilde(2 * dt, A, B, held, P, 32)
    C_equal = module.s4_c_from_tilde(2 * dt, A, held, P, 32)
    assert_close(found, module.s4_kernel_dense(2 * dt, A, B, C_equal, P, 32))
    plain = module.s4_kernel(2 * dt, A, B, C, P, 32)
    assert np.max(np.abs(found - plain)) > 1e-9 * np.max(np.abs(plain))


@pytest.mark.parametrize("length", LENGTHS)
def test_state_response_is_the_output_without_input(length):
    given = call()
    dt, A, B, C, P = (given[name] for name in SYSTEM)
    state = given["initial_state"]
    silence = np.zeros((2, length, 5))
    y, _ = s4(silence, dt, A, B, C, P, initial_state=state)
    assert_close(module.s4_state_response(dt, A, C, P, state, length), y)


def test_float32_kernel_of_legs_is_near():
    given = hippo_system("legs", 64)
    single = {
        n: x.astype(np.float32 if n == "dt" else np.complex64) for n, x in given.items()
    }
    found = module.s4_kernel(**single, length=1024)
    assert found.dtype == np.float32
    expected = module.s4_kernel(**given, length=1024)
    assert_close(found.astype(float), expected, limit=1e-3)


def test_length_zero_is_refused():
    with pytest.raises(ValueError, match="length is 0; it needs to be at least 1"):
        module.s4_kernel(**system(), length=0)
