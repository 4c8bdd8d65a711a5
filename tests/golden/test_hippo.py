import numpy as np
import pytest
from support.compare import assert_close

from ssmref.golden import hippo

NAMES = ["legs", "legt", "fourier"]
SIZES = [2, 4, 16, 64]


def whole(half):
    return np.concatenate([half, np.conj(half)], axis=-1)


def test_legs_of_size_three():
    A, B = hippo.legs(3)
    s3, s5, s15 = np.sqrt([3, 5, 15])
    assert_close(A, -np.array([[1, 0, 0], [s3, 2, 0], [s5, s15, 3]]))
    assert_close(B, np.array([1, s3, s5]))


def test_legt_of_size_three():
    A, B = hippo.legt(3)
    s3, s5, s15 = np.sqrt([3, 5, 15])
    assert_close(A, -np.array([[1, -s3, s5], [s3, 3, -s15], [s5, s15, 5]]) / 2)
    assert_close(B, np.array([1, s3, s5]) / 2)


def test_fourier_of_size_four():
    A, B = hippo.fourier(4)
    s2 = np.sqrt(2)
    turn = np.zeros((4, 4))
    turn[2, 3], turn[3, 2] = -np.pi, np.pi
    assert_close(B, np.array([1, 0, s2, 0]))
    assert_close(A, turn - np.outer(B, B))


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_low_rank_makes_the_matrix_normal(name, N):
    normal, P, B = hippo.nplr(name, N)
    A, B_hippo = hippo.TRANSITIONS[name](N)
    assert_close(normal - P.T @ P, A)
    assert_close((P, B), (hippo.low_rank(name, N), B_hippo))
    c = -0.5 if name == "legs" else 0.0
    size = np.max(np.abs(A))
    assert P.shape == (2 if name == "legt" else 1, N)
    assert np.max(np.abs(normal + normal.T - 2 * c * np.eye(N))) <= 1e-14 * size


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_dplr_is_the_matrix_in_another_basis(name, N):
    half = hippo.dplr(name, N)
    A, B = hippo.TRANSITIONS[name](N)
    V, P = whole(half.V), whole(half.P)
    matrix = np.diag(whole(half.A)) - P.T @ np.conj(P)
    assert np.max(np.abs(V.conj().T @ V - np.eye(N))) <= 1e-12
    assert_close(V @ matrix @ V.conj().T, A.astype(complex))
    assert_close(V @ whole(half.B), B.astype(complex))
    assert_close(P @ V.T, hippo.low_rank(name, N).astype(complex))


@pytest.mark.parametrize("name", NAMES)
def test_half_with_negative_frequencies_is_kept_in_order(name):
    imag = np.imag(hippo.dplr(name, 16).A)
    assert np.all(np.diff(imag) > 0)
    assert np.all(imag < 0) or (name == "fourier" and imag[-1] == 0)


def test_fourier_frequencies_are_multiples_of_pi():
    assert_close(hippo.dplr("fourier", 8).A, -1j * np.pi * np.arange(3, -1, -1.0))


def test_clip_changes_only_large_imaginary_parts_of_b():
    free, clipped = hippo.dplr("legs", 32), hippo.dplr("legs", 32, B_clip=2.0)
    inside = np.abs(np.imag(free.B)) <= 2
    assert np.max(np.abs(np.imag(free.B))) > 2
    assert_close(clipped.B[inside], free.B[inside], limit=0)
    assert_close(np.real(clipped.B), np.real(free.B), limit=0)
    assert np.max(np.abs(np.imag(clipped.B))) == 2
    assert_close(clipped.P, free.P, limit=0)


def test_s4d_initialisations():
    n = np.arange(3)
    assert_close(hippo.s4d_lin(6), -0.5 - 1j * np.pi * n)
    assert_close(np.imag(hippo.s4d_inv(6)), -6 / np.pi * np.array([5, 1, 0.2]))
    assert_close(np.imag(hippo.s4d_quad(6)), -np.array([1, 9, 25]) / np.pi)
    assert_close(hippo.s4d_real(6), np.array([-1, -2, -3]) + 0j)
    for name in ("lin", "inv", "quad", "legs"):
        assert_close(np.real(getattr(hippo, f"s4d_{name}")(6)), np.full(3, -0.5))


def test_largest_frequency_of_legs_is_that_of_inv():
    """S4D-Inv is made for this: the largest frequency of both is near N^2/pi."""
    assert np.imag(hippo.s4d_legs(128))[0] == pytest.approx(-(128**2) / np.pi, rel=0.02)


def test_s4d_legs_are_the_eigenvalues_of_the_normal_part():
    A, P = hippo.legs(8)[0], hippo.low_rank("legs", 8)
    expected = np.linalg.eigvals(A + P.T @ P)
    found = whole(hippo.s4d_legs(8))
    order = np.argsort(np.imag(expected)), np.argsort(np.imag(found))
    assert_close(found[order[1]], expected[order[0]])


@pytest.mark.parametrize("N", [0, 1, 7, -2])
@pytest.mark.parametrize(
    "function", [hippo.fourier, hippo.s4d_lin, lambda N: hippo.dplr("legs", N)]
)
def test_odd_or_empty_size_is_refused(function, N):
    with pytest.raises(ValueError, match=f"N is {N}; it needs to be"):
        function(N)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="name is 'lagt'; it needs to be one of"):
        hippo.dplr("lagt", 4)
    with pytest.raises(ValueError, match="N is 0; it needs to be at least 1"):
        hippo.legs(0)
    with pytest.raises(ValueError, match=r"B_clip is -1\.0; it needs to be at least 0"):
        hippo.dplr("legs", 4, B_clip=-1.0)
