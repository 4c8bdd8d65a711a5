"""The merged Cauchy sums are the kernel but for digits beside poles."""

from typing import Any

import numpy as np
import pytest

from ssmref.conformance.bugs.cauchy import CAUCHY, SYSTEM, merged_kernel
from ssmref.conformance.bugs.zoo import stranger
from ssmref.conformance.catalogue import CASES
from ssmref.conformance.precision import rounded
from ssmref.conformance.run import verify_case
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import FAILED, LIMIT, PASSED
from ssmref.golden.s4 import s4_kernel
from ssmref.ops import OPS

(BUG,) = CAUCHY
OP = OPS["s4.s4"]
BESIDE = CASES["s4.s4/poles-beside-node/l32d2r1n66"]
MANY = CASES["s4.s4/many-modes/l32d2r1n66"]
ODD = CASES["s4.s4/two-ranks/b2l25r2n3"]
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def system(case, dtype: Any = np.longdouble):
    given = rounded(case.arguments(F32), np.dtype(dtype))
    return {name: given[name] for name in SYSTEM}


@pytest.mark.parametrize(
    ("case", "length"), [(BESIDE, 24), (MANY, 9), (ODD, 1), (ODD, 24), (ODD, 25)]
)
def test_merged_sums_of_all_digits_are_the_kernel(case, length):
    a = system(case)
    right = s4_kernel(**a, length=length)
    error = np.max(np.abs(merged_kernel(a, length, a["A"].dtype) - right))
    assert error <= 1e-12 * np.max(np.abs(right))


@pytest.mark.parametrize(
    ("case", "dtype", "status"),
    [(BESIDE, F32, FAILED), (BESIDE, F64, PASSED), (MANY, F32, PASSED)],
)
def test_the_bug_is_one_of_short_numbers_beside_a_node(case, dtype, status):
    verdict = verify_case(stranger([BUG], OP), case, dtype)
    assert verdict.status == status
    if status == FAILED:
        assert 4 * LIMIT < verdict.ratio < np.inf
        assert BUG.exposes(truth(case, dtype).arguments)


def test_poles_of_the_case_are_exact_and_their_squares_are_not():
    a = system(BESIDE, np.float32)
    pole = a["dt"][:, None] * a["A"]
    assert pole.dtype == np.complex64
    assert np.array_equal(pole, a["dt"].astype(float)[:, None] * a["A"].astype(complex))
    assert np.array_equal(pole.imag, np.full(pole.shape, 2))
    assert np.array_equal(np.abs(pole) ** 2, np.full(pole.shape, 4))  # 4 + distance^2


def errors(poles, v):
    """Return how far both sums at z = 2i are off in complex64, relative to terms."""

    def fractions(v, w, z):
        return np.sum(v / (z - w) + v.conj() / (z - w.conj()))

    def merged(v, w, z):
        b = z * z - 2 * z * w.real + (w.real**2 + w.imag**2)
        a = 2 * (z * v.real - (v * w.conj()).real)
        (x, y), (b, d) = np.split(a, 2), np.split(b, 2)
        return np.sum((x * d + y * b) / (b * d))

    z = np.complex64(2j)
    exact = fractions(v.astype(complex), poles.astype(complex), 2j)
    size = np.sum(np.abs(v / (z - poles))) * np.finfo(F32).eps
    return [abs(f(v, poles, z) - exact) / size for f in (fractions, merged)]


def test_code_of_complex64_throughout_loses_the_same():
    a = system(BESIDE, np.float32)
    for channel in range(2):
        apart, merged = errors(a["dt"][channel] * a["A"][channel], a["C"][channel])
        assert apart < 2
        assert merged > 200
